/** The address of a Redis server. */

/**
 * Parses `redis://[user:password@]host[:port]`, or `rediss:` for TLS. Throws a TypeError for any other text;
 * its message does not contain the address, which may hold a password.
 */
export function parseRedisUrl(address: string): URL {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (url?.hostname && ["redis:", "rediss:"].includes(url.protocol)) return url;
  throw new TypeError(
    "The address of Redis must be like redis://host:6379 or redis://user:password@host:6379",
  );
}
