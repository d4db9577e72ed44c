/**
 * Where a connection comes from: its peer's address, or what a trusted proxy says in front of the first
 * message.
 */
import type { Config } from "../../config/options.ts";
import { type Log, MINUTELY, Seldom } from "../../log.ts";
import { Networks } from "../../wire/networks.ts";
import {
  beginsProxyHeader,
  MAX_PROXY_HEADER,
  type ProxyHeader,
  type ProxySource,
  readProxyHeader,
} from "../../wire/proxy.ts";
import { Addresses, type Place, TooMany } from "../limits/connection_counter.ts";
import type { Preface } from "./connection_context.ts";

/** A connection's origin. */
export interface Origin extends Preface {
  /** The client's address and port, as far as it is known now. */
  readonly from: string;
  /**
   * Its place among the connections of that address; undefined until a trusted proxy has said whom it
   * forwards.
   */
  readonly place: Place | undefined;
}

const LOOPBACK = Networks.parse("127.0.0.0/8,::1");

/**
 * Milliseconds between two lines about clients that seem to be on this machine, which is usual where one
 * develops.
 */
const INNER_INTERVAL_MS = 3_600_000;

type OriginConfig = Pick<
  Config,
  "host" | "trustedProxies" | "proxyRequired" | "exemptAddresses" | "maxConnectionsPerAddress"
>;

/**
 * Whether each connection of a trusted proxy must say whose it is. By itself that is so where only proxies
 * connect, as they are on this machine and no other machine can reach the port.
 */
export function requiresHeader({ host, proxyRequired, trustedProxies }: OriginConfig): boolean {
  if (proxyRequired !== "auto") return proxyRequired === "yes";
  const hosts = host === "localhost" ? ["127.0.0.1", "::1"] : [host];
  const trusted = Networks.parse(trustedProxies);
  return hosts.every((host) => LOOPBACK.contains(host)) && hosts.some((host) => trusted.contains(host));
}

/** Tells the origins of a server's connections, and counts them by address. */
export class Origins {
  readonly #log: Log;
  readonly #trusted: Networks;
  readonly #addresses: Addresses;
  readonly #untrusted = new Seldom();
  readonly #malformed = new Seldom();
  readonly #crowded = new Seldom();
  readonly #unnamed = new Seldom(MINUTELY);
  readonly #inner = new Seldom(INNER_INTERVAL_MS);
  readonly #isRequired: boolean;

  /**
   * The proxies are trusted; they and `exemptAddresses` may have any number of connections, but not as
   * clients whom a required header names.
   */
  constructor(log: Log, config: OriginConfig) {
    this.#log = log;
    this.#isRequired = requiresHeader(config);
    this.#trusted = Networks.parse(config.trustedProxies);
    const unlimited = Networks.parse(config.exemptAddresses);
    this.#addresses = new Addresses(config.maxConnectionsPerAddress, [this.#trusted, unlimited]);
  }

  /** The origin of a connection from this address. Throws an Error when there are too many from there. */
  of({ hostname, port }: Deno.NetAddr): Origin {
    const from = written(hostname, port);
    if (!this.#trusted.contains(hostname)) {
      return new Direct(from, this.#enter(hostname), this.#look);
    }
    return new Proxied(from, this.#isRequired, {
      forwarded: ({ host }) => this.#enterForwarded(from, host),
      unnamed: () => this.#enter(hostname),
      speaks: () => this.#tellUnnamed(from),
      malformed: (why) =>
        this.#malformed.say((count) => this.#log.warn("malformed PROXY header", { from, why, count })),
    });
  }

  /**
   * The place of whom a proxy names. That another proxy, or this machine, is the client is mostly a mistake.
   */
  #enterForwarded(from: string, host: string): Place {
    const isInner = LOOPBACK.contains(host) || this.#trusted.contains(host);
    if (isInner) {
      const hint = "another proxy in front of that one must send a PROXY header, too";
      this.#inner.say((count) =>
        this.#log.warn("a PROXY header names this machine or a proxy as the client", {
          from,
          host,
          count,
          hint,
        })
      );
    }
    return this.#enter(host, isInner && this.#isRequired);
  }

  #tellUnnamed(from: string): void {
    const [event, hint]: readonly [string, string] = this.#isRequired
      ? [
        "refused a connection whose trusted proxy does not say for whom it is",
        "--proxy-required no lets it in",
      ]
      : [
        "no limit per address holds for a trusted proxy's connection without its client's address",
        "--proxy-required",
      ];
    this.#unnamed.say((count) => this.#log.warn(event, { from, count, hint }));
  }

  #enter(host: string, always = false): Place {
    try {
      return this.#addresses.enter(host, always);
    } catch (error) {
      if (error instanceof TooMany) {
        const { address } = error;
        this.#crowded.say((count) =>
          this.#log.warn("too many connections of one address", { address, count })
        );
      }
      throw error;
    }
  }

  /** Says that a PROXY header from one that isn't trusted may be a mistake. */
  readonly #look = (from: string, bytes: Uint8Array): void => {
    if (!beginsProxyHeader(bytes[0]!)) return;
    this.#untrusted.say((count) =>
      this.#log.warn("a PROXY header from an address that is not in --trusted-proxies", { from, count })
    );
  };
}

/** The origin of any other connection: nothing is taken from its bytes. */
class Direct implements Origin {
  readonly from: string;
  readonly place: Place;
  readonly #look: (from: string, bytes: Uint8Array) => void;

  constructor(from: string, place: Place, look: (from: string, bytes: Uint8Array) => void) {
    this.from = from;
    this.place = place;
    this.#look = look;
  }

  take(bytes: Uint8Array): Uint8Array {
    this.#look(this.from, bytes);
    return bytes;
  }
}

const NOTHING = new Uint8Array(0);

/** What is done with what comes from a trusted proxy. */
interface ProxyEvents {
  /** Gives the place of the client that a header names. */
  forwarded(source: ProxySource): Place;
  /** Gives the place of a connection whose header names no client, or that has none. */
  unnamed(): Place;
  /** Told when a message comes on such a connection. */
  speaks(): void;
  /** Told what is wrong with a header. */
  malformed(why: string): void;
}

/** The origin of a connection from a trusted proxy, which is the client's once the header is read. */
class Proxied implements Origin {
  from: string;
  place: Place | undefined;
  readonly #isRequired: boolean;
  readonly #events: ProxyEvents;
  #held: Uint8Array = NOTHING;

  /**
   * `isRequired`: without a client's address no message is taken. A proxy may look whether the port is there.
   */
  constructor(from: string, isRequired: boolean, events: ProxyEvents) {
    this.from = from;
    this.#isRequired = isRequired;
    this.#events = events;
  }

  take(bytes: Uint8Array): Uint8Array | undefined {
    const before = this.#held.length;
    const held = new Uint8Array(Math.min(before + bytes.length, MAX_PROXY_HEADER));
    held.set(this.#held);
    held.set(bytes.subarray(0, held.length - before), before);
    const header = readProxyHeader(held);
    if (header instanceof Error) {
      this.#events.malformed(header.message);
      throw header;
    }
    const isAlone = header !== undefined && before + bytes.length === header.length;
    if (!header || (isAlone && !header.source && this.#isRequired)) {
      this.#held = held;
      return undefined;
    }
    this.#held = NOTHING;
    this.place = this.#placeOf(header, isAlone);
    return bytes.subarray(header.length - before);
  }

  #placeOf({ source }: ProxyHeader, isAlone: boolean): Place {
    if (source) {
      this.from = written(source.host, source.port);
      return this.#events.forwarded(source);
    }
    if (!isAlone) this.#events.speaks();
    if (this.#isRequired) throw new Error("the proxy does not say for whom the connection is");
    return this.#events.unnamed();
  }
}

function written(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
