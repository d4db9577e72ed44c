import { duration } from "../declare.ts";

/** When the server closes a connection, and how long it waits. */
export const timeouts = {
  loginTimeout: duration(30_000, 100, "The server closes a connection without a login after this time."),
  pingInterval: duration(60_000, 100, "The server sends PING to a client that was silent for this time."),
  pongTimeout: duration(
    20_000,
    100,
    "The server closes a connection that stays silent for this time after PING.",
  ),
  writeStallTimeout: duration(
    15 * 60_000,
    100,
    "The server closes a connection if the client takes none of the waiting bytes for this time. The " +
      "kernel buffers megabytes and reports progress in large steps, so a shorter time would close slow " +
      "readers. TCP gives up a dead client after about the same time.",
  ),
  drainTimeout: duration(
    10_000,
    0,
    "On SIGTERM or SIGINT the server asks all clients to reconnect elsewhere, and serves them meanwhile. " +
      "It closes the remaining connections after this time.",
  ),
  proxyHeaderTimeout: duration(
    5_000,
    100,
    "The server closes a connection from --trusted-proxies without a complete header after this time. " +
      "Proxies send the header at once.",
  ),
};
