// Memberships: the IPv4 multicast groups of one socket. See ip(7), RFC 3678.
//
// Facts about Linux, and what they mean for this code:
// - A socket receives a group on an interface if some socket of the host has joined it there, and if its own membership
//   lets the source pass. A socket without a membership receives it too, unless IP_MULTICAST_ALL is off.
// - A membership of any source turns into one of named sources when a source joins, or fails to leave.
// - The last source that leaves takes its membership along.

import { EADDRINUSE, EINVAL } from "../../sys/errno.ts";
import { EADDRNOTAVAIL } from "./errno.ts";

export const isBroadcast = (ip: string): boolean =>
  ip === "255.255.255.255" || ip === "127.255.255.255";
export const isMulticast = (ip: string): boolean => /^(22[4-9]|23\d)\./.test(ip);

interface Membership {
  readonly group: string;
  readonly device: number;
  /** null: any source. */
  sources: Set<string> | null;
}

export class Memberships {
  private list: Membership[] = [];

  /** Joins a group, for any source. Returns 0 or the negative errno. */
  join(group: string, device: number): number {
    if (this.find(group, device) !== undefined) return -EADDRINUSE;
    this.list.push({ group, device, sources: null });
    return 0;
  }

  leave(group: string, device: number): number {
    const membership = this.find(group, device);
    if (membership === undefined) return -EADDRNOTAVAIL;
    this.remove(membership);
    return 0;
  }

  joinSource(group: string, device: number, source: string): number {
    let membership = this.find(group, device);
    if (membership === undefined) {
      membership = { group, device, sources: null };
      this.list.push(membership);
    }
    membership.sources ??= new Set();
    if (membership.sources.has(source)) return -EADDRNOTAVAIL;
    membership.sources.add(source);
    return 0;
  }

  leaveSource(group: string, device: number, source: string): number {
    const membership = this.find(group, device);
    if (membership === undefined) return -EINVAL;
    membership.sources ??= new Set();
    if (!membership.sources.delete(source)) return -EADDRNOTAVAIL;
    if (membership.sources.size === 0) this.remove(membership);
    return 0;
  }

  leaveAll(): void {
    this.list = [];
  }

  /** Returns whether a datagram from `source` passes; undefined if there is no membership. */
  allows(group: string, device: number, source: string): boolean | undefined {
    const membership = this.find(group, device);
    return membership && (membership.sources?.has(source) ?? true);
  }

  private find(group: string, device: number): Membership | undefined {
    return this.list.find((other) => other.group === group && other.device === device);
  }

  private remove(membership: Membership): void {
    this.list.splice(this.list.indexOf(membership), 1);
  }
}
