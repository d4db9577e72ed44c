import { assert, assertEquals } from "@std/assert";
import {
  CoalescingWriteQueue,
  ENTRY_OVERHEAD_BYTES,
  PacedWriteQueue,
  type Sink,
} from "../../lib/server/net/write_queue.ts";
import { ReplyQueue } from "../../lib/server/net/reply_queue.ts";

/** A socket that takes at most `most` bytes at a time, each time only when it is let. */
class SlowSocket implements Sink {
  readonly writes: Uint8Array[] = [];
  readonly highWaterMark = 100;
  rooms = 0;
  failure: unknown;
  #let: (() => void)[] = [];

  constructor(readonly most = Infinity) {}

  async write(bytes: Uint8Array): Promise<number> {
    await new Promise<void>((resolve) => this.#let.push(resolve));
    const taken = bytes.slice(0, Math.min(this.most, bytes.length));
    this.writes.push(taken);
    return taken.length;
  }

  onDrain(): void {
    this.rooms++;
  }

  onError(error: unknown): void {
    this.failure = error;
  }

  /** Lets writes through until none comes any more. */
  async letAll(): Promise<void> {
    await turn();
    while (this.#let.length > 0) {
      this.#let.shift()!();
      await turn();
    }
  }
}

const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

const frame = (size: number, fill = size) => new Uint8Array(size).fill(fill);

Deno.test("write queue: writes frames that come at once, or during a write, in one write", async () => {
  const socket = new SlowSocket();
  const outbox = new CoalescingWriteQueue(socket);
  const taken: number[] = [];
  const push = (size: number) => outbox.push(frame(size), () => taken.push(size));
  for (const size of [1, 2]) push(size);
  await undefined; // no more than a step
  for (const size of [3, 4]) push(size);
  assertEquals(
    outbox.bufferedAmount,
    10 + 2 * ENTRY_OVERHEAD_BYTES,
    "the first two are on their way, two are kept (I7)",
  );
  await socket.letAll();
  assertEquals(socket.writes, [new Uint8Array([1, 2, 2]), new Uint8Array([3, 3, 3, 4, 4, 4, 4])]);
  assertEquals(taken, [1, 2, 3, 4]);
  assertEquals(outbox.bufferedAmount, 0);
});

Deno.test("write queue: a socket that takes a few bytes at a time gets all of them in order", async () => {
  const socket = new SlowSocket(7);
  const outbox = new CoalescingWriteQueue(socket);
  const sent: number[] = [];
  for (let i = 0; i < 20; i++) {
    outbox.push(frame(i + 1, i));
    sent.push(...frame(i + 1, i));
  }
  await socket.letAll();
  assertEquals(socket.writes.flatMap((bytes) => [...bytes]), sent);
});

Deno.test("write queue: writes a frame over the maximum by itself", async () => {
  const socket = new SlowSocket();
  const outbox = new CoalescingWriteQueue(socket);
  for (const size of [1, 70_000, 2, 65_536, 3]) outbox.push(frame(size, 1));
  await socket.letAll();
  assertEquals(socket.writes.map((bytes) => bytes.length), [1, 70_000, 2, 65_536, 3]);
});

Deno.test("write queue: reports a drain below half of the limit, and resolves waiters", async () => {
  const socket = new SlowSocket(25);
  const outbox = new CoalescingWriteQueue(socket);
  outbox.push(frame(60));
  outbox.push(frame(60));
  let emptied = false;
  const empty = outbox.untilAtMost(0).then(() => emptied = true);
  await outbox.untilAtMost(120 + 2 * ENTRY_OVERHEAD_BYTES);
  assertEquals([emptied, socket.rooms], [false, 0]);
  await socket.letAll();
  await empty;
  assert(socket.rooms > 0);
});

Deno.test("write queue: a close drops all frames and resolves all waiters", async () => {
  const socket = new SlowSocket();
  const outbox = new CoalescingWriteQueue(socket);
  outbox.push(frame(5));
  outbox.push(frame(5), () => assert(false, "was never written"));
  await undefined;
  outbox.push(frame(5), () => assert(false, "was never written"));
  const empty = outbox.untilAtMost(0);
  outbox.close();
  await empty;
  outbox.push(frame(5));
  await socket.letAll();
  assertEquals(outbox.bufferedAmount, 0);
  assertEquals(socket.writes.length, 1); // the one that was under way
});

Deno.test("write queue: paced: writes each frame by itself, at the interval", async () => {
  const at: number[] = [];
  const socket = Object.assign(new SlowSocket(), {
    write: (bytes: Uint8Array) => {
      at.push(performance.now());
      return Promise.resolve(bytes.length);
    },
  });
  const outbox = new PacedWriteQueue(socket, 20);
  for (let i = 0; i < 4; i++) outbox.push(frame(10));
  await outbox.untilAtMost(0);
  assertEquals(at.length, 4);
  for (const [i, time] of at.entries()) {
    if (i > 0) assert(time - at[i - 1]! >= 20, `only ${time - at[i - 1]!} ms between writes`);
  }
});

Deno.test("write queue: paced: the interval starts at the end of a write", async () => {
  const [gap, write] = [40, 60]; // ms
  const times: { began: number; ended: number }[] = [];
  const socket = Object.assign(new SlowSocket(), {
    write: async (bytes: Uint8Array) => {
      const began = performance.now();
      await new Promise((resolve) => setTimeout(resolve, write));
      times.push({ began, ended: performance.now() });
      return bytes.length;
    },
  });
  const outbox = new PacedWriteQueue(socket, gap);
  for (let i = 0; i < 4; i++) outbox.push(frame(10));
  await outbox.untilAtMost(0);
  assertEquals(times.length, 4);
  for (const [i, { began }] of times.entries()) {
    const after = i > 0 ? began - times[i - 1]!.ended : gap;
    assert(after >= gap, `only ${after} ms from the end of a write to the next one`);
  }
});

Deno.test("reply queue: sends replies in the order of the requests, whichever is ready first", async () => {
  const sent: string[] = [];
  const replies = new ReplyQueue<string>({ sendReply: (reply) => sent.push(reply) });
  const [first, second] = [Promise.withResolvers<string>(), Promise.withResolvers<string | undefined>()];
  replies.add("at once", 1);
  replies.add(first.promise, 10);
  replies.add(second.promise, 100);
  replies.add("after both", 1_000);
  assertEquals([sent, replies.inFlight, replies.bytes], [["at once"], 3, 110]);
  second.resolve(undefined); // no reply, which is none in its place
  await replies.untilAtMost(3);
  assertEquals(sent, ["at once"]);
  first.resolve("first");
  await replies.untilAtMost(0);
  assertEquals([sent, replies.bytes], [["at once", "first", "after both"], 0]);
});

Deno.test("write queue: asks for more only when less than half of the high water mark is buffered", async () => {
  const socket = new SlowSocket();
  const queue = new PacedWriteQueue(socket, 0);
  const bytes = 20;
  const perFrame = bytes + ENTRY_OVERHEAD_BYTES;
  Object.defineProperty(socket, "highWaterMark", { value: 4 * perFrame });
  for (let count = 0; count < 4; count++) queue.push(frame(bytes));
  const buffered: number[] = [];
  socket.onDrain = () => buffered.push(queue.bufferedAmount / perFrame);
  await socket.letAll();
  assertEquals(buffered, [1, 0]);
});

Deno.test("write queue: keeps few slices of larger buffers, and copies the others (I7)", async () => {
  const socket = new SlowSocket();
  const outbox = new CoalescingWriteQueue(socket);
  const slabs: Uint8Array[] = [];
  for (let n = 0; n < 100; n++) {
    const slab = new Uint8Array(4_096).fill(1);
    slabs.push(slab);
    outbox.push(slab.subarray(n, n + 200));
  }
  for (const slab of slabs) slab.fill(2); // shows in the frames that are slices
  await socket.letAll();
  const bytes = socket.writes.flatMap((write) => [...write]);
  assertEquals(bytes.length, 100 * 200);
  const slices = bytes.filter((byte) => byte === 2).length / 200;
  assert(slices > 0 && slices < 50, `${slices} slices`);
  assertEquals(bytes.lastIndexOf(2), slices * 200 - 1, "the first ones");
});
