/** Tests of crashes with messages in flight: acknowledged messages are retained. */
import { assert, assertEquals, assertLess } from "@std/assert";
import { Errno, Msg, type Received } from "../harness/protocol_numbers.ts";
import { FramedClient, login, newGroup, newUser } from "../harness/framed_client.ts";
import { type Server, serverTest } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

const SENDERS = 4;
const EACH = 500; // messages of each sender: half to a user, half to a group
const WINDOW = 50; // messages of each sender in flight
const CRASH_AT = 500; // acknowledgements

/** A message, and its acknowledgement after it has arrived. */
interface Outgoing {
  readonly msgid: number;
  readonly toid?: number;
  readonly groupid?: number;
  readonly msg: string;
  readonly cid: string;
  ack?: Received;
}

/** Returns the conversation of a received message. */
function conversationOf(message: Received): string {
  return message.groupid === undefined ? `user ${message.id}` : `group ${message.groupid}`;
}

/** The messages that a recipient received in all of its sessions. */
class Seen {
  /** By conversation and seq: the cid. */
  readonly messages = new Map<string, Map<number, string>>();

  /** Takes what came in one session: each conversation in seq order, and never a seq with another message. */
  add(session: readonly Received[]): void {
    const last = new Map<string, number>();
    for (const message of session) {
      if (message.msgid !== Msg.ONE_CHAT && message.msgid !== Msg.GROUP_CHAT) continue;
      const conversation = conversationOf(message);
      const seq = message.seq!;
      const before = last.get(conversation);
      if (before !== undefined) assertEquals(seq, before + 1, `no gap in ${conversation}`);
      last.set(conversation, seq);
      const messages = this.messages.get(conversation) ?? new Map<number, string>();
      this.messages.set(conversation, messages);
      assertEquals(message.cid, messages.get(seq) ?? message.cid, `seq ${seq} is one message`);
      messages.set(seq, message.cid!);
    }
  }

  get count(): number {
    return [...this.messages.values()].reduce((sum, messages) => sum + messages.size, 0);
  }
}

/** Sends unacknowledged messages in order, WINDOW in flight, until all have a reply or the server dies. */
async function send(client: FramedClient, messages: readonly Outgoing[]): Promise<void> {
  const left = messages.filter((message) => !message.ack).values();
  const worker = async () => {
    for (const message of left) {
      const { ack: _, ...request } = message;
      const reply = await client.request(request).catch(() => undefined);
      if (reply === undefined) return;
      assertEquals(reply.errno, Errno.OK, reply.errmsg);
      message.ack = reply;
    }
  };
  await Promise.all(Array.from({ length: WINDOW }, worker));
}

/** Two recipients, one group, several senders, and all their messages. */
async function setUp(server: Server) {
  const bob = await newUser(server);
  const carol = await newUser(server);
  const senders = await Promise.all(Array.from({ length: SENDERS }, () => newUser(server)));
  const groupid = await newGroup(bob, [carol, ...senders]);
  const outgoing = senders.map((sender) =>
    Array.from({ length: EACH }, (_, at): Outgoing => {
      const to = at % 2 ? { msgid: Msg.GROUP_CHAT, groupid } : { msgid: Msg.ONE_CHAT, toid: bob.id };
      return { ...to, msg: `message ${at} of ${sender.name}`, cid: `${sender.id} ${at}` };
    })
  );
  const acked = () => outgoing.flat().filter((message) => message.ack).length;
  return { bob, carol, senders, groupid, outgoing, acked };
}

/** Makes all senders send, calls `stop` after CRASH_AT acknowledgements, and ends all connections. */
async function interrupted(
  { bob, carol, senders, outgoing, acked }: Awaited<ReturnType<typeof setUp>>,
  stop: () => void,
): Promise<void> {
  const sending = Promise.all(senders.map((sender, at) => send(sender, outgoing[at]!)));
  await until(() => acked() >= CRASH_AT, `${CRASH_AT} acknowledgements`);
  stop();
  await sending;
  for (const client of [bob, carol, ...senders]) {
    await client.serverCloses();
    await client.close();
  }
  assertLess(acked(), SENDERS * EACH, "it stopped in the middle");
}

/** Asserts that these are all messages, each of them once and with its acknowledged seq. */
function assertAllThere(seen: Seen, messages: readonly Outgoing[], senders: readonly FramedClient[]): void {
  assertEquals(seen.count, messages.length);
  for (const [conversation, bySeq] of seen.messages) {
    const seqs = [...bySeq.keys()].sort((a, b) => a - b);
    assertEquals(seqs, seqs.map((_, at) => at + 1), `${conversation} is 1, 2, 3, …`);
    assertEquals(new Set(bySeq.values()).size, bySeq.size, `no message twice in ${conversation}`);
  }
  for (const { cid, ack, groupid } of messages) {
    const sender = senders.find((client) => cid.startsWith(`${client.id} `))!;
    const conversation = groupid === undefined ? `user ${sender.id}` : `group ${groupid}`;
    assertEquals(seen.messages.get(conversation)?.get(ack!.seq!), cid, `${cid} as acknowledged`);
  }
}

serverTest(
  "kill -9: retains acknowledged messages, and duplicates none that are resent",
  {},
  async (server) => {
    const scene = await setUp(server);
    const { bob, carol, senders, outgoing, groupid } = scene;
    await interrupted(scene, () => server.kill("SIGKILL"));
    const [bobs, carols] = [new Seen(), new Seen()];
    bobs.add(bob.drain());
    carols.add(carol.drain());
    await server.restart();

    await Promise.all(senders.map(async (sender, at) => {
      await using again = await login(server, { token: sender.token });
      // Some acknowledged messages are sent again, too: the server treats them like unacknowledged ones.
      for (const message of outgoing[at]!.filter((message) => message.ack).slice(-WINDOW)) {
        const { ack, ...request } = message;
        const repeat = await again.request(request);
        assertEquals([repeat.errno, repeat.seq, repeat.time], [Errno.OK, ack!.seq, ack!.time]);
      }
      await send(again, outgoing[at]!);
    }));
    const all = outgoing.flat();
    assert(all.every((message) => message.ack));

    const toGroup = all.filter((message) => message.groupid === groupid);
    for (const [client, seen, count] of [[bob, bobs, all.length], [carol, carols, toGroup.length]] as const) {
      // No DELIVERED was sent, so that all messages arrive.
      await using again = await login(server, { id: client.id });
      const chats = await again.take(count, (m) => m.msgid === Msg.ONE_CHAT || m.msgid === Msg.GROUP_CHAT);
      await again.settle();
      assertEquals(again.drain(), []);
      seen.add(chats);
    }
    assertAllThere(bobs, all, senders);
    assertAllThere(carols, toGroup, senders);
  },
);

serverTest(
  "kill -9: loses nothing and leaves no gap when repeated, with acknowledgements",
  {},
  async (server) => {
    const alice = await newUser(server);
    const bob = await newUser(server);
    let [sent, known] = [0, 0];
    const messages: string[] = [];
    for (let round = 0; round < 4; round++) {
      await using sender = await FramedClient.connect(server);
      await using recipient = await FramedClient.connect(server);
      await sender.login(round ? { token: alice.token } : { id: alice.id }, { force: true });
      await recipient.login(round ? { token: bob.token } : { id: bob.id }, { force: true });
      [alice.token, bob.token] = [sender.token, recipient.token];
      const flight = Array.from(
        { length: 200 },
        () => sender.chat(bob.id, "hi", `${sent++}`).then(() => {}, () => {}),
      );
      await until(() => recipient.waiting.length >= 100, "some messages");
      server.kill("SIGKILL");
      await Promise.all(flight);
      await recipient.serverCloses();
      for (const { seq, cid } of recipient.drain().filter((m) => m.msgid === Msg.ONE_CHAT)) {
        if (seq! <= known) continue;
        assertEquals(seq, ++known);
        messages.push(cid!);
      }
      await server.restart();
      await using cursor = await login(server, { token: bob.token });
      await cursor.delivered({ id: alice.id }, Math.max(1, known - 10));
      bob.token = cursor.token;
    }
    assertEquals(new Set(messages).size, messages.length);
    await Promise.all([alice.close(), bob.close()]);
  },
);
