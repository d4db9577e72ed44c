/** The client's session with real servers that crash, fall silent, drain or reject requests. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import type { Message } from "../../lib/wire/message.ts";
import { MAX_CLIENT_FRAME_BYTES, Msg } from "../../lib/wire/protocol.ts";
import { RefusedError } from "../../lib/client/incoming.ts";
import { register, type UserRef } from "../../lib/client/login.ts";
import { MAX_QUEUED_REQUESTS, QueueFullError } from "../../lib/client/request_queue.ts";
import { Servers } from "../../lib/client/servers.ts";
import { ChatSession, type SessionListener } from "../../lib/client/session.ts";
import { ConnectionLostError, DEFAULT_TIMEOUTS } from "../../lib/client/transport.ts";
import { withScripted } from "../harness/scripted.ts";
import { type Address, serverTest } from "../harness/server.ts";
import { pause, until } from "../harness/wait.ts";

const PASSWORD = "open sesame";
const SIGNAL = new AbortController().signal; // never aborts

/** A listener that records all events. */
class Recorder implements SessionListener {
  readonly messages: Message[] = [];
  readonly events: string[] = [];
  /** Runs for each chat message before the message counts as shown. */
  onChat: (message: Message) => void | Promise<void> = () => {};

  get chats(): Message[] {
    return this.messages.filter(({ msgid }) => msgid === Msg.ONE_CHAT || msgid === Msg.GROUP_CHAT);
  }

  async onMessage(message: Message): Promise<void> {
    this.messages.push(message);
    if (message.msgid === Msg.ONE_CHAT) await this.onChat(message);
  }

  onOnline(_: unknown, again: boolean): void {
    this.events.push(again ? "again" : "online");
  }

  onOffline(reason: string): void {
    this.events.push(`offline: ${reason}`);
  }

  onDeferred(reason: string): void {
    this.events.push(`deferred: ${reason}`);
  }

  askPassword(): Promise<string> {
    this.events.push("password");
    return Promise.resolve(PASSWORD);
  }

  confirmTakeover(): Promise<boolean> {
    this.events.push("take over");
    return Promise.resolve(false);
  }
}

function serversAt({ host, port }: Address, patience = DEFAULT_TIMEOUTS): Servers {
  return new Servers([{ hostname: host, port }], patience);
}

function open(servers: Servers, user: UserRef, listener: SessionListener): Promise<ChatSession> {
  return ChatSession.open(servers, user, { password: PASSWORD }, listener, SIGNAL);
}

function newUser(servers: Servers, name: string): Promise<number> {
  return register(servers, name, PASSWORD, SIGNAL, () => {});
}

serverTest(
  "I4: the session hides a duplicate of a shown message whose DELIVERED was lost",
  {},
  async (server) => {
    const servers = serversAt(server);
    const [to, from] = [await newUser(servers, "to"), await newUser(servers, "from")];
    const [seen, unseen] = [new Recorder(), new Recorder()];
    seen.onChat = async (message) => {
      if (message.seq !== 1) return;
      server.kill("SIGKILL"); // before the client sends DELIVERED
      await server.wait();
      await server.restart();
    };
    const reader = await open(servers, { id: to }, seen);
    const writer = await open(serversAt(server), { id: from }, unseen);
    try {
      await Promise.all([
        writer.sendMessage(to, "one"),
        until(() => seen.events.includes("again"), "the reconnection"),
      ]);
      await writer.sendMessage(to, "two");
      await until(() => seen.chats.length >= 2, "the second message");
      assertEquals(seen.chats.map(({ seq, msg }) => [seq, msg]), [[1, "one"], [2, "two"]]);
    } finally {
      await Promise.all([reader.close(), writer.close()]);
    }
    const later = new Recorder();
    const third = await open(servers, { id: to }, later);
    await third.request({ msgid: Msg.CONTACTS });
    await third.close();
    assertEquals(later.chats, []);
  },
);

serverTest(
  "session: leaves a silent server, and resends unacknowledged messages",
  {},
  async (server) => {
    const usual = serversAt(server);
    const [to, from] = [await newUser(usual, "to"), await newUser(usual, "from")];
    const recorder = new Recorder();
    const session = await open(
      serversAt(server, { ...DEFAULT_TIMEOUTS, idleMs: 500, pongMs: 500 }),
      { id: from },
      recorder,
    );
    try {
      server.kill("SIGSTOP");
      const acked = session.sendMessage(to, "into the silence");
      await until(() => recorder.events.length > 1, "the loss of the connection");
      assertEquals(recorder.events[1], "offline: no data for 1 s");
      server.kill("SIGCONT");
      assertEquals((await acked).seq, 1);
      assertEquals((await session.sendMessage(to, "after it")).seq, 2);
    } finally {
      server.kill("SIGCONT");
      await session.close();
    }
  },
);

serverTest("session: stays connected while the server replies to PING", {}, async (server) => {
  const servers = serversAt(server, { ...DEFAULT_TIMEOUTS, idleMs: 50, pongMs: 10_000 });
  const id = await newUser(servers, "quiet");
  const recorder = new Recorder();
  const session = await open(servers, { id }, recorder);
  await pause(500); // ten times the idle timeout
  await session.request({ msgid: Msg.CONTACTS });
  await session.close();
  assertEquals(recorder.events, ["online"]);
});

serverTest("session: uses the password after the server rejects the token", {
  args: ["--token-ttl", "1s"],
}, async (server) => {
  const servers = serversAt(server);
  const [to, from] = [await newUser(servers, "to"), await newUser(servers, "from")];
  const recorder = new Recorder();
  const session = await open(servers, { id: from }, recorder);
  try {
    server.kill("SIGKILL");
    await server.wait();
    await pause(1_100); // longer than the token's lifetime
    await server.restart();
    assertEquals((await session.sendMessage(to, "hello")).seq, 1);
    assert(recorder.events.includes("password"), `${recorder.events}`);
  } finally {
    await session.close();
  }
});

serverTest(
  "session: ends at a takeover, and does not reconnect",
  {},
  async (server) => {
    const servers = serversAt(server);
    const id = await newUser(servers, "wanted");
    const recorder = new Recorder();
    const session = await open(servers, { id }, recorder);
    await assertRejects(
      () => open(servers, { id }, new Recorder()),
      RefusedError,
      "in use on another connection",
    );
    const forceful = new Recorder();
    forceful.confirmTakeover = () => Promise.resolve(true);
    const second = await open(servers, { id }, forceful);
    const { kind } = await session.ended;
    assertEquals([kind, recorder.events], ["kicked", ["online"]]);
    await assertRejects(() => session.request({ msgid: Msg.CONTACTS }), ConnectionLostError);
    await second.close();
  },
);

serverTest("session: logs in after an answer that takes longer than the login timeout", {
  args: ["--login-timeout", "1s"],
}, async (server) => {
  const servers = serversAt(server);
  const id = await newUser(servers, "wanted");
  const first = await open(servers, { id }, new Recorder());
  const slow = new Recorder();
  slow.confirmTakeover = async () => {
    await pause(1_500); // longer than the login timeout
    return true;
  };
  const second = await open(servers, { id }, slow);
  try {
    assertEquals((await first.ended).kind, "kicked");
    assertEquals([second.isOnline, slow.events], [true, ["online"]]);
  } finally {
    await Promise.all([first.close(), second.close()]);
  }
});

serverTest(
  "session: leaves a draining server, and returns no earlier than retry_after",
  {},
  async (server) => {
    const servers = serversAt(server);
    const id = await newUser(servers, "moved");
    const recorder = new Recorder();
    const session = await open(servers, { id }, recorder);
    try {
      server.kill("SIGTERM");
      const notice = await until(
        () => recorder.messages.find(({ msgid }) => msgid === Msg.NOTICE),
        "the notice",
      );
      const since = performance.now();
      assertEquals(notice.kind, "draining");
      await server.wait();
      await server.restart();
      await until(() => recorder.events.includes("again"), "the reconnection");
      const waited = performance.now() - since;
      assert(waited >= Number(notice.retry_after) - 50, `${waited} ms, asked for ${notice.retry_after}`);
    } finally {
      await session.close();
    }
  },
);

serverTest(
  "session: rejects a message over the frame's maximum, and requests over the queue's",
  {},
  async (server) => {
    const servers = serversAt(server);
    const [to, from] = [await newUser(servers, "to"), await newUser(servers, "from")];
    const session = await open(servers, { id: from }, new Recorder());
    try {
      await assertRejects(
        () => session.sendMessage(to, "x".repeat(MAX_CLIENT_FRAME_BYTES)),
        RefusedError,
        "a server accepts at most",
      );
      assertEquals((await session.sendMessage(to, "x".repeat(MAX_CLIENT_FRAME_BYTES - 200))).seq, 1);
      const all = Array.from({ length: MAX_QUEUED_REQUESTS }, (_, at) => session.sendMessage(to, `${at}`));
      await assertRejects(
        () => session.sendMessage(to, "one too many"),
        QueueFullError,
        `${MAX_QUEUED_REQUESTS} requests already wait`,
      );
      assertEquals((await Promise.all(all)).at(-1)!.seq, MAX_QUEUED_REQUESTS + 1);
    } finally {
      await session.close();
    }
  },
);

Deno.test("session: resends a deferred message in its place with its cid", async () => {
  const refusals = [8, 9, 0, 0, 9, 0];
  const got: Message[] = [];
  const logIn = { msgid: Msg.LOGIN_ACK, errno: 0, id: 1, name: "me", token: "t", friends: [], groups: [] };
  await withScripted(1, (message) => {
    if (message.msgid === Msg.LOGIN) return logIn;
    if (message.msgid !== Msg.ONE_CHAT) return undefined;
    got.push(message);
    const errno = refusals[got.length - 1]!;
    const words = errno === 0 ? { seq: got.length } : { errmsg: "later", retry_after: 30 };
    return { msgid: Msg.ACK, of: Msg.ONE_CHAT, errno, ...words };
  }, async (at) => {
    const recorder = new Recorder();
    const session = await open(serversAt(at), { id: 1 }, recorder);
    await Promise.all([
      session.sendMessage(2, "a"),
      session.sendMessage(2, "b"),
      session.sendMessage(2, "c"),
    ]);
    await session.close();
    assertEquals(recorder.events, ["online", "deferred: later", "deferred: later"]);
  });
  assertEquals(got.map(({ msg }) => msg), ["a", "a", "a", "b", "c", "c"]);
  assertEquals(new Set(got.map(({ cid }) => cid)).size, 3);
});
