/** Where the database is and who goes there, from a URL that holds a password. */

const PORT = 3_306; // MySQL's own

/** A database and the account that uses it. */
export interface MysqlAddress {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  /** `host:port/database`, for people to read. */
  readonly name: string;
}

/**
 * Takes `mysql://user:password@host:port/database` apart; what URLs have a meaning for is percent-encoded in it.
 * Throws an Error of one line, which does not have the URL in it, if it is something else.
 */
export function parseAddress(url: string): MysqlAddress {
  const address = tryParse(url);
  if (!address) throw new Error("a MySQL database is named by mysql://user:password@host:port/database");
  return address;
}

function tryParse(url: string): MysqlAddress | undefined {
  try {
    const { protocol, hostname, port, username, password, pathname, search, hash } = new URL(url);
    const [user, database] = [decodeURIComponent(username), decodeURIComponent(pathname.slice(1))];
    if (protocol !== "mysql:" || !hostname || !user || !database || search || hash) return undefined;
    return {
      host: hostname.replace(/^\[(.*)\]$/, "$1"), // an IPv6 address stands in brackets
      port: port ? Number(port) : PORT,
      user,
      password: decodeURIComponent(password),
      database,
      name: `${hostname}:${port || PORT}/${database}`,
    };
  } catch {
    return undefined; // the error would show the URL, with the password
  }
}
