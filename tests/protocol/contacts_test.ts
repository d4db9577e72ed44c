/** Friends and their presence. */
import { assert, assertEquals } from "@std/assert";
import { Errno, MAX_INTEGER, Msg } from "../harness/protocol_numbers.ts";
import { FramedClient, login, newUser, register } from "../harness/framed_client.ts";
import { sharedServer } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

const test = sharedServer();

test("contacts: lists an added friend at login and in CONTACTS", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  const absent = await register(server, "absent friend");
  for (const friendid of [bob.id, absent]) {
    const ack = await alice.request({ msgid: Msg.ADD_FRIEND, friendid });
    assertEquals([ack.msgid, ack.of, ack.errno], [Msg.ACK, Msg.ADD_FRIEND, Errno.OK]);
  }
  const expected = [
    { id: bob.id, name: bob.name, state: "online" },
    { id: absent, name: "absent friend", state: "offline" },
  ];
  const contacts = await alice.request({ msgid: Msg.CONTACTS });
  assertEquals([contacts.msgid, contacts.errno], [Msg.CONTACTS_ACK, Errno.OK]);
  const byId = (a: { id: number }, b: { id: number }) => a.id - b.id;
  assertEquals([...contacts.friends!].sort(byId), expected.sort(byId));
  assertEquals(contacts.groups, []);
  await alice.close();
  await using again = await login(server, { id: alice.id });
  assertEquals([...again.welcome!.friends!].sort(byId), expected);
});

test("contacts: refuses an unknown user as a friend, and lists a repeated one once", async (server) => {
  await using alice = await newUser(server);
  const bob = await register(server);
  const reply = await alice.request({ msgid: Msg.ADD_FRIEND, friendid: MAX_INTEGER });
  assertEquals([reply.of, reply.errno], [Msg.ADD_FRIEND, Errno.NOT_FOUND]);
  await alice.succeed({ msgid: Msg.ADD_FRIEND, friendid: bob });
  await alice.request({ msgid: Msg.ADD_FRIEND, friendid: bob });
  const { friends } = await alice.succeed({ msgid: Msg.CONTACTS });
  assertEquals(friends!.map((friend) => friend.id), [bob]);
});

test("contacts: sends presence to the followers of a user, and to no other user", async (server) => {
  await using alice = await newUser(server);
  await using other = await newUser(server);
  const id = await register(server);
  await alice.succeed({ msgid: Msg.ADD_FRIEND, friendid: id });
  for (let round = 0; round < 3; round++) {
    const bob = await login(server, { id });
    const online = await alice.next(Msg.PRESENCE);
    assertEquals([online.id, online.state], [id, "online"]);
    assertEquals((await alice.succeed({ msgid: Msg.CONTACTS })).friends![0]!.state, "online");
    // Bob's list differs, as bob has not added alice.
    assertEquals(bob.welcome!.friends, []);
    if (round % 2) await bob.succeed({ msgid: Msg.LOGOUT });
    else await bob.close();
    const offline = await alice.next(Msg.PRESENCE);
    assertEquals([offline.id, offline.state], [id, "offline"]);
    assertEquals((await alice.succeed({ msgid: Msg.CONTACTS })).friends![0]!.state, "offline");
    await bob.settle().catch(() => {});
    assertEquals(bob.drain(), []);
    await bob.close();
  }
  await other.settle();
  assertEquals(other.drain(), []);
});

test("contacts: sends presence of a friend who was added while online", async (server) => {
  await using alice = await newUser(server);
  const bob = await newUser(server);
  await alice.succeed({ msgid: Msg.ADD_FRIEND, friendid: bob.id });
  await bob.close();
  const offline = await alice.next((m) => m.msgid === Msg.PRESENCE && m.state === "offline");
  assertEquals(offline.id, bob.id);
});

test("contacts: shows the user of a replaced session as online in the end", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  await alice.succeed({ msgid: Msg.ADD_FRIEND, friendid: bob.id });
  await using second = await FramedClient.connect(server);
  await second.login({ id: bob.id }, { force: true });
  const state = async () => (await alice.succeed({ msgid: Msg.CONTACTS })).friends![0]!.state;
  await until(async () => await state() === "online", "the friend to be online");
  const states = alice.drain().filter((m) => m.msgid === Msg.PRESENCE).map((m) => m.state);
  assert(states.length === 0 || states.at(-1) === "online", `presence after a takeover: ${states}`);
});

test("contacts: shows the current states of a group's members", async (server) => {
  await using alice = await newUser(server);
  const bob = await newUser(server);
  const { groupid } = await alice.succeed({ msgid: Msg.CREATE_GROUP, groupname: "states", groupdesc: "" });
  await bob.succeed({ msgid: Msg.ADD_GROUP, groupid });
  const state = async () => {
    const { groups } = await alice.succeed({ msgid: Msg.CONTACTS });
    return groups![0]!.users.find((user) => user.id === bob.id)!.state;
  };
  assertEquals(await state(), "online");
  await bob.close();
  await until(async () => await state() === "offline", "the member to be offline");
});

test("contacts: lists nothing for a new user", async (server) => {
  await using alice = await newUser(server);
  const { friends, groups } = await alice.succeed({ msgid: Msg.CONTACTS });
  assertEquals([friends, groups], [[], []]);
});
