// UnixFiles and UnixNames: the addresses of unix sockets on one host. See unix(7).
//
// Facts about Linux, and what they mean for this code:
// - The file of a socket outlives the socket, its process and a crash. Then a connect to it is refused, and a bind to it
//   fails until somebody removes it. So the files belong to the host, and what is bound to them to its kernel.
// - A path finds the socket by the inode of the file. If the file was replaced, it finds the new socket.
// - An abstract name has no file: it vanishes with its socket. Each type of socket has names of its own.

import { EADDRINUSE, ECONNREFUSED, EINVAL, ENOENT } from "../../sys/errno.ts";
import type { UnixAddress } from "../../sys/sockaddr.ts";
import { EPROTOTYPE } from "./errno.ts";

/** The files of a host. Every directory exists, and sockets are the only other files. */
export class UnixFiles {
  private readonly inodes = new Map<string, number>();
  private lastInode = 0;

  /** Creates the file of a socket. Returns its inode, or -EADDRINUSE. */
  create(path: string): number {
    const place = normalized(path);
    if (this.inodes.has(place)) return -EADDRINUSE;
    this.inodes.set(place, ++this.lastInode);
    return this.lastInode;
  }

  /** Returns the inode of a file, or -ENOENT. */
  find(path: string): number {
    return this.inodes.get(normalized(path)) ?? -ENOENT;
  }

  /** Removes a file. Returns 0 or -ENOENT. */
  remove(path: string): number {
    return this.inodes.delete(normalized(path)) ? 0 : -ENOENT;
  }
}

/** Returns the absolute path, without `.` and `..`. The working directory of every process is the root. */
function normalized(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `/${parts.join("/")}`;
}

/** A unix socket, as its address knows it. */
export interface Named {
  readonly type: number;
  /** "" without an address. */
  name: UnixAddress;
  /** The inode of its file; 0 without a file. */
  inode: number;
}

/** What is bound to the unix addresses of a host. */
export class UnixNames {
  readonly files: UnixFiles;
  private readonly byInode = new Map<number, Named>();
  private readonly byName = new Map<string, Named>();
  /** Names that the kernel chooses are given out in order. */
  private lastChosen = 0;

  constructor(files: UnixFiles) {
    this.files = files;
  }

  /** Binds `socket` to `name`; for "" to an abstract name that is free. Returns 0 or the negative errno. */
  bind(socket: Named, name: UnixAddress): number {
    if (name === "")
      return socket.name === "" ? this.bindAbstract(socket, this.freeName(socket)) : 0;
    if (name.startsWith("\0")) {
      return socket.name === "" ? this.bindAbstract(socket, name) : -EINVAL;
    }
    const inode = this.files.create(name);
    if (inode < 0) return inode;
    if (socket.name !== "") {
      this.files.remove(name); // the kernel creates the file before it looks
      return -EINVAL;
    }
    socket.name = name;
    socket.inode = inode;
    this.byInode.set(inode, socket);
    return 0;
  }

  unbind(socket: Named): void {
    if (socket.inode > 0) this.byInode.delete(socket.inode);
    else if (this.byName.get(keyOf(socket.type, socket.name)) === socket) {
      this.byName.delete(keyOf(socket.type, socket.name));
    }
  }

  /** Returns the socket of `type` that is bound to `name`, or a negative errno. */
  find(type: number, name: UnixAddress): Named | number {
    if (name.startsWith("\0")) return this.byName.get(keyOf(type, name)) ?? -ECONNREFUSED;
    const inode = this.files.find(name);
    if (inode < 0) return inode;
    const socket = this.byInode.get(inode);
    if (socket === undefined) return -ECONNREFUSED;
    return socket.type === type ? socket : -EPROTOTYPE;
  }

  private bindAbstract(socket: Named, name: UnixAddress): number {
    const key = keyOf(socket.type, name);
    if (this.byName.has(key)) return -EADDRINUSE;
    socket.name = name;
    this.byName.set(key, socket);
    return 0;
  }

  private freeName({ type }: Named): UnixAddress {
    for (;;) {
      const name = `\0${(++this.lastChosen & 0xfffff).toString(16).padStart(5, "0")}`;
      if (!this.byName.has(keyOf(type, name))) return name;
    }
  }
}

function keyOf(type: number, name: UnixAddress): string {
  return `${type} ${name}`;
}
