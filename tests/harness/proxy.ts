/**
 * PROXY protocol headers, written from the specification, so that they share no fault with the server's
 * reader.
 */
import { FramedClient } from "./framed_client.ts";
import { joined } from "./frames.ts";
import type { Address, Server } from "./server.ts";

/** The source of a forwarded connection. */
interface Source {
  readonly host: string;
  readonly port: number;
}

const SIGNATURE = "\r\n\r\n\0\r\nQUIT\n";
const encoder = new TextEncoder();

/** Returns a header of version 1 for IPv4 (family 1) or IPv6 (family 2). */
export function proxyHeaderV1(family: 1 | 2, { host, port }: Source): Uint8Array {
  const words = family === 1 ? `TCP4 ${host} 198.51.100.2` : `TCP6 ${host} 2001:db8::2`;
  return encoder.encode(`PROXY ${words} ${port} 8000\r\n`);
}

/** Connects a client with a proxy header for this address. */
export async function connectFrom(at: Address, host: string): Promise<FramedClient> {
  const client = await FramedClient.connect(at);
  await client.sendBytes(proxyHeaderV1(host.includes(":") ? 2 : 1, { host, port: 4_711 }));
  return client;
}

/** The fields of a header of version 2. */
export interface ProxyHeaderV2 {
  /** 0: the connection is the proxy's own; 1, the default: it forwards a client. */
  readonly command?: number;
  /** 1: IPv4, 2: IPv6. */
  readonly family: number;
  /** 1, the default: TCP. */
  readonly transport?: number;
  /** The source; without it the header has no addresses. */
  readonly source?: Source;
  /** The bytes after the addresses. */
  readonly more?: Uint8Array;
}

/** Returns a header of version 2. */
export function proxyHeaderV2(
  { command = 1, family, transport = 1, source, more = new Uint8Array(0) }: ProxyHeaderV2,
): Uint8Array {
  const addresses = source ? [...family === 1 ? quad(source.host) : octets(source.host)] : [];
  const rest = joined(
    Uint8Array.from(
      source ? [...addresses, ...addresses.map(() => 7), ...word(source.port), ...word(8_000)] : [],
    ),
    more,
  );
  const head = Uint8Array.of(0x20 | command, family << 4 | transport, ...word(rest.length));
  return joined(encoder.encode(SIGNATURE), head, rest);
}

function word(number: number): [number, number] {
  return [number >> 8, number & 0xff];
}

function quad(host: string): number[] {
  return host.split(".").map(Number);
}

/** Returns the bytes of an IPv6 address in its short or its long form. */
function octets(host: string): number[] {
  const [front = "", back] = host.split("::");
  const groups = (part: string) => part === "" ? [] : part.split(":").map((group) => parseInt(group, 16));
  const [first, last] = [groups(front), groups(back ?? "")];
  const zeros = new Array<number>(8 - first.length - last.length).fill(0);
  return [...first, ...zeros, ...last].flatMap(word);
}

/**
 * Options of a server that trusts the headers of this machine, and also takes its connections without a
 * header.
 */
export const TRUSTING: readonly string[] = [
  "--trusted-proxies",
  "10.0.0.0/8,127.0.0.1",
  "--proxy-required",
  "no",
  "--log-level",
  "debug",
];

/** Returns the client addresses of the log's lines about an event. */
export function remoteAddresses(server: Server, event: string): string[] {
  const lines = server.log().split("\n").filter((text) => text.includes(`"${event}"`) && text.endsWith("}"));
  return lines.map((text) => String((JSON.parse(text) as { from?: string }).from));
}
