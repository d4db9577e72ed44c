/** Ports for servers that cannot choose a free one themselves, or that need the same one after a restart. */

const HOST = "127.0.0.1";

/**
 * The range of ports: above those of well-known servers and below Linux's ports for outgoing connections
 * (from 32768), which could take the port of a server that is down for a moment.
 */
const LOWEST_PORT = 12_000;
const HIGHEST_PORT = 32_000;

/** Returns a port of 127.0.0.1 that was free a moment ago and that no outgoing connection takes. */
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
