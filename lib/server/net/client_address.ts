/**
 * Where a connection comes from: its peer's address, or what a trusted proxy says in front of the first
 * message.
 */
import type { Config } from "../../config/options.ts";
import { type Log, LogThrottle, MINUTE_MS } from "../../log.ts";
import { CidrList } from "../../wire/networks.ts";
import {
  beginsProxyHeader,
  MAX_PROXY_HEADER_BYTES,
  type ProxyHeader,
  type ProxySource,
  readProxyHeader,
} from "../../wire/proxy.ts";
import {
  ConnectionCounter,
  type ConnectionSlot,
  TooManyConnectionsError,
} from "../limits/connection_counter.ts";
import type { ProxyHeaderReader } from "./connection_context.ts";

/** A connection's origin. */
export interface ClientAddress extends ProxyHeaderReader {
  /** The client's address and port, as far as it is known now. */
  readonly remoteAddress: string;
  /**
   * Its place among the connections of that address; undefined until a trusted proxy has said whom it
   * forwards.
   */
  readonly slot: ConnectionSlot | undefined;
}

const LOOPBACK = CidrList.parse("127.0.0.0/8,::1");

/**
 * Milliseconds between two lines about clients that seem to be on this machine, which is usual where one
 * develops.
 */
const INTERNAL_LOG_INTERVAL_MS = 3_600_000;

type ClientAddressConfig = Pick<
  Config,
  "host" | "trustedProxies" | "proxyRequired" | "exemptAddresses" | "maxConnectionsPerAddress"
>;

/**
 * Whether each connection of a trusted proxy must say whose it is. By itself that is so where only proxies
 * connect, as they are on this machine and no other machine can reach the port.
 */
export function requiresProxyHeader({ host, proxyRequired, trustedProxies }: ClientAddressConfig): boolean {
  if (proxyRequired !== "auto") return proxyRequired === "yes";
  const hosts = host === "localhost" ? ["127.0.0.1", "::1"] : [host];
  const trusted = CidrList.parse(trustedProxies);
  return hosts.every((host) => LOOPBACK.contains(host)) && hosts.some((host) => trusted.contains(host));
}

/** Tells the origins of a server's connections, and counts them by address. */
export class ClientAddresses {
  readonly #log: Log;
  readonly #trusted: CidrList;
  readonly #counter: ConnectionCounter;
  readonly #untrustedLog = new LogThrottle();
  readonly #malformedLog = new LogThrottle();
  readonly #tooManyLog = new LogThrottle();
  readonly #missingHeaderLog = new LogThrottle(MINUTE_MS);
  readonly #internalLog = new LogThrottle(INTERNAL_LOG_INTERVAL_MS);
  readonly #isHeaderRequired: boolean;

  /**
   * The proxies are trusted; they and `exemptAddresses` may have any number of connections, but not as
   * clients whom a required header names.
   */
  constructor(log: Log, config: ClientAddressConfig) {
    this.#log = log;
    this.#isHeaderRequired = requiresProxyHeader(config);
    this.#trusted = CidrList.parse(config.trustedProxies);
    const exempt = CidrList.parse(config.exemptAddresses);
    this.#counter = new ConnectionCounter(config.maxConnectionsPerAddress, [this.#trusted, exempt]);
  }

  /** The origin of a connection from this address. Throws an Error when there are too many from there. */
  resolve({ hostname, port }: Deno.NetAddr): ClientAddress {
    const remoteAddress = formatAddress(hostname, port);
    if (!this.#trusted.contains(hostname)) {
      return new DirectAddress(remoteAddress, this.#acquire(hostname), this.#warnUntrusted);
    }
    return new ProxiedAddress(remoteAddress, this.#isHeaderRequired, {
      acquireForwarded: ({ host }) => this.#acquireForwarded(remoteAddress, host),
      acquireUnnamed: () => this.#acquire(hostname),
      onUnnamedMessage: () => this.#warnMissingHeader(remoteAddress),
      onMalformed: (why) =>
        this.#malformedLog.log((count) =>
          this.#log.warn("malformed PROXY header", { from: remoteAddress, why, count })
        ),
    });
  }

  /**
   * The place of whom a proxy names. That another proxy, or this machine, is the client is mostly a mistake.
   */
  #acquireForwarded(remoteAddress: string, host: string): ConnectionSlot {
    const isInternal = LOOPBACK.contains(host) || this.#trusted.contains(host);
    if (isInternal) {
      const hint = "another proxy in front of that one must send a PROXY header, too";
      this.#internalLog.log((count) =>
        this.#log.warn("a PROXY header names this machine or a proxy as the client", {
          from: remoteAddress,
          host,
          count,
          hint,
        })
      );
    }
    return this.#acquire(host, isInternal && this.#isHeaderRequired);
  }

  #warnMissingHeader(remoteAddress: string): void {
    const [event, hint]: readonly [string, string] = this.#isHeaderRequired
      ? [
        "refused a connection whose trusted proxy does not say for whom it is",
        "--proxy-required no lets it in",
      ]
      : [
        "no limit per address holds for a trusted proxy's connection without its client's address",
        "--proxy-required",
      ];
    this.#missingHeaderLog.log((count) => this.#log.warn(event, { from: remoteAddress, count, hint }));
  }

  #acquire(host: string, ignoreExemptions = false): ConnectionSlot {
    try {
      return this.#counter.acquire(host, ignoreExemptions);
    } catch (error) {
      if (error instanceof TooManyConnectionsError) {
        const { address } = error;
        this.#tooManyLog.log((count) =>
          this.#log.warn("too many connections of one address", { address, count })
        );
      }
      throw error;
    }
  }

  /** Says that a PROXY header from one that isn't trusted may be a mistake. */
  readonly #warnUntrusted = (remoteAddress: string, bytes: Uint8Array): void => {
    if (!beginsProxyHeader(bytes[0]!)) return;
    this.#untrustedLog.log((count) =>
      this.#log.warn("a PROXY header from an address that is not in --trusted-proxies", {
        from: remoteAddress,
        count,
      })
    );
  };
}

/** The origin of any other connection: nothing is taken from its bytes. */
class DirectAddress implements ClientAddress {
  readonly remoteAddress: string;
  readonly slot: ConnectionSlot;
  readonly #onRead: (remoteAddress: string, bytes: Uint8Array) => void;

  constructor(
    remoteAddress: string,
    slot: ConnectionSlot,
    onRead: (remoteAddress: string, bytes: Uint8Array) => void,
  ) {
    this.remoteAddress = remoteAddress;
    this.slot = slot;
    this.#onRead = onRead;
  }

  stripHeader(bytes: Uint8Array): Uint8Array {
    this.#onRead(this.remoteAddress, bytes);
    return bytes;
  }
}

const EMPTY = new Uint8Array(0);

/** What is done with what comes from a trusted proxy. */
interface ProxyEvents {
  /** Gives the place of the client that a header names. */
  acquireForwarded(source: ProxySource): ConnectionSlot;
  /** Gives the place of a connection whose header names no client, or that has none. */
  acquireUnnamed(): ConnectionSlot;
  /** Told when a message comes on such a connection. */
  onUnnamedMessage(): void;
  /** Told what is wrong with a header. */
  onMalformed(why: string): void;
}

/** The origin of a connection from a trusted proxy, which is the client's once the header is read. */
class ProxiedAddress implements ClientAddress {
  remoteAddress: string;
  slot: ConnectionSlot | undefined;
  readonly #isRequired: boolean;
  readonly #events: ProxyEvents;
  #buffered: Uint8Array = EMPTY;

  /**
   * `isRequired`: without a client's address no message is taken. A proxy may look whether the port is there.
   */
  constructor(remoteAddress: string, isRequired: boolean, events: ProxyEvents) {
    this.remoteAddress = remoteAddress;
    this.#isRequired = isRequired;
    this.#events = events;
  }

  stripHeader(bytes: Uint8Array): Uint8Array | undefined {
    const bufferedLength = this.#buffered.length;
    const buffered = new Uint8Array(Math.min(bufferedLength + bytes.length, MAX_PROXY_HEADER_BYTES));
    buffered.set(this.#buffered);
    buffered.set(bytes.subarray(0, buffered.length - bufferedLength), bufferedLength);
    const header = readProxyHeader(buffered);
    if (header instanceof Error) {
      this.#events.onMalformed(header.message);
      throw header;
    }
    const isAlone = header !== undefined && bufferedLength + bytes.length === header.length;
    if (!header || (isAlone && !header.source && this.#isRequired)) {
      this.#buffered = buffered;
      return undefined;
    }
    this.#buffered = EMPTY;
    this.slot = this.#acquireSlot(header, isAlone);
    return bytes.subarray(header.length - bufferedLength);
  }

  #acquireSlot({ source }: ProxyHeader, isAlone: boolean): ConnectionSlot {
    if (source) {
      this.remoteAddress = formatAddress(source.host, source.port);
      return this.#events.acquireForwarded(source);
    }
    if (!isAlone) this.#events.onUnnamedMessage();
    if (this.#isRequired) throw new Error("the proxy does not say for whom the connection is");
    return this.#events.acquireUnnamed();
  }
}

function formatAddress(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
