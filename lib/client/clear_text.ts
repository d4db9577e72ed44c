/** The warning about passwords that cross the network unencrypted. */
import { type Address, formatAddress } from "./transport.ts";

/** The loopback addresses of IPv4, also in IPv6 notation, and of IPv6, and their names of RFC 6761. */
const LOOPBACK = /^(?:(?:::ffff:)?127(?:\.\d{1,3}){3}|::1|(?:.+\.)?localhost\.?)$/i;

/** Returns a warning that names the servers on other machines without TLS, or undefined if there are none. */
export function clearTextWarning(servers: readonly Address[]): string | undefined {
  const open = servers.filter(({ hostname, tls }) => !tls && !LOOPBACK.test(hostname));
  if (open.length === 0) return undefined;
  const names = open.map(formatAddress).join(", ");
  return `warning: without --tls, passwords and messages go to ${names} unencrypted`;
}
