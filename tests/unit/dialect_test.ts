import { assert, assertEquals } from "@std/assert";
import { classicDialect, formatLocalTime } from "../../lib/server/protocol/classic_dialect.ts";
import {
  chatMessage,
  fitRoster,
  framedDialect,
  jsonByteLength,
  type Roster,
} from "../../lib/server/protocol/dialect.ts";
import { MAX_SERVER_FRAME_BYTES, Msg } from "../../lib/wire/protocol.ts";

const decoder = new TextDecoder();

function roster(friends: number, groups: number, users: number): Roster {
  return {
    friends: Array.from(
      { length: friends },
      (_, i) => ({ id: i + 1, name: `friend ${i + 1}`, state: "offline" }),
    ),
    groups: Array.from({ length: groups }, (_, i) => ({
      id: i + 1,
      groupname: `group ${i + 1}`,
      groupdesc: "",
      members: users,
      users: Array.from(
        { length: users },
        (_, j) => ({ id: j + 1, name: "u", state: "online", role: "normal" }),
      ),
    })),
  };
}

/** Returns the part of a roster that fits `most` entries (friends, groups and users together). */
function fitted(whole: Roster, most: number): number[] {
  const parts = ({ friends, groups }: Roster) =>
    friends.length + groups.length + groups.reduce((sum, { users }) => sum + users.length, 0);
  const { friends, groups } = fitRoster(whole, (roster) => parts(roster) <= most);
  return [friends.length, groups.length, ...groups.map(({ users }) => users.length)];
}

Deno.test("dialect: omits entries that do not fit from the end of users, then groups, then friends", () => {
  const whole = roster(3, 2, 4);
  assertEquals(fitted(whole, 13), [3, 2, 4, 4]);
  assertEquals(fitted(whole, 12), [3, 2, 3, 3]);
  assertEquals(fitted(whole, 5), [3, 2, 0, 0]);
  assertEquals(fitted(whole, 4), [3, 1, 0]);
  assertEquals(fitted(whole, 3), [3, 0]);
  assertEquals(fitted(whole, 2), [2, 0]);
  assertEquals(fitted(whole, 0), [0, 0]);
});

Deno.test("dialect: fits the largest roster into one frame, complete except for users", () => {
  const name = "😀".repeat(50);
  const whole: Roster = {
    friends: Array.from({ length: 1_000 }, () => ({ id: 2 ** 31 - 1, name, state: "offline" })),
    groups: Array.from({ length: 500 }, () => ({
      id: 2 ** 31 - 1,
      groupname: name,
      groupdesc: "😀".repeat(200),
      members: 10_000,
      users: Array.from({ length: 50 }, () => ({ id: 2 ** 31 - 1, name, state: "offline", role: "creator" })),
    })),
  };
  const ack = framedDialect.withRoster({
    msgid: Msg.LOGIN_ACK,
    errno: 0,
    id: 2 ** 31 - 1,
    name,
    token: "x".repeat(54),
  }, whole);
  assert(framedDialect.encode(ack)!.length - 4 <= MAX_SERVER_FRAME_BYTES);
  assertEquals((ack.friends as unknown[]).length, 1_000);
  assertEquals((ack.groups as unknown[]).length, 500);
});

Deno.test("classic: encodes lists as strings of JSON, and omits empty ones", () => {
  const classic = classicDialect(1_023, 10);
  const base = { msgid: Msg.LOGIN_ACK, errno: 0, id: 1, name: "a", token: "secret", rid: 5 };
  const text = decoder.decode(classic.encode(classic.withRoster(base, roster(1, 1, 1))));
  assertEquals(text.at(-1), "\0");
  const ack = JSON.parse(text.slice(0, -1));
  assertEquals(Object.keys(ack), ["msgid", "errno", "id", "name", "friends", "groups"]);
  assertEquals(JSON.parse(ack.friends[0]), { id: 1, name: "friend 1", state: "offline" });
  const group = JSON.parse(ack.groups[0]);
  assertEquals(JSON.parse(group.users[0]), { id: 1, name: "u", state: "online", role: "normal" });
  const empty = JSON.parse(
    decoder.decode(classic.encode(classic.withRoster(base, roster(0, 0, 0)))).slice(0, -1),
  );
  assertEquals(Object.keys(empty), ["msgid", "errno", "id", "name"]);
});

Deno.test("classic: replaces control characters except tabs and line feeds", () => {
  const classic = classicDialect(0, 0);
  const read = (bytes: Uint8Array | undefined) => JSON.parse(decoder.decode(bytes!.subarray(0, -1)));
  const bad = "a\u0000\u0007\b\u001b[2J\u007f\u0080\u009b\u009fb\tc\nd\r\ne\rf é😀\u202e";
  const good = "a????[2J????b\tc\nd\ne?f é😀\u202e";
  const stored = { seq: 1, sender: 2, senderName: bad, cid: "c", time: 0, body: bad };
  for (const to of [3, -4]) {
    const { msg, name } = read(classic.encode(chatMessage(stored, to)));
    assertEquals([msg, name], [good, good]);
  }
  const friend = { id: 1, name: bad, state: "online" as const };
  const group = { id: 1, groupname: bad, groupdesc: bad, members: 1, users: [friend] };
  const head = { msgid: Msg.LOGIN_ACK, errno: 0, id: 1, name: bad };
  const gathering = classic.buildBacklog(classic.withRoster(head, { friends: [friend], groups: [group] }))!;
  assertEquals(gathering.add(chatMessage(stored, 1)), true);
  const ack = read(classic.encode(gathering.build()));
  assertEquals([ack.name, JSON.parse(ack.friends[0]).name], [good, good]);
  const listed = JSON.parse(ack.groups[0]);
  assertEquals([listed.groupname, listed.groupdesc, JSON.parse(listed.users[0]).name], [good, good, good]);
  assertEquals([JSON.parse(ack.offlinemsg[0]).msg, JSON.parse(ack.offlinemsg[0]).name], [good, good]);
  assertEquals(read(classic.encode({ msgid: Msg.REGISTER_ACK, errno: 1, errmsg: bad })).errmsg, good);
  assertEquals(
    JSON.parse(decoder.decode(framedDialect.encode(chatMessage(stored, 3))!.subarray(4))).msg,
    bad,
  );
});

Deno.test("classic: bounds the length of every message, to the byte", () => {
  const stored = { seq: 1, sender: 2, senderName: "bob", cid: "c", time: 0 };
  const encode = (bytes: number, body: string) =>
    classicDialect(bytes, 0).encode(chatMessage({ ...stored, body }, 3))!;
  const exact = encode(1_023, "x".repeat(500)).length;
  const whole = encode(exact, "x".repeat(500));
  assertEquals(whole.length, exact);
  assert(!decoder.decode(whole).includes("…"));
  for (const letter of ["x", "é", "语", "😀", '"', "\n", "\t"]) {
    for (let bytes = 200; bytes < 220; bytes++) {
      const cut = encode(bytes, letter.repeat(500));
      assert(cut.length <= bytes, `${cut.length} bytes of ${bytes}`);
      const { msg } = JSON.parse(decoder.decode(cut.subarray(0, -1)));
      assert(msg.endsWith("…") && [...msg].slice(0, -1).every((character) => character === letter));
      assert(cut.length > bytes - 1 - jsonByteLength(letter), "not more than needed is cut");
    }
  }
  const big = classicDialect(1_023, 10).withRoster(
    { msgid: Msg.LOGIN_ACK, errno: 0, id: 1, name: "a" },
    roster(99, 9, 9),
  );
  assert(classicDialect(1_023, 10).encode(big)!.length <= 1_023);
  assertEquals("groups" in big, false);
});

Deno.test("classic: adds unread messages to the login reply while they fit, to the byte", () => {
  const missed = (n: number) =>
    chatMessage({ seq: n + 1, sender: 2, senderName: "bob", cid: "c", body: `m"${n}é`, time: 0 }, 1);
  const base = { msgid: Msg.LOGIN_ACK, errno: 0, id: 1, name: "a" };
  const filled = (bytes: number) => {
    const gathering = classicDialect(bytes, 10).buildBacklog(base)!;
    let count = 0;
    while (count < 5 && gathering.add(missed(count))) count++;
    const answer = gathering.build();
    assertEquals((answer.offlinemsg as string[] | undefined ?? []).length, count);
    return { count, size: classicDialect(bytes, 10).encode(answer)!.length, answer };
  };
  const whole = filled(5_000);
  assertEquals(whole.count, 5);
  assertEquals(
    (whole.answer.offlinemsg as string[]).map((text) => JSON.parse(text).msg),
    [0, 1, 2, 3, 4].map((n) => `m"${n}é`),
  );
  assertEquals(filled(whole.size).count, 5);
  assertEquals(filled(whole.size - 1).count, 4);
  for (let bytes = 60; bytes < whole.size; bytes++) {
    const { count, size } = filled(bytes);
    assert(size <= bytes, `${size} bytes of ${bytes} with ${count}`);
  }
});

Deno.test("classic: formats the local time", () => {
  assertEquals(formatLocalTime(new Date(2026, 0, 2, 3, 4, 5).getTime()), "2026-01-02 03:04:05");
});

Deno.test("classic: sends only the messages 2, 5, 6 and 10", () => {
  const classic = classicDialect(1_023, 10);
  const sent = Object.values(Msg).filter((msgid) =>
    classic.encode({ msgid, id: 1, name: "a", msg: "x", time: 0 }) !== undefined
  );
  assertEquals(sent, [2, 5, 6, 10]);
});
