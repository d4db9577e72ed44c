/** Ports for servers that can't choose one and say which, or that must get the same one after a restart. */

const HOST = "127.0.0.1";

/**
 * Below those that Linux gives to outgoing connections (32768 and up), any of which could take the port of a server
 * that is down for a moment; above those that well-known servers have.
 */
const LOWEST_PORT = 12_000;
const HIGHEST_PORT = 32_000;

/** A port of 127.0.0.1 that was free a moment ago, and that no outgoing connection takes. */
export function freePort(): number {
  for (;;) {
    const port = LOWEST_PORT + Math.floor(Math.random() * (HIGHEST_PORT - LOWEST_PORT));
    try {
      Deno.listen({ hostname: HOST, port }).close();
      return port;
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
}
