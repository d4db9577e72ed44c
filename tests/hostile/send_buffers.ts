/**
 * Keeps the attackers' kernel buffers small. Unread bytes stay in the send buffers of the attackers:
 * megabytes for each connection, gigabytes for all. Real attackers use other machines, but here the kernel
 * serves the baseline as well. From 1.5 GB on it drops packets of all connections, which are sent again 200
 * ms later and would distort the latencies.
 */

// bytes that an attacking connection may buffer: enough to fill the server's buffer soon
const SEND_BUFFER_BYTES = 65_536;
const INTERVAL_MS = 100; // milliseconds between two passes, as new connections appear all the time

// Linux
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;

/** Limits the send buffers of all sockets of this process from now on. Needs Linux and its C library. */
export function keepSendBuffersSmall(): void {
  const { symbols: { setsockopt } } = Deno.dlopen("libc.so.6", {
    setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  });
  const size = new Uint8Array(new Int32Array([SEND_BUFFER_BYTES / 2]).buffer); // the kernel doubles the value
  setInterval(() => {
    // The runtime does not expose descriptors of sockets, so every descriptor is set; others return an error.
    for (const { name } of Deno.readDirSync("/proc/self/fd")) {
      setsockopt(Number(name), SOL_SOCKET, SO_SNDBUF, size, size.length);
    }
  }, INTERVAL_MS);
}
