/**
 * The PROXY protocol, versions 1 and 2: a header that a load balancer sends before a connection's own bytes,
 * with the client's address. HAProxy's proxy-protocol.txt defines the format. This parser is strict and
 * returns only the source.
 */
import { isIPv4, isIPv6 } from "node:net";

/** The source address of a forwarded connection. */
export interface ProxySource {
  readonly host: string;
  readonly port: number;
}

/** The header before a connection's own bytes. */
export interface ProxyHeader {
  /** Length in bytes, or 0 without a header. */
  readonly length: number;
  /**
   * The client. Undefined for the proxy's own connections, such as health checks, and for unknown clients.
   */
  readonly source?: ProxySource;
}

/**
 * Maximum length of a header. A version 2 header has up to 232 bytes with addresses. Its extensions may take
 * the rest.
 */
export const MAX_PROXY_HEADER_BYTES = 4_096;

const MAX_LINE_BYTES = 107; // maximum of version 1, with CRLF
const LINE_START = ascii("PROXY ");
const SIGNATURE = Uint8Array.of(0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a);
const FIXED_BYTES = 16; // of version 2 before the addresses: signature, command, family, length
const [INET, INET6, UNIX] = [1, 2, 3];
/** Bytes of both addresses and both ports, by address family. */
const ADDRESS_BYTES: Readonly<Record<number, number>> = { 0: 0, [INET]: 12, [INET6]: 36, [UNIX]: 216 };
/** Valid combinations of family and transport: unspecified, or a stream (1) or datagrams (2) of a family. */
const KNOWN_PROTOCOLS = [0x00, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32];

/** Returns whether a first byte begins a header. Neither dialect can begin with such a byte. */
export function beginsProxyHeader(firstByte: number): boolean {
  return firstByte === LINE_START[0] || firstByte === SIGNATURE[0];
}

/**
 * Returns the header at the beginning of a connection's bytes, of which there must be at least one. Returns
 * undefined if it needs more bytes, at most {@link MAX_PROXY_HEADER_BYTES} in total, and an Error with the
 * reason for an invalid header.
 */
export function readProxyHeader(bytes: Uint8Array): ProxyHeader | Error | undefined {
  if (!beginsProxyHeader(bytes[0]!)) return { length: 0 };
  return bytes[0] === LINE_START[0] ? readLine(bytes) : readBinary(bytes);
}

/** Parses version 1: one line of text. */
function readLine(bytes: Uint8Array): ProxyHeader | Error | undefined {
  if (!prefixMatches(bytes, LINE_START)) return new Error('it does not begin with "PROXY "');
  const end = bytes.indexOf(0x0d);
  if (end < 0 || end + 2 > MAX_LINE_BYTES) {
    return bytes.length < MAX_LINE_BYTES && end < 0
      ? undefined
      : new Error(`it has no line end within ${MAX_LINE_BYTES} bytes`);
  }
  if (end + 1 === bytes.length) return undefined;
  if (bytes[end + 1] !== 0x0a) return new Error("it has a CR without LF");
  const length = end + 2;
  // latin1 maps each byte to one character, so only ASCII bytes become ASCII characters.
  const line = new TextDecoder("latin1").decode(bytes.subarray(0, end));
  const [, protocol, from, to, fromPort, toPort, ...more] = line.split(" ");
  if (protocol === "UNKNOWN") return { length }; // the definition says to ignore the rest
  const isAddress = protocol === "TCP4" ? isIPv4 : protocol === "TCP6" ? isPlainIPv6 : undefined;
  if (!isAddress) return new Error("it names neither TCP4 nor TCP6 nor UNKNOWN");
  if (toPort === undefined || more.length > 0) {
    return new Error("it has not two addresses and two ports");
  }
  if (!isAddress(from!) || !isAddress(to!)) {
    return new Error(`it has an address that is not one of ${protocol}`);
  }
  if (!isPort(fromPort!) || !isPort(toPort)) {
    return new Error("it has a port that is not a number from 0 to 65535");
  }
  const host = protocol === "TCP6" ? compressIPv6(from!) : from!;
  return { length, source: { host, port: Number(fromPort) } };
}

/** Parses version 2: binary. */
function readBinary(bytes: Uint8Array): ProxyHeader | Error | undefined {
  if (!prefixMatches(bytes, SIGNATURE)) return new Error("it does not begin with the signature");
  const version = bytes[12]! >> 4; // 0 if the byte has not arrived yet, as for the next fields
  const command = bytes[12]! & 0xf;
  const family = bytes[13]! >> 4;
  if (bytes.length > 12 && version !== 2) return new Error(`it has version ${version}`);
  if (command > 1) return new Error(`it has command ${command}`);
  // For the proxy's own connections, the definition says to ignore the rest.
  if (command === 1 && bytes.length > 13 && !KNOWN_PROTOCOLS.includes(bytes[13]!)) {
    return new Error(`it has address family and transport 0x${hex(bytes[13]!)}`);
  }
  if (bytes.length < FIXED_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = FIXED_BYTES + view.getUint16(14);
  if (length > MAX_PROXY_HEADER_BYTES) {
    return new Error(`it has ${length} bytes, more than ${MAX_PROXY_HEADER_BYTES}`);
  }
  const isForwarded = command === 1;
  if (isForwarded && length < FIXED_BYTES + ADDRESS_BYTES[family]!) {
    return new Error("it is too short for its addresses");
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

/** Returns whether bytes and `start` agree on their common length. */
function prefixMatches(bytes: Uint8Array, start: Uint8Array): boolean {
  return start.subarray(0, bytes.length).every((byte, at) => byte === bytes[at]);
}

function isPlainIPv6(text: string): boolean {
  return isIPv6(text) && !text.includes("%"); // a zone has a meaning on one machine only
}

function isPort(text: string): boolean {
  return /^(0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535;
}

/** Returns an IPv6 address in its canonical notation, with `::` for its longest run of zeros. */
function compressIPv6(address: string): string {
  return new URL(`http://[${address}]`).hostname.slice(1, -1);
}

function hex(number: number): string {
  return number.toString(16);
}

function ascii(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
