// Keys and certificates for TLS tests, created by the openssl program. Tests that need them are skipped without it.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Identity {
  readonly cert: string;
  readonly key: string;
}

export interface Certificates {
  /** The folder of the files: `ca.pem`, and `<name>.pem` and `<name>.key` of each identity. */
  readonly folder: string;
  /** The authority that issued all identities except `stranger`. */
  readonly ca: string;
  /** For localhost, 127.0.0.1 and ::1. */
  readonly server: Identity;
  /** For a.test and *.b.test. */
  readonly other: Identity;
  /** For localhost, and expired since 2021. */
  readonly expired: Identity;
  readonly client: Identity;
  /** For localhost, issued by itself. */
  readonly stranger: Identity;
  dispose(): void;
}

export const hasOpenssl: boolean = Bun.which("openssl") !== null;
if (!hasOpenssl)
  console.log("skipped: the tests of TLS need the openssl program, which is missing");

const CONFIG = `[ca]
default_ca = authority
[authority]
database = index.txt
serial = serial
new_certs_dir = .
default_md = sha256
policy = policy
copy_extensions = copy
unique_subject = no
[policy]
commonName = supplied
`;

/** Creates all certificates in a folder of its own. The caller disposes them. */
export function createCertificates(): Certificates {
  const folder = mkdtempSync(join(tmpdir(), "guillotine-tls-"));
  const openssl = (...args: string[]): void => {
    const { exitCode, stderr } = Bun.spawnSync(["openssl", ...args], { cwd: folder });
    if (exitCode !== 0) throw new Error(`openssl ${args.join(" ")}: ${stderr}`);
  };
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const selfSigned = (name: string, ...extra: string[]): void => {
    const files = ["-keyout", `${name}.key`, "-out", `${name}.pem`];
    openssl("req", "-x509", ...key, "-days", "36500", "-subj", `/CN=${name}`, ...files, ...extra);
  };
  const issued = (name: string, names: string, from: string, to: string): void => {
    const files = ["-keyout", `${name}.key`, "-out", `${name}.csr`];
    const names_ = ["-addext", `subjectAltName=${names}`];
    openssl("req", ...key, "-subj", `/CN=${name}`, ...names_, ...files);
    const authority = ["-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key"];
    const dates = ["-startdate", from, "-enddate", to];
    openssl(
      "ca",
      "-batch",
      ...authority,
      "-in",
      `${name}.csr`,
      "-out",
      `${name}.pem`,
      "-notext",
      ...dates,
    );
  };
  writeFileSync(join(folder, "ca.cnf"), CONFIG);
  writeFileSync(join(folder, "index.txt"), "");
  writeFileSync(join(folder, "serial"), "01\n");
  const local = "DNS:localhost,IP:127.0.0.1,IP:::1";
  const [from, to] = ["20200101000000Z", "20991231000000Z"];
  selfSigned("ca");
  selfSigned("stranger", "-addext", `subjectAltName=${local}`);
  issued("server", local, from, to);
  issued("other", "DNS:a.test,DNS:*.b.test", from, to);
  issued("client", "DNS:client", from, to);
  issued("expired", local, from, "20210101000000Z");
  const read = (file: string): string => readFileSync(join(folder, file), "utf8");
  const identity = (name: string): Identity => ({
    cert: read(`${name}.pem`),
    key: read(`${name}.key`),
  });
  return {
    folder,
    ca: read("ca.pem"),
    server: identity("server"),
    other: identity("other"),
    expired: identity("expired"),
    client: identity("client"),
    stranger: identity("stranger"),
    dispose: () => rmSync(folder, { recursive: true, force: true }),
  };
}
