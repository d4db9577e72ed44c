/** The delivery of a group's messages to the sessions of a node. */
import { assert, assertEquals } from "@std/assert";
import { CommittedMessage } from "../../lib/server/delivery/delivery.ts";
import { FanOut, type Member } from "../../lib/server/delivery/fan_out.ts";
import { INTERACTIVE } from "../../lib/server/scheduling/classes.ts";

const GROUP = 5;
const MAX_WAITING = 64;

function committed(seq: number, group = GROUP): CommittedMessage {
  return new CommittedMessage({ seq, sender: 9, senderName: "n", cid: "c", body: "b", time: 0 }, -group);
}

/** Returns a fan-out to these groups, whose yields wait for `goOn`, and what it has pushed. */
function withGroups(groups: Readonly<Record<number, readonly number[]>>, onPush = (_user: number) => {}) {
  const pushed: [user: number, group: number, seq: number][] = [];
  const member = (user: number): Member => ({
    user,
    delivery: {
      deliver: (peer, { message }) => {
        pushed.push([user, -peer, message.seq]);
        onPush(user);
      },
    },
  });
  const sets = new Map(Object.entries(groups).map(([id, users]) => [Number(id), new Set(users.map(member))]));
  const yields: (() => void)[] = [];
  const charged: number[] = [];
  const fanOut = new FanOut({
    eventLoop: { yieldToIo: () => new Promise((resolve) => yields.push(resolve)) },
    bulkQueue: { charge: (ms) => void charged.push(ms) },
    sessions: { groupMembers: (group) => sets.get(group) ?? [] },
  });
  /** Lets the fan-out continue until its next yield. Returns whether it had yielded. */
  const goOn = async () => {
    const resume = yields.shift();
    resume?.();
    await new Promise((resolve) => setTimeout(resolve));
    return resume !== undefined;
  };
  const finish = async () => {
    while (await goOn());
  };
  return { fanOut, pushed, charged, goOn, finish, members: (group = GROUP) => sets.get(group)!, member };
}

function users(count: number): number[] {
  return Array.from({ length: count }, (_, at) => at + 1);
}

Deno.test("fan-out: pushes nothing before a yield, so that the reply is sent first", async () => {
  const { fanOut, pushed, finish } = withGroups({ [GROUP]: [1, 2] });
  fanOut.add(GROUP, committed(1));
  await new Promise((resolve) => setTimeout(resolve));
  assertEquals(pushed, []);
  await finish();
  assertEquals(pushed, [[1, GROUP, 1], [2, GROUP, 1]]);
  fanOut.add(GROUP, committed(2));
  await finish();
  assertEquals(pushed.length, 4);
});

Deno.test("fan-out: pushes the waiting messages of a group to one member after another, in order (I2)", async () => {
  const { fanOut, pushed, finish } = withGroups({ 1: [7, 8], 2: [7] });
  fanOut.add(1, committed(1, 1));
  fanOut.add(2, committed(1, 2));
  fanOut.add(1, committed(2, 1));
  await finish();
  assertEquals(pushed, [[7, 1, 1], [7, 1, 2], [8, 1, 1], [8, 1, 2], [7, 2, 1]]);
});

Deno.test("fan-out: yields after each time slice, and charges the slice to the bulk class", async () => {
  const { fanOut, pushed, charged, goOn, finish } = withGroups({ [GROUP]: users(3) }, () => {
    for (const end = performance.now() + INTERACTIVE.timeSliceMs; performance.now() < end;);
  });
  fanOut.add(GROUP, committed(1));
  for (const count of [1, 2, 3]) {
    await goOn();
    assertEquals([pushed.length, charged.length], [count, count]);
  }
  assert(charged.every((ms) => ms >= INTERACTIVE.timeSliceMs), `${charged}`);
  await finish();
});

Deno.test("fan-out: keeps the order of a message that is committed while the one before is pushed (I2)", async () => {
  const { fanOut, pushed, finish } = withGroups({ [GROUP]: users(3) }, (user) => {
    if (user === 1 && pushed.length === 1) fanOut.add(GROUP, committed(2));
  });
  fanOut.add(GROUP, committed(1));
  await finish();
  assertEquals(pushed.map(([, , seq]) => seq), [1, 1, 1, 2, 2, 2]);
});

Deno.test("I8 fan-out: pushes nothing to a session that leaves between slices, and all to one that joins", async () => {
  const { fanOut, pushed, finish, members, member } = withGroups({ [GROUP]: users(3) }, (user) => {
    if (user !== 1) return;
    const [, second] = members();
    members().delete(second!);
    members().add(member(4));
  });
  fanOut.add(GROUP, committed(1));
  await finish();
  assertEquals(pushed.map(([user]) => user), [1, 3, 4]);
});

Deno.test("I7 fan-out: pushes at once when too many messages wait, in order", async () => {
  const { fanOut, pushed, finish } = withGroups({ [GROUP]: [1, 2] });
  for (let seq = 1; seq <= MAX_WAITING; seq++) fanOut.add(GROUP, committed(seq));
  assertEquals(pushed, []);
  fanOut.add(GROUP, committed(MAX_WAITING + 1));
  assertEquals(pushed.length, 2 * (MAX_WAITING + 1));
  fanOut.add(GROUP, committed(MAX_WAITING + 2));
  await finish();
  const seqs = pushed.filter(([user]) => user === 2).map(([, , seq]) => seq);
  assertEquals(seqs, users(MAX_WAITING + 2));
});

Deno.test("fan-out: leaves out the sender of a repeated message", async () => {
  const { fanOut, pushed, finish } = withGroups({ [GROUP]: [1, 2] });
  fanOut.add(GROUP, committed(1), 1);
  fanOut.add(GROUP, committed(2));
  await finish();
  assertEquals(pushed, [[1, GROUP, 2], [2, GROUP, 1], [2, GROUP, 2]]);
});

Deno.test("I9 fan-out: drops all that waits or is being pushed when the history ends", async () => {
  const { fanOut, pushed, finish } = withGroups({ 1: users(3), 2: [1] }, (user) => {
    if (user === 2) fanOut.clear();
  });
  fanOut.add(1, committed(1, 1));
  fanOut.add(2, committed(1, 2));
  await finish();
  assertEquals(pushed.map(([user]) => user), [1, 2]);
  fanOut.add(2, committed(1, 2));
  await finish();
  assertEquals(pushed.slice(2), [[1, 2, 1]]);
});

Deno.test("fan-out: stops when its node is closed", async () => {
  const { fanOut, pushed, finish } = withGroups({ [GROUP]: [1] });
  fanOut.add(GROUP, committed(1));
  const stopped = fanOut.stop();
  await finish();
  await stopped;
  assertEquals(pushed, []);
});
