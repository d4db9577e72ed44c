/** The address of the database, and the account to use there, from a URL that holds a password. */
import type { ConnectionOptions } from "mysql2";
import { connect, type Socket } from "node:net";

const DEFAULT_PORT = 3_306; // the default of MySQL

/**
 * The checks of the server's certificate, as options of the driver. All connections share one object, so that
 * the driver creates the TLS context once.
 */
export interface MysqlTls {
  /** Certificates of authorities in PEM form. By default, those that the runtime trusts. */
  readonly ca?: string;
  readonly rejectUnauthorized: true;
  /** The certificate must name the host. */
  readonly verifyIdentity: true;
}

/** The options of access that are not in the URL. */
export interface AccessOptions {
  /** Authorities to trust, in PEM form. If set, all connections use TLS. */
  readonly ca?: string;
  /** The password, in place of the one in the URL. */
  readonly password?: string;
  /** Whether all nodes write to one and the same member of a Galera cluster. */
  readonly singleWriter?: boolean;
}

/** A database, and the account that uses it. */
export interface MysqlAddress {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  /** `host:port/database`, for log lines and error texts. */
  readonly name: string;
  /** Set if the connections must use TLS. A connection without TLS is then never made. */
  readonly tls?: MysqlTls;
  /** See {@link AccessOptions}. */
  readonly singleWriter?: boolean;
}

/**
 * Parses `mysql://user:password@host:port/database`; reserved characters must be percent-encoded. With
 * `mysqls:` the connections use TLS. Throws an Error of one line, without the URL, for any other text.
 */
export function parseAddress(url: string, options: AccessOptions = {}): MysqlAddress {
  const address = tryParse(url, options);
  if (!address) {
    throw new Error("the address of a MySQL database must be like mysql://user:password@host:port/database");
  }
  return address;
}

/** Returns the options of the driver for an address. */
export function driverOptions(address: MysqlAddress): ConnectionOptions & { readonly database: string } {
  const { host, port, user, password, database, tls } = address;
  const stream = () => connectTo(address);
  return { host, port, user, password, database, stream, ...(tls ? { ssl: tls } : {}) };
}

/** Opens a socket to the database. */
export function connectTo({ host, port }: MysqlAddress): Socket {
  const socket = connect({ host, port, noDelay: true, keepAlive: true });
  // The name to check the certificate for. Without it the driver, which ignores addresses, would check for
  // "localhost".
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
      host: hostname.replace(/^\[(.*)\]$/, "$1"), // an IPv6 address is in brackets
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
