/** Where a connection comes from: its peer's address, or what a trusted proxy says in front of the first message. */
import type { Config } from "../config/options.ts";
import { type Log, Seldom } from "../log.ts";
import { Networks } from "../wire/networks.ts";
import { beginsProxyHeader, MAX_PROXY_HEADER, type ProxyHeader, readProxyHeader } from "../wire/proxy.ts";
import { Addresses, type Place, TooMany } from "./addresses.ts";
import type { Preface } from "./connection_context.ts";

/** A connection's origin. */
export interface Origin extends Preface {
  /** The client's address and port, as far as it is known now. */
  readonly from: string;
  /** Its place among the connections of that address; undefined until a trusted proxy has said whom it forwards. */
  readonly place: Place | undefined;
}

/** Tells the origins of a server's connections, and counts them by address. */
export class Origins {
  readonly #log: Log;
  readonly #trusted: Networks;
  readonly #addresses: Addresses;
  readonly #untrusted = new Seldom();
  readonly #malformed = new Seldom();
  readonly #crowded = new Seldom();

  /** The proxies are trusted; they and `unlimitedAddresses` may have any number of connections. */
  constructor(
    log: Log,
    config: Pick<Config, "trustedProxies" | "unlimitedAddresses" | "maxConnectionsPerAddress">,
  ) {
    this.#log = log;
    this.#trusted = Networks.parse(config.trustedProxies);
    const unlimited = Networks.parse(config.unlimitedAddresses);
    this.#addresses = new Addresses(config.maxConnectionsPerAddress, [this.#trusted, unlimited]);
  }

  /** The origin of a connection from this address. Throws an Error when there are too many from there. */
  of({ hostname, port }: Deno.NetAddr): Origin {
    const from = written(hostname, port);
    if (!this.#trusted.contains(hostname)) {
      return new Direct(from, this.#enter(hostname), this.#look);
    }
    return new Proxied(
      from,
      ({ source }) => this.#enter(source?.host ?? hostname),
      (why) => this.#malformed.say((times) => this.#log.warn("malformed PROXY header", { from, why, times })),
    );
  }

  #enter(host: string): Place {
    try {
      return this.#addresses.enter(host);
    } catch (error) {
      if (error instanceof TooMany) {
        const { address } = error;
        this.#crowded.say((times) =>
          this.#log.warn("too many connections of one address", { address, times })
        );
      }
      throw error;
    }
  }

  /** Says that a PROXY header from one that isn't trusted may be a mistake. */
  readonly #look = (from: string, bytes: Uint8Array): void => {
    if (!beginsProxyHeader(bytes[0]!)) return;
    this.#untrusted.say((times) =>
      this.#log.warn("a PROXY header from an address that is not in --trusted-proxies", { from, times })
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

/** The origin of a connection from a trusted proxy, which is the client's once the header is read. */
class Proxied implements Origin {
  from: string;
  place: Place | undefined;
  readonly #enter: (header: ProxyHeader) => Place;
  readonly #refuse: (why: string) => void;
  #held: Uint8Array = NOTHING;

  constructor(from: string, enter: (header: ProxyHeader) => Place, refuse: (why: string) => void) {
    this.from = from;
    this.#enter = enter;
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
    this.place = this.#enter(header);
    return bytes.subarray(header.length - before);
  }
}

function written(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
