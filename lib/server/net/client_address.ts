/**
 * The address of the client of a connection: that of the socket, or that in the PROXY header of a trusted
 * proxy.
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

/** The address of a client, as far as it is known. */
export interface ClientAddress extends ProxyHeaderReader {
  /** The client's address and port. Before a PROXY header it is that of the proxy. */
  readonly remoteAddress: string;
  /**
   * The connection's slot among those of its address; undefined before the PROXY header of a trusted proxy.
   */
  readonly slot: ConnectionSlot | undefined;
}

const LOOPBACK = CidrList.parse("127.0.0.0/8,::1");

/** Milliseconds between two log lines about clients that seem to be on this machine, as in development. */
const INTERNAL_LOG_INTERVAL_MS = 3_600_000;

type ClientAddressConfig = Pick<
  Config,
  "host" | "trustedProxies" | "proxyRequired" | "exemptAddresses" | "maxConnectionsPerAddress"
>;

/**
 * Returns whether each connection of a trusted proxy must have a PROXY header with the client's address. With
 * `auto` it must if only local proxies can connect: the server listens on loopback addresses, and trusts one
 * of them.
 */
export function requiresProxyHeader({ host, proxyRequired, trustedProxies }: ClientAddressConfig): boolean {
  if (proxyRequired !== "auto") return proxyRequired === "yes";
  const hosts = host === "localhost" ? ["127.0.0.1", "::1"] : [host];
  const trusted = CidrList.parse(trustedProxies);
  return hosts.every((host) => LOOPBACK.contains(host)) && hosts.some((host) => trusted.contains(host));
}

/** Finds the client addresses of a server's connections, and counts the connections per address. */
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
   * Trusted proxies and `exemptAddresses` may have any number of connections. Clients that a required PROXY
   * header names as such addresses are counted.
   */
  constructor(log: Log, config: ClientAddressConfig) {
    this.#log = log;
    this.#isHeaderRequired = requiresProxyHeader(config);
    this.#trusted = CidrList.parse(config.trustedProxies);
    const exempt = CidrList.parse(config.exemptAddresses);
    this.#counter = new ConnectionCounter(config.maxConnectionsPerAddress, [this.#trusted, exempt]);
  }

  /** Returns the client address of a new connection. Throws a {@link TooManyConnectionsError}. */
  resolve({ hostname, port }: Deno.NetAddr): ClientAddress {
    const remoteAddress = formatAddress(hostname, port);
    if (!this.#trusted.contains(hostname)) {
      return new DirectAddress(remoteAddress, this.#acquire(hostname), this.#warnUntrusted);
    }
    return new ProxiedAddress(remoteAddress, this.#isHeaderRequired, {
      acquireForwarded: ({ host }) => this.#acquireForwarded(remoteAddress, host),
      acquireUnnamed: () => this.#acquire(hostname),
      onUnnamedMessage: () => this.#warnMissingHeader(remoteAddress),
      onMalformed: (error) =>
        this.#malformedLog.log((count) =>
          this.#log.warn("malformed PROXY header", { from: remoteAddress, error, count })
        ),
    });
  }

  /**
   * Acquires a slot for the client in a PROXY header. A client that is a proxy, or this machine, is usually a
   * mistake.
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
        "refused a connection of a trusted proxy without the client's address",
        "--proxy-required no accepts it",
      ]
      : [
        "no limit per address holds for a connection of a trusted proxy without the client's address",
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
          this.#log.warn("too many connections from one address", { address, count })
        );
      }
      throw error;
    }
  }

  /** Logs a PROXY header from an address that is not trusted: it may be a mistake. */
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

/** The address of a connection that is not from a trusted proxy. It has no PROXY header. */
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

/** The events of a connection from a trusted proxy. */
interface ProxyEvents {
  /** Acquires a slot for the client that the header names. */
  acquireForwarded(source: ProxySource): ConnectionSlot;
  /** Acquires a slot for a connection without a client in a header. */
  acquireUnnamed(): ConnectionSlot;
  /** Called when a message arrives on such a connection. */
  onUnnamedMessage(): void;
  /** Called when a header is malformed. */
  onMalformed(error: string): void;
}

/** The address of a connection from a trusted proxy: that of the client when the header has been read. */
class ProxiedAddress implements ClientAddress {
  remoteAddress: string;
  slot: ConnectionSlot | undefined;
  readonly #isRequired: boolean;
  readonly #events: ProxyEvents;
  #buffered: Uint8Array = EMPTY;

  /**
   * With `isRequired` no message is accepted without the client's address. A health check of a proxy, which
   * sends none, is accepted.
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
    if (this.#isRequired) throw new Error("the PROXY header has no address of a client");
    return this.#events.acquireUnnamed();
  }
}

function formatAddress(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
