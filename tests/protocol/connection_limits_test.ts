/** The limits of a connection (I7): the states in which it reads and in which it does not. */
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

const [IN_FLIGHT, WRITE_BUFFER] = [3, 4_096];

/** The server side of a connection over real sockets, and the bytes of both sides. */
interface Line {
  readonly server: Connection;
  readonly client: Deno.TcpConn;
  /** Bodies that the connection has decoded. */
  readonly bodies: string[];
  /** Resolvers of the replies to requests in flight. */
  readonly begun: ((reply: ServerMessage) => void)[];
  /** Whether the server waits for bytes. */
  isReading(): boolean;
  /** Releases the server's writes, which wait until then. */
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
    onClosed() {},
  };
  const eventLoop = new EventLoop();
  const context = {
    eventLoop,
    dialect: (classic: boolean) => classic ? classicDialect(1_023, 0) : framedDialect,
    maxFrameBytes: 1_024,
    maxInFlight: IN_FLIGHT,
    writeBufferBytes: WRITE_BUFFER,
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

Deno.test("max-in-flight: reads while fewer requests than the limit are in flight, and no further", () =>
  withLine(async ({ server, client, bodies, begun, isReading }) => {
    for (let count = 1; count <= IN_FLIGHT; count++) {
      await client.write(frame(`${count}`));
      await until(() => begun.length === count, "the request to begin");
      await until(isReading, "the server to read on");
    }
    assertEquals(server.inFlight, IN_FLIGHT);
    await client.write(frame("4"));
    await until(() => bodies.length === IN_FLIGHT + 1, "the next one to be read");
    assertEquals([begun.length, isReading()], [IN_FLIGHT, false]);
    await client.write(joined(frame("5"), frame("6")));
    begun.shift()!({ msgid: 1 });
    await until(() => bodies.length === IN_FLIGHT + 2, "what was waiting unread");
    assertEquals([begun.length, server.inFlight, isReading()], [IN_FLIGHT, IN_FLIGHT, false]);
    begun.splice(0).forEach((answer) => answer({ msgid: 1 }));
    await until(isReading, "the server to read on");
    assertEquals([bodies.length, begun.length], [6, 2]);
  }));

for (const bytes of [WRITE_BUFFER - 1, WRITE_BUFFER, WRITE_BUFFER + 1]) {
  Deno.test(`write-buffer-bytes: while ${bytes} of ${WRITE_BUFFER} bytes wait to be read`, () =>
    withLine(async ({ server, client, bodies, begun, isReading, letWrite }) => {
      await client.write(frame("1"));
      await until(() => begun.length === 1, "the first request");
      server.sendBytes(new Uint8Array(bytes));
      await undefined; // the write is in flight
      assertEquals(
        [server.bufferedAmount, server.isWritable],
        [bytes, bytes < WRITE_BUFFER],
        "pushes come while there is room",
      );
      await client.write(frame("2"));
      await until(() => bodies.length === 2, "the next request to be read");
      if (bytes <= WRITE_BUFFER) await until(isReading, "the server to read on");
      assertEquals([begun.length, isReading()], bytes <= WRITE_BUFFER ? [2, true] : [1, false]);
      letWrite();
      await until(() => begun.length === 2, "the next request to begin");
    }));
}
