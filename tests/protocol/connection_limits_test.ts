/** The edge of what a connection takes (I7): when it reads on, and when it doesn't. */
import { assertEquals } from "@std/assert";
import { classicDialect } from "../../lib/server/protocol/classic_dialect.ts";
import { Connection } from "../../lib/server/net/connection.ts";
import type { Handler } from "../../lib/server/net/connection_context.ts";
import { BULK, HANDSHAKE } from "../../lib/server/scheduling/classes.ts";
import { EventLoop } from "../../lib/server/scheduling/event_loop.ts";
import { WorkQueue } from "../../lib/server/scheduling/work_queue.ts";
import { framedDialect, type ServerMessage } from "../../lib/server/protocol/dialect.ts";
import { frame, joined } from "../harness/frames.ts";
import { wrapped } from "../harness/nodes.ts";
import { until } from "../harness/wait.ts";

const [PENDING, OUTBOX] = [3, 4_096];

/** A connection's server side, over real sockets, and all that passes between the two. */
interface Line {
  readonly server: Connection;
  readonly client: Deno.TcpConn;
  /** Bodies that were taken out of what was read. */
  readonly bodies: string[];
  /** Answers that the requests that were begun are waiting for. */
  readonly begun: ((reply: ServerMessage) => void)[];
  /** Whether the server is waiting for bytes. */
  isReading(): boolean;
  /** Lets the server's writes through; until then they wait. */
  letWrite(): void;
}

async function withLine(work: (line: Line) => Promise<void>): Promise<void> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [accepted, client] = await Promise.all([
    listener.accept(),
    Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port }),
  ]);
  let reads = 0;
  const gate = Promise.withResolvers<void>();
  const socket = wrapped(accepted, async (name, go) => {
    if (name === "write") await gate.promise;
    if (name !== "read") return go();
    reads++;
    return await (go() as Promise<number | null>).finally(() => reads--);
  });
  const bodies: string[] = [];
  const begun: Line["begun"] = [];
  const handler: Handler = {
    isAuthenticated: true,
    onRead: () => 0,
    prepare(body) {
      bodies.push(new TextDecoder().decode(body as Uint8Array));
      return {
        concurrent: true,
        admit: () => ({ isBulk: false, pauseMs: 0 }),
        run: () => new Promise((resolve) => begun.push(resolve)),
      };
    },
    onReply() {},
    onDrain() {},
    onLeave() {},
    onEnd() {},
  };
  const eventLoop = new EventLoop();
  const context = {
    eventLoop,
    dialect: (classic: boolean) => classic ? classicDialect(1_023, 0) : framedDialect,
    maxFrameBytes: 1_024,
    maxInFlight: PENDING,
    writeBufferBytes: OUTBOX,
    bulkQueue: new WorkQueue(eventLoop, BULK),
    handshakeQueue: new WorkQueue(eventLoop, HANDSHAKE),
    closeTimeoutMs: 5_000,
  };
  const server = new Connection(socket, context, () => handler);
  const ran = server.run();
  try {
    await work({ server, client, bodies, begun, isReading: () => reads > 0, letWrite: gate.resolve });
  } finally {
    gate.resolve();
    server.abort();
    client.close();
    await ran;
  }
}

Deno.test("max-in-flight: the server reads on with as many requests under way, and not with one more to begin", () =>
  withLine(async ({ server, client, bodies, begun, isReading }) => {
    for (let count = 1; count <= PENDING; count++) {
      await client.write(frame(`${count}`));
      await until(() => begun.length === count, "the request to begin");
      await until(isReading, "the server to read on");
    }
    assertEquals(server.inFlight, PENDING);
    await client.write(frame("4"));
    await until(() => bodies.length === PENDING + 1, "the next one to be read");
    assertEquals([begun.length, isReading()], [PENDING, false]);
    await client.write(joined(frame("5"), frame("6")));
    begun.shift()!({ msgid: 1 });
    await until(() => bodies.length === PENDING + 2, "what was waiting unread");
    assertEquals([begun.length, server.inFlight, isReading()], [PENDING, PENDING, false]);
    begun.splice(0).forEach((answer) => answer({ msgid: 1 }));
    await until(isReading, "the server to read on");
    assertEquals([bodies.length, begun.length], [6, 2]);
  }));

for (const bytes of [OUTBOX - 1, OUTBOX, OUTBOX + 1]) {
  Deno.test(`write-buffer-bytes: while ${bytes} of ${OUTBOX} bytes wait to be read`, () =>
    withLine(async ({ server, client, bodies, begun, isReading, letWrite }) => {
      await client.write(frame("1"));
      await until(() => begun.length === 1, "the first request");
      server.sendBytes(new Uint8Array(bytes));
      await undefined; // it is on its way
      assertEquals(
        [server.bufferedAmount, server.isWritable],
        [bytes, bytes < OUTBOX],
        "pushes come while there is room",
      );
      await client.write(frame("2"));
      await until(() => bodies.length === 2, "the next request to be read");
      if (bytes <= OUTBOX) await until(isReading, "the server to read on");
      assertEquals([begun.length, isReading()], bytes <= OUTBOX ? [2, true] : [1, false]);
      letWrite();
      await until(() => begun.length === 2, "the next request to begin");
    }));
}
