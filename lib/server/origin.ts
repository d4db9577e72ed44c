/** Where a connection comes from: its peer's address, or what a trusted proxy says in front of the first message. */
import { type Log, Seldom } from "../log.ts";
import { Networks } from "../wire/networks.ts";
import { beginsProxyHeader, MAX_PROXY_HEADER, readProxyHeader } from "../wire/proxy.ts";
import type { Preface } from "./connection.ts";

/** A connection's origin. */
export interface Origin extends Preface {
  /** The client's address and port, as far as it is known now. */
  readonly from: string;
}

/** Tells the origins of a server's connections. */
export class Origins {
  readonly #log: Log;
  readonly #trusted: Networks;
  readonly #untrusted = new Seldom();
  readonly #malformed = new Seldom();

  /** `trustedProxies` names whose PROXY headers are believed, as {@link Networks.parse} reads it. */
  constructor(log: Log, trustedProxies: string) {
    this.#log = log;
    this.#trusted = Networks.parse(trustedProxies);
  }

  /** The origin of a connection from this address. */
  of({ hostname, port }: Deno.NetAddr): Origin {
    const from = written(hostname, port);
    return this.#trusted.contains(hostname)
      ? new Proxied(from, (why) => this.#refuse(from, why))
      : { from, take: (bytes) => this.#look(from, bytes) };
  }

  /** Nothing is taken from whoever isn't trusted; but that this may be a mistake is said. */
  #look(from: string, bytes: Uint8Array): Uint8Array {
    if (beginsProxyHeader(bytes[0]!)) {
      this.#untrusted.say((times) =>
        this.#log.warn("a PROXY header from an address that is not in --trusted-proxies", { from, times })
      );
    }
    return bytes;
  }

  #refuse(from: string, why: string): void {
    this.#malformed.say((times) => this.#log.warn("malformed PROXY header", { from, why, times }));
  }
}

const NOTHING = new Uint8Array(0);

/** The origin of a connection from a trusted proxy, which is the client's once the header is read. */
class Proxied implements Origin {
  from: string;
  readonly #refuse: (why: string) => void;
  #held: Uint8Array = NOTHING;

  constructor(from: string, refuse: (why: string) => void) {
    this.from = from;
    this.#refuse = refuse;
  }

  take(bytes: Uint8Array): Uint8Array | undefined {
    const before = this.#held.length;
    const held = new Uint8Array(Math.min(before + bytes.length, MAX_PROXY_HEADER));
    held.set(this.#held);
    held.set(bytes.subarray(0, held.length - before), before);
    const header = readProxyHeader(held);
    if (header instanceof Error) {
      this.#refuse(header.message);
      throw header;
    }
    if (!header) {
      this.#held = held;
      return undefined;
    }
    this.#held = NOTHING;
    if (header.source) this.from = written(header.source.host, header.source.port);
    return bytes.subarray(header.length - before);
  }
}

function written(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
