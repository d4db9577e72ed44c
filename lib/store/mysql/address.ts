/** Where the database is and who goes there, from a URL that holds a password. */
import type { ConnectionOptions } from "mysql2";
import { connect, type Socket } from "node:net";

const DEFAULT_PORT = 3_306; // MySQL's own

/** How a connection by TLS checks the server, as the driver's options: one object, from which it makes its context once. */
export interface MysqlTls {
  /** Certificates of authorities in PEM form; those that the runtime trusts, if it isn't given. */
  readonly ca?: string;
  readonly rejectUnauthorized: true;
  /** The name in the certificate is the host's. */
  readonly verifyIdentity: true;
}

/** What the URL doesn't say of how the database is used. */
export interface AccessOptions {
  /** Authorities to trust, in PEM form. They make all connections TLS. */
  readonly ca?: string;
  /** The password, where the URL has none. */
  readonly password?: string;
  /** Whether all nodes write to one and the same member of a Galera cluster. */
  readonly singleWriter?: boolean;
}

/** A database and the account that uses it. */
export interface MysqlAddress {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  /** `host:port/database`, for people to read. */
  readonly name: string;
  /** Set where the connections must be TLS. They never are anything else then. */
  readonly tls?: MysqlTls;
  /** See {@link AccessOptions}. */
  readonly singleWriter?: boolean;
}

/**
 * Takes `mysql://user:password@host:port/database` apart; what URLs have a meaning for is percent-encoded in it. With
 * `mysqls:` in place of `mysql:` the connections are TLS.
 * Throws an Error of one line, which does not have the URL in it, if it is something else.
 */
export function parseAddress(url: string, options: AccessOptions = {}): MysqlAddress {
  const address = tryParse(url, options);
  if (!address) throw new Error("a MySQL database is named by mysql://user:password@host:port/database");
  return address;
}

/** What the driver needs of an address. */
export function driverOptions(address: MysqlAddress): ConnectionOptions & { readonly database: string } {
  const { host, port, user, password, database, tls } = address;
  const stream = () => connectTo(address);
  return { host, port, user, password, database, stream, ...(tls ? { ssl: tls } : {}) };
}

/** Begins a connection. */
export function connectTo({ host, port }: MysqlAddress): Socket {
  const socket = connect({ host, port, noDelay: true, keepAlive: true });
  // The name that a certificate is checked for, if the driver gives none: it gives no addresses, and "localhost" would
  // be checked for in their place.
  return Object.assign(socket, { _host: host });
}

function tryParse(
  url: string,
  { ca, password: passwordOption, singleWriter }: AccessOptions,
): MysqlAddress | undefined {
  try {
    const { protocol, hostname, port, username, password, pathname, search, hash } = new URL(url);
    const [user, database] = [decodeURIComponent(username), decodeURIComponent(pathname.slice(1))];
    const isTls = protocol === "mysqls:" || ca !== undefined;
    if (!/^mysqls?:$/.test(protocol) || !hostname || !user || !database || search || hash) return undefined;
    return {
      host: hostname.replace(/^\[(.*)\]$/, "$1"), // an IPv6 address stands in brackets
      port: port ? Number(port) : DEFAULT_PORT,
      user,
      password: passwordOption ?? decodeURIComponent(password),
      database,
      name: `${hostname}:${port || DEFAULT_PORT}/${database}`,
      ...(isTls
        ? { tls: { rejectUnauthorized: true, verifyIdentity: true, ...(ca === undefined ? {} : { ca }) } }
        : {}),
      ...(singleWriter ? { singleWriter } : {}),
    };
  } catch {
    return undefined; // the error would show the URL, with the password
  }
}
