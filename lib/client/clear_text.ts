/** To whom a password would go so that others can read it on the way. */
import { type Address, formatAddress } from "./transport.ts";

/** IPv4's 127.0.0.0/8, also as IPv6 writes it, IPv6's ::1, and the names that RFC 6761 keeps for both. */
const LOOPBACK = /^(?:(?:::ffff:)?127(?:\.\d{1,3}){3}|::1|(?:.+\.)?localhost\.?)$/i;

/** A warning where a server is on another machine and doesn't speak TLS; undefined where nothing leaves this one. */
export function clearTextWarning(servers: readonly Address[]): string | undefined {
  const open = servers.filter(({ hostname, tls }) => !tls && !LOOPBACK.test(hostname));
  if (open.length === 0) return undefined;
  const names = open.map(formatAddress).join(", ");
  return `warning: without --tls, passwords and messages go to ${names} unencrypted: others can read them on the way`;
}
