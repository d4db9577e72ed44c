import { assert, assertEquals } from "@std/assert";
import { Backlog } from "../../lib/server/delivery/backlog.ts";
import { type ConversationState, ConversationStates } from "../../lib/server/delivery/conversation_state.ts";
import type { Page, StoredMessage } from "../../lib/store/store.ts";

/** Conversations by peer: the times of their messages, in seq order. */
type Log = Map<number, number[]>;

function reader(log: Log, stats = { reads: 0, most: 0 }) {
  return (peer: number, after = 0, limit: number, maxBytes: number): Promise<Page> => {
    stats.reads++;
    const times = log.get(peer)!;
    const room = Math.min(limit, Math.max(1, Math.floor(maxBytes / 100))); // as if each had 100 bytes
    const messages = times.slice(after, after + room).map((time, i): StoredMessage => (
      { seq: after + i + 1, sender: 9, senderName: "n", cid: "c", body: "b", time }
    ));
    stats.most = Math.max(stats.most, messages.length);
    return Promise.resolve({ after, messages });
  };
}

function conversation(
  peer: number,
  lastPushedSeq: number | undefined,
  lastKnownSeq: number,
): ConversationState {
  return { peer, lastPushedSeq, lastKnownSeq, cursor: lastPushedSeq };
}

async function drain(
  backlog: Backlog,
  onPeek = () => {},
): Promise<[peer: number, seq: number, time: number][]> {
  const out: [number, number, number][] = [];
  for (let next; (next = await backlog.peek());) {
    onPeek();
    out.push([next.conversation.peer, next.message.seq, next.message.time]);
    backlog.shift(next);
  }
  return out;
}

Deno.test("backlog: merges conversations, the oldest message first, each in seq order", async () => {
  const log: Log = new Map([[1, [10, 30, 50]], [2, [20, 21, 60]], [-3, [5, 55]]]);
  const backlog = new Backlog(reader(log));
  for (const [peer, times] of log) backlog.add(conversation(peer, 0, times.length));
  const times = (await drain(backlog)).map(([, , time]) => time);
  assertEquals(times, [5, 10, 20, 21, 30, 50, 55, 60]);
  assert(backlog.isEmpty);
});

Deno.test("backlog: keeps the seq order of a conversation when the clock has gone back", async () => {
  const backlog = new Backlog(reader(new Map([[1, [50, 10, 40]], [2, [20]]])));
  backlog.add(conversation(1, 0, 3));
  backlog.add(conversation(2, 0, 1));
  assertEquals((await drain(backlog)).filter(([peer]) => peer === 1).map(([, seq]) => seq), [1, 2, 3]);
});

Deno.test("backlog: begins after the last pushed message, or at the cursor when none was pushed", async () => {
  const backlog = new Backlog(reader(new Map([[1, [1, 2, 3]], [2, [4, 5]]])));
  const unknown = conversation(2, undefined, 2);
  backlog.add(conversation(1, 2, 3));
  backlog.add(unknown);
  assertEquals((await drain(backlog)).map(([peer, seq]) => [peer, seq]), [[1, 3], [2, 1], [2, 2]]);
  assertEquals(unknown.cursor, 0);
});

Deno.test("backlog: raises the last known seq when a page has later messages", async () => {
  // No hint of messages 3 and 4 came. DELIVERED of them counts, because they are known now.
  const heard = conversation(1, 0, 2);
  const backlog = new Backlog(reader(new Map([[1, [10, 20, 30, 40]]])));
  backlog.add(heard);
  assertEquals((await drain(backlog)).length, 4);
  assertEquals([heard.lastPushedSeq, heard.lastKnownSeq], [4, 4]);
});

Deno.test("backlog: reads hundreds of long conversations completely, with few pages in memory (I7)", async () => {
  const log: Log = new Map();
  for (let peer = 1; peer <= 200; peer++) log.set(peer, Array.from({ length: 150 }, (_, i) => peer + i * 7));
  const stats = { reads: 0, most: 0 };
  const backlog = new Backlog(reader(log, stats));
  const conversations = [...log].map(([peer, times]) => conversation(peer, 0, times.length));
  for (const conversation of conversations) backlog.add(conversation);
  let maxPages = 0;
  const out = await drain(backlog, () => {
    maxPages = Math.max(maxPages, conversations.filter((each) => backlog.hasPage(each)).length);
  });
  assertEquals([out.length, maxPages], [200 * 150, 32]);
  for (const [peer, times] of log) {
    assertEquals(out.filter(([p]) => p === peer).map(([, seq]) => seq), times.map((_, i) => i + 1));
  }
  assert(stats.most <= 65_536 / 100, `${stats.most} messages in a page`);
});

Deno.test("backlog: reads as many bytes at once as a sender may have in flight", async () => {
  const limits: number[] = [];
  const read = reader(new Map([[1, [10]]]));
  const backlog = new Backlog((peer, after, limit, maxBytes) => {
    limits.push(maxBytes);
    return read(peer, after, limit, maxBytes);
  });
  backlog.add(conversation(1, 0, 1));
  await drain(backlog);
  assertEquals(limits, [262_144]);
});

Deno.test("backlog: reads more conversations than pages when all messages have one time", async () => {
  const log: Log = new Map(Array.from({ length: 100 }, (_, at) => [at + 1, [10, 10]]));
  const stats = { reads: 0, most: 0 };
  const read = reader(log, stats);
  const backlog = new Backlog((...page) => {
    if (stats.reads > 1_000) throw new Error("the same page is read again and again");
    return read(...page);
  });
  for (const peer of log.keys()) backlog.add(conversation(peer, 0, 2));
  assertEquals((await drain(backlog)).length, 200);
});

Deno.test("backlog: returns the oldest message first among any number of conversations", async () => {
  const log: Log = new Map();
  for (let peer = 1; peer <= 200; peer++) {
    log.set(
      peer,
      Array.from({ length: 15 }, (_, round) => round * 200 + peer),
    );
  }
  for (const knowsWhen of [true, false]) {
    const backlog = new Backlog(reader(log));
    for (const [peer, times] of log) {
      backlog.add(conversation(peer, 0, times.length), knowsWhen ? times[0] : undefined);
    }
    const times = (await drain(backlog)).map(([, , time]) => time);
    assertEquals(times, Array.from({ length: 200 * 15 }, (_, i) => i + 1));
  }
});

Deno.test("backlog: skips a conversation whose announced message does not exist", async () => {
  const backlog = new Backlog(reader(new Map([[1, [1, 2]]])));
  backlog.add(conversation(1, 0, 99));
  assertEquals((await drain(backlog)).length, 2);
  assert(backlog.isEmpty);
});

Deno.test("backlog: keeps a message that arrives while the last page is read", async () => {
  const log: Log = new Map([[1, [1]]]);
  const behind = conversation(1, 0, 1);
  const read = reader(log);
  const backlog = new Backlog(async (...args) => {
    const page = await read(...args);
    if (log.get(1)!.length === 1) {
      log.set(1, [1, 2]);
      behind.lastKnownSeq = 2;
    }
    return page;
  });
  backlog.add(behind);
  assertEquals((await drain(backlog)).map(([, seq]) => seq), [1, 2]);
});

/** A backlog whose reads wait until the test lets them continue. */
function held(log: Log, room = 256) {
  const waiting: (() => void)[] = [];
  const read = reader(log);
  const backlog = new Backlog(async (peer, after, limit, maxBytes) => {
    const page = await read(peer, after, Math.min(limit, room), maxBytes);
    await new Promise<void>((resolve) => waiting.push(resolve));
    return page;
  });
  const goOn = async () => {
    for (let turns = 0; waiting.length === 0; turns++) {
      assert(turns < 1_000, "nothing is being read");
      await Promise.resolve();
    }
    waiting.shift()!();
  };
  return { backlog, goOn };
}

Deno.test("backlog: drops messages that are pushed while their page is read", async () => {
  const { backlog, goOn } = held(new Map([[1, [1, 2, 3]]]));
  const behind = conversation(1, 0, 3);
  backlog.add(behind);
  assert(!backlog.hasPage(behind));
  const next = backlog.peek();
  behind.lastPushedSeq = 1;
  await goOn();
  assertEquals((await next)?.message.seq, 2);
  assert(backlog.hasPage(behind));
  backlog.shift((await next)!);
  assert(backlog.hasPage(behind));
});

Deno.test("backlog: continues after a page whose messages were all pushed meanwhile", async () => {
  const { backlog, goOn } = held(new Map([[1, [1, 2, 3]]]), 1);
  const behind = conversation(1, 0, 3);
  backlog.add(behind);
  const next = backlog.peek();
  behind.lastPushedSeq = 1;
  await goOn();
  await goOn();
  assertEquals((await next)?.message.seq, 2);
});

Deno.test("backlog: reads a conversation again when it was removed and added while its page was read", async () => {
  const { backlog, goOn } = held(new Map([[1, [1, 2, 3]]]));
  const behind = conversation(1, 0, 1);
  backlog.add(behind);
  const next = backlog.peek();
  behind.lastPushedSeq = 1;
  backlog.remove(behind);
  behind.lastKnownSeq = 3;
  backlog.add(behind);
  await goOn();
  assert(!backlog.hasPage(behind));
  await goOn();
  assertEquals((await next)?.message.seq, 2);
});

Deno.test("backlog: keeps a message that is announced while an empty page is read", async () => {
  const log: Log = new Map([[1, []]]);
  const { backlog, goOn } = held(log);
  const behind = conversation(1, 0, 1); // the store asked does not have it yet
  backlog.add(behind);
  const next = backlog.peek();
  log.set(1, [1, 2]);
  behind.lastKnownSeq = 2;
  await goOn(); // with the empty page
  await goOn();
  assertEquals((await next)?.message.seq, 1);
  assertEquals(behind.lastKnownSeq, 2);
});

Deno.test("conversation states: evict the oldest state when they are full (I7)", () => {
  const states = new ConversationStates(3);
  const kept = () => [1, 2, 3, 4].filter((peer) => states.get(peer));
  for (const peer of [1, 2, 3]) assertEquals(states.add(conversation(peer, 0, 0)), undefined);
  assertEquals(kept(), [1, 2, 3]);
  assertEquals(states.add(conversation(4, 0, 0))?.peer, 1);
  assertEquals(kept(), [2, 3, 4]);
});

Deno.test("backlog: allows shift after its conversation was removed", async () => {
  const backlog = new Backlog(reader(new Map([[1, [10, 20]]])));
  const dropped = conversation(1, 0, 2);
  backlog.add(dropped);
  const next = (await backlog.peek())!;
  backlog.remove(dropped);
  backlog.shift(next);
  assertEquals([dropped.lastPushedSeq, backlog.isEmpty], [1, true]);
});
