/** The memory that an idle, logged-in connection retains, without the runtime's share. */
import { assertLess } from "@std/assert";
import v8 from "node:v8";
import vm from "node:vm";
import { defaults } from "../../lib/config/config.ts";
import { encodeFrame } from "../../lib/wire/framed.ts";
import { Client } from "../../lib/server/sessions/client.ts";
import { Connection } from "../../lib/server/net/connection.ts";
import type { Socket } from "../../lib/server/net/connection_context.ts";
import { RateLimiters } from "../../lib/server/limits/rate_limiter.ts";
import type { Node } from "../../lib/server/node.ts";
import { EventLoop } from "../../lib/server/scheduling/event_loop.ts";
import { BULK } from "../../lib/server/scheduling/classes.ts";
import { WorkQueue } from "../../lib/server/scheduling/work_queue.ts";
import { Session } from "../../lib/server/sessions/session.ts";
import { contextOf, HoldingQueue } from "./connection_fixture.ts";

const CONNECTIONS = 5_000;
/**
 * Bytes of each connection. With Deno 2.9 they are 3,240. The limit leaves room for other versions, but not for
 * a further suspended function, which takes 500, or a read buffer of 1 KiB.
 */
const MAX_BYTES = 3_600;

v8.setFlagsFromString("--expose-gc");
const collectGarbage = vm.runInNewContext("gc") as () => void;

/** A socket with one frame, and then nothing. */
class IdleSocket implements Socket {
  #pending: Uint8Array | undefined = encodeFrame('{"msgid":999}');
  /** As the runtime does, it refers to the read that waits. */
  waiting: ((bytes: number) => void) | undefined;

  read(buffer: Uint8Array): Promise<number> {
    const bytes = this.#pending;
    this.#pending = undefined;
    if (!bytes) return new Promise((resolve) => this.waiting = resolve);
    buffer.set(bytes);
    return Promise.resolve(bytes.length);
  }

  write(bytes: Uint8Array): Promise<number> {
    return Promise.resolve(bytes.length);
  }

  closeWrite(): Promise<void> {
    return Promise.resolve();
  }

  close(): void {}
}

/** Returns the bytes in use, on the heap and in buffers. */
async function bytesInUse(): Promise<number> {
  await new Promise((resolve) => setTimeout(resolve, 0)); // pending work ends
  collectGarbage();
  const { heapUsed, external } = Deno.memoryUsage();
  return heapUsed + external;
}

Deno.test("memory: an idle connection retains little", async () => {
  const config = defaults();
  const eventLoop = new EventLoop();
  const context = contextOf(new WorkQueue(eventLoop, BULK), new HoldingQueue(), eventLoop);
  const log = { debug: () => {} };
  const node = { config, log, rateLimiters: new RateLimiters(config) } as unknown as Node;
  const clients: Client[] = [];
  const open = (user: number) => {
    const address = { remoteAddress: "192.0.2.1:5000", slot: undefined };
    let client: Client | undefined;
    const connection = new Connection(
      new IdleSocket(),
      context,
      (connection) => client = new Client(node, connection, address, new Map(), () => {}),
    );
    void connection.run();
    client!.requester("new"); // of the password's hash
    client!.attachSession(new Session({ id: user, name: "user" }, 1, connection, node));
    clients.push(client!);
  };
  for (let user = 0; user < CONNECTIONS; user++) open(user); // all code is compiled now
  const before = await bytesInUse();
  for (let user = 0; user < CONNECTIONS; user++) open(CONNECTIONS + user);
  const perConnection = (await bytesInUse() - before) / CONNECTIONS;
  assertLess(perConnection, MAX_BYTES, `${perConnection} bytes`);
});
