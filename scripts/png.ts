// Makes a picture of text smaller: a palette of few colors, and the strongest compression. Chromium's pictures have 16
// million colors, and are compressed for speed. See the PNG specification (w3.org/TR/png-3).

import { deflateSync, inflateSync } from "node:zlib";

interface Chunk {
  readonly type: string;
  readonly data: Uint8Array;
}

/** Returns the picture with a palette. Accepts what Chromium makes: 8 bits per channel, RGB or RGBA, not interlaced. */
export function withPalette(png: Uint8Array): Uint8Array {
  const chunks = chunksOf(png);
  const header = Buffer.from(chunks[0]?.data ?? []);
  const [width, height] = [header.readUInt32BE(0), header.readUInt32BE(4)];
  const channels = header[9] === 6 ? 4 : 3;
  const data = chunks.filter(({ type }) => type === "IDAT").map((chunk) => chunk.data);
  const pixels = unfiltered(inflateSync(Buffer.concat(data)), width * channels, channels);
  const { indexes, palette } = reduced(pixels, width, height, channels, 31);
  header[9] = 3; // a palette
  return Buffer.concat([
    png.subarray(0, 8),
    chunk("IHDR", header),
    chunk("PLTE", palette),
    chunk("IDAT", deflateSync(indexes, { level: 9, memLevel: 9 })),
    chunk("IEND", new Uint8Array()),
  ]);
}

/** Rounds the channels to `levels` values, or to fewer until there are at most 256 colors. */
function reduced(
  pixels: Uint8Array,
  width: number,
  height: number,
  channels: number,
  levels: number,
): { readonly indexes: Uint8Array; readonly palette: Uint8Array } {
  const step = 255 / levels;
  const colors = new Map<number, number>();
  const indexes = new Uint8Array((width + 1) * height); // each line begins with its filter: none
  for (let pixel = 0; pixel < width * height; pixel++) {
    let color = 0;
    for (let at = pixel * channels; at < pixel * channels + 3; at++) {
      color = color * 256 + Math.round(Math.round((pixels[at] ?? 0) / step) * step);
    }
    const index = colors.get(color) ?? colors.size;
    if (index > 255) return reduced(pixels, width, height, channels, levels - 4);
    colors.set(color, index);
    indexes[pixel + Math.floor(pixel / width) + 1] = index;
  }
  const palette = Buffer.from(
    [...colors.keys()].flatMap((c) => [c >> 16, (c >> 8) & 255, c & 255]),
  );
  return { indexes, palette };
}

function chunksOf(png: Uint8Array): Chunk[] {
  const bytes = Buffer.from(png);
  const chunks: Chunk[] = [];
  for (let at = 8; at < bytes.length; ) {
    const length = bytes.readUInt32BE(at);
    const type = bytes.subarray(at + 4, at + 8).toString("latin1");
    chunks.push({ type, data: bytes.subarray(at + 8, at + 8 + length) });
    at += length + 12;
  }
  return chunks;
}

function chunk(type: string, data: Uint8Array): Uint8Array {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const numbers = Buffer.alloc(8);
  numbers.writeUInt32BE(data.length, 0);
  numbers.writeUInt32BE(Bun.hash.crc32(body), 4);
  return Buffer.concat([numbers.subarray(0, 4), body, numbers.subarray(4)]);
}

/** Reverses the filters: each line begins with the number of its filter. */
function unfiltered(lines: Uint8Array, stride: number, channels: number): Uint8Array {
  const pixels = new Uint8Array((lines.length / (stride + 1)) * stride);
  for (let line = 0; line * stride < pixels.length; line++) {
    const filter = lines[line * (stride + 1)] ?? 0;
    for (let column = 0; column < stride; column++) {
      const at = line * stride + column;
      const left = column < channels ? 0 : (pixels[at - channels] ?? 0);
      const up = pixels[at - stride] ?? 0;
      const corner = column < channels ? 0 : (pixels[at - stride - channels] ?? 0);
      const predicted = [0, left, up, (left + up) >> 1, paeth(left, up, corner)][filter] ?? 0;
      pixels[at] = (lines[line * (stride + 1) + 1 + column] ?? 0) + predicted;
    }
  }
  return pixels;
}

function paeth(left: number, up: number, corner: number): number {
  const estimate = left + up - corner;
  const [a, b, c] = [left, up, corner].map((one) => Math.abs(estimate - one)) as [
    number,
    number,
    number,
  ];
  return a <= b && a <= c ? left : b <= c ? up : corner;
}
