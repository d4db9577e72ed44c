/**
 * What a server has not taken, its attackers hold: megabytes for each connection, gigabytes for all. Theirs is another
 * machine; here they would be in the memory of the kernel that serves the honest as well. From 1.5 GB on it is short of
 * that and drops packets, whoever they are for, and what is dropped is sent again 200 ms later: which says nothing
 * about the server.
 */

const SEND_BUFFER = 65_536; // bytes that a connection of the attackers may hold: what fills the server's buffer soon
const EVERY = 100; // milliseconds: there are new connections all the time

// Linux
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;

/** Keeps the send buffers of all this process's sockets small from now on. Linux only, with the C library at hand. */
export function keepSendBuffersSmall(): void {
  const { symbols: { setsockopt } } = Deno.dlopen("libc.so.6", {
    setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  });
  const size = new Uint8Array(new Int32Array([SEND_BUFFER / 2]).buffer); // the kernel doubles it
  setInterval(() => {
    // The runtime doesn't tell a socket's number, so all are told; those that aren't sockets refuse.
    for (const { name } of Deno.readDirSync("/proc/self/fd")) {
      setsockopt(Number(name), SOL_SOCKET, SO_SNDBUF, size, size.length);
    }
  }, EVERY);
}
