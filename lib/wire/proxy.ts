/**
 * The PROXY protocol, versions 1 and 2: what a load balancer writes in front of a connection's own bytes, to say whom
 * it forwards. The format is HAProxy's (proxy-protocol.txt); this reads it strictly and keeps the source only.
 */
import { isIPv4, isIPv6 } from "node:net";

/** Where a forwarded connection came from. */
export interface ProxySource {
  readonly host: string;
  readonly port: number;
}

/** What stands in front of a connection's own bytes. */
export interface ProxyHeader {
  /** Bytes of the header; 0 when there is none. */
  readonly length: number;
  /** The client. Undefined when the proxy speaks for itself (a health check) or doesn't know. */
  readonly source?: ProxySource;
}

/** Bytes of the longest header that is read: a version 2 header with addresses takes up to 232, the rest is for its extras. */
export const MAX_PROXY_HEADER_BYTES = 4_096;

const MAX_LINE_BYTES = 107; // bytes of version 1's line with its CRLF, as its definition says
const LINE_START = ascii("PROXY ");
const SIGNATURE = Uint8Array.of(0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a);
const FIXED_BYTES = 16; // bytes of version 2 in front of the addresses: signature, command, family, length
const [INET, INET6, UNIX] = [1, 2, 3];
/** Bytes of both addresses and ports, by address family. */
const ADDRESS_BYTES: Readonly<Record<number, number>> = { 0: 0, [INET]: 12, [INET6]: 36, [UNIX]: 216 };
/** What there may be of family and transport together: nothing known, or a stream (1) or datagrams (2) of a family. */
const KNOWN_PROTOCOLS = [0x00, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32];

/** Whether a connection that begins with this byte begins with a header: none of the dialects can begin so. */
export function beginsProxyHeader(firstByte: number): boolean {
  return firstByte === LINE_START[0] || firstByte === SIGNATURE[0];
}

/**
 * Reads the header at the beginning of a connection's bytes, of which there must be one at least. Undefined when more
 * bytes are needed, which is never so once there are {@link MAX_PROXY_HEADER_BYTES}; an Error, with words, when it can't
 * become a header any more.
 */
export function readProxyHeader(bytes: Uint8Array): ProxyHeader | Error | undefined {
  if (!beginsProxyHeader(bytes[0]!)) return { length: 0 };
  return bytes[0] === LINE_START[0] ? readLine(bytes) : readBinary(bytes);
}

/** Version 1: one line of text. */
function readLine(bytes: Uint8Array): ProxyHeader | Error | undefined {
  if (!prefixMatches(bytes, LINE_START)) return new Error('it doesn\'t begin with "PROXY "');
  const end = bytes.indexOf(0x0d);
  if (end < 0 || end + 2 > MAX_LINE_BYTES) {
    return bytes.length < MAX_LINE_BYTES && end < 0
      ? undefined
      : new Error(`no line of ${MAX_LINE_BYTES} bytes at most`);
  }
  if (end + 1 === bytes.length) return undefined;
  if (bytes[end + 1] !== 0x0a) return new Error("a CR without its LF");
  const length = end + 2;
  // latin1 gives each byte a character of its own, so that nothing but ASCII can look like ASCII.
  const line = new TextDecoder("latin1").decode(bytes.subarray(0, end));
  const [, protocol, from, to, fromPort, toPort, ...more] = line.split(" ");
  if (protocol === "UNKNOWN") return { length }; // what follows it is to be ignored
  const isAddress = protocol === "TCP4" ? isIPv4 : protocol === "TCP6" ? isPlainIPv6 : undefined;
  if (!isAddress) return new Error("neither TCP4 nor TCP6 nor UNKNOWN");
  if (toPort === undefined || more.length > 0) return new Error("not two addresses and two ports");
  if (!isAddress(from!) || !isAddress(to!)) return new Error(`an address that is not one of ${protocol}`);
  if (!isPort(fromPort!) || !isPort(toPort)) return new Error("a port that is no number from 0 to 65535");
  const host = protocol === "TCP6" ? compressIPv6(from!) : from!;
  return { length, source: { host, port: Number(fromPort) } };
}

/** Version 2: bytes. */
function readBinary(bytes: Uint8Array): ProxyHeader | Error | undefined {
  if (!prefixMatches(bytes, SIGNATURE)) return new Error("it doesn't begin with the signature");
  const version = bytes[12]! >> 4; // 0 where there is no such byte yet, as with the others
  const command = bytes[12]! & 0xf;
  const family = bytes[13]! >> 4;
  if (bytes.length > 12 && version !== 2) return new Error(`version ${version}`);
  if (command > 1) return new Error(`command ${command}`);
  // Of a connection that is the proxy's own, all that follows is to be ignored.
  if (command === 1 && bytes.length > 13 && !KNOWN_PROTOCOLS.includes(bytes[13]!)) {
    return new Error(`address family and transport 0x${hex(bytes[13]!)}`);
  }
  if (bytes.length < FIXED_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = FIXED_BYTES + view.getUint16(14);
  if (length > MAX_PROXY_HEADER_BYTES) {
    return new Error(`${length} bytes, more than ${MAX_PROXY_HEADER_BYTES}`);
  }
  const isForwarded = command === 1;
  if (isForwarded && length < FIXED_BYTES + ADDRESS_BYTES[family]!) {
    return new Error("too short for its addresses");
  }
  if (bytes.length < length) return undefined;
  if (isForwarded && family === INET) {
    return { length, source: { host: bytes.subarray(16, 20).join("."), port: view.getUint16(24) } };
  }
  if (isForwarded && family === INET6) {
    const hextets = Array.from({ length: 8 }, (_, at) => hex(view.getUint16(FIXED_BYTES + 2 * at)));
    return { length, source: { host: compressIPv6(hextets.join(":")), port: view.getUint16(48) } };
  }
  return { length };
}

/** Whether the bytes begin as `start` does, as far as both go. */
function prefixMatches(bytes: Uint8Array, start: Uint8Array): boolean {
  return start.subarray(0, bytes.length).every((byte, at) => byte === bytes[at]);
}

function isPlainIPv6(text: string): boolean {
  return isIPv6(text) && !text.includes("%"); // no zone: it would mean nothing here
}

function isPort(text: string): boolean {
  return /^(0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535;
}

/** An IPv6 address as it is usually written, with `::` for its longest run of zeros. */
function compressIPv6(address: string): string {
  return new URL(`http://[${address}]`).hostname.slice(1, -1);
}

function hex(number: number): string {
  return number.toString(16);
}

function ascii(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
