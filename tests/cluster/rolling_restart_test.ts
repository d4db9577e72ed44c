/**
 * Restarts every node of a cluster one after the other while users chat. They may see a friend as offline for
 * a moment, as an account may have no session while it moves to another node. They notice nothing else.
 */
import { assert, assertEquals, assertLess } from "@std/assert";
import { register } from "../../lib/client/login.ts";
import { Servers } from "../../lib/client/servers.ts";
import { ChatSession, type SessionListener } from "../../lib/client/session.ts";
import { type Message } from "../../lib/wire/message.ts";
import { Msg } from "../../lib/wire/protocol.ts";
import { type Cluster, clusterTest } from "../harness/cluster.ts";
import { login, newUser } from "../harness/framed_client.ts";
import type { Address } from "../harness/server.ts";
import { pause, until } from "../harness/wait.ts";

const PAIRS = 15; // of users, which send in both directions
const MESSAGE_INTERVAL_MS = 50; // ms between a reply and the user's next message
// ms: a tenth of it is available for a reconnect, which may be slow on a busy machine
const DRAIN_TIMEOUT_MS = 30_000;
const CLOSE_TIMEOUT_MS = 2_000; // ms, see lib/server/server.ts
const EXIT_TIMEOUT_MS = 1_000; // ms to close the database connections and end the process
const MOVED = ["offline: the server is shutting down", "connected again"]; // the notices of a slow reconnect
const PASSWORD = "open sesame";
const SIGNAL = new AbortController().signal; // never aborts

/** A user of the real client, which sends to another user while `going` returns true. */
class User implements SessionListener {
  /** Notices besides messages, of which there should be none. */
  readonly told: string[] = [];
  readonly got: Message[] = [];
  /** Acknowledged texts by seq. */
  readonly acked = new Map<number, string>();
  session!: ChatSession;
  ended: string | undefined;

  static async enter(at: Address, name: string): Promise<User> {
    const user = new User();
    const servers = new Servers([{ hostname: at.host, port: at.port }]);
    const id = await register(servers, name, PASSWORD, SIGNAL, () => {});
    user.session = await ChatSession.open(servers, { id }, { password: PASSWORD }, user, SIGNAL);
    void user.session.ended.then(({ kind, message }) => user.ended = `${kind} ${message}`);
    return user;
  }

  get id(): number {
    return this.session.contacts.id;
  }

  async chat(other: User, going: () => boolean): Promise<void> {
    for (let count = 0; going(); count++) {
      const text = `${count} from ${this.id}`;
      const { seq } = await this.session.sendMessage(other.id, text);
      this.acked.set(seq as number, text);
      // Some requests may not be repeated, and therefore fail when their reply is lost.
      if (count % 10 === 0) {
        await this.session.request({ msgid: Msg.CREATE_GROUP, groupname: text, groupdesc: "" }, false);
      }
      await pause(MESSAGE_INTERVAL_MS);
    }
  }

  onMessage(message: Message): void {
    if (message.msgid === Msg.ONE_CHAT) this.got.push(message);
  }

  onOnline(_: unknown, again: boolean): void {
    if (again) this.told.push("connected again");
  }

  onOffline(why: string): void {
    this.told.push(`offline: ${why}`);
  }

  onDeferred(why: string): void {
    this.told.push(`put off: ${why}`);
  }

  askPassword(): Promise<undefined> {
    this.told.push("password?");
    return Promise.resolve(undefined);
  }

  confirmTakeover(): Promise<boolean> {
    this.told.push("take over?");
    return Promise.resolve(false);
  }
}

/** Waits until nginx sends connections to a node again. */
async function inUse(cluster: Cluster, at: number, prober: { readonly token: string }): Promise<void> {
  const node = cluster.node(at);
  const from = node.logSize;
  await until(async () => {
    await using _ = await login(cluster.nginx, { token: prober.token });
    await pause(MESSAGE_INTERVAL_MS);
    return node.log(from).includes('"event":"session started"');
  }, `connections to node ${at}`);
}

clusterTest(
  "rolling restart: under load nothing is lost or duplicated, and no user is shown an error",
  { nodes: 3, args: ["--drain-timeout", `${DRAIN_TIMEOUT_MS}ms`] },
  async (cluster, open) => {
    const users = await Promise.all(
      Array.from({ length: 2 * PAIRS }, (_, at) => User.enter(cluster.nginx, `user ${at}`)),
    );
    open.defer(async () => void await Promise.all(users.map(({ session }) => session.close())));
    const prober = open.use(await newUser(cluster.node(2)));
    await prober.close();
    const other = (at: number) => users[at ^ 1]!;
    for (const [at, { session }] of users.entries()) {
      await session.request({ msgid: Msg.ADD_FRIEND, friendid: other(at).id });
    }
    let going = true;
    const chats = users.map((user, at) => user.chat(other(at), () => going));
    const failed = Promise.all(chats).then(() => {}, (error) => error);

    for (const [at, node] of cluster.nodes.entries()) {
      const before = users.map(({ got }) => got.length);
      const began = performance.now();
      node.kill("SIGTERM");
      assertEquals(await node.wait(), 0, "exit code");
      assertLess(performance.now() - began, DRAIN_TIMEOUT_MS + CLOSE_TIMEOUT_MS + EXIT_TIMEOUT_MS);
      await until(
        () => users.every(({ got }, at) => got.length > before[at]!),
        "all users to chat without it",
      );
      await node.restart();
      if (at + 1 < cluster.nodes.length) await inUse(cluster, at, prober);
    }
    going = false;
    assertEquals(await failed, undefined, "a request was refused");
    await until(
      () => users.every(({ got }, at) => got.length >= other(at).acked.size),
      "the last messages",
    );
    const shown = (at: number) => users[at]!.session.contacts.friend(other(at).id)?.state;
    await until(() => users.every((_, at) => shown(at) === "online"), "all users to be shown as online");
    let waited = 0;
    for (const [at, { got, told, ended }] of users.entries()) {
      const moved = told.filter((line) => MOVED.includes(line));
      if (moved.length > 0) waited++;
      assertEquals([told.length - moved.length, ended], [0, undefined], told.join());
      const seqs = got.map(({ seq }) => seq as number);
      assertEquals(seqs, seqs.toSorted((a, b) => a - b), "in order");
      assertEquals(
        new Map(got.map(({ seq, msg }) => [seq, msg])),
        other(at).acked,
        "each as it was acknowledged",
      );
      assertEquals(seqs.length, other(at).acked.size, "each once");
    }
    assertLess(waited, users.length / 3, "at most a few users wait for over a second");
    assert(users.every(({ got }) => got.length > 20));
  },
);
