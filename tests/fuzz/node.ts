/** A node in this process for malicious clients, with two observers that must be able to chat on. */
import { assert, assertEquals } from "@std/assert";
import { defaults } from "../../lib/config/config.ts";
import type { Config } from "../../lib/config/options.ts";
import { Log } from "../../lib/log.ts";
import { openBackends } from "../../lib/node/backends.ts";
import { Server } from "../../lib/server/server.ts";
import { Errno, Msg, type Received } from "../harness/protocol_numbers.ts";
import { FramedClient, freshName, newGroup, newUser } from "../harness/framed_client.ts";
import type { Address } from "../harness/server.ts";
import { until } from "../harness/wait.ts";
import { filled } from "./hostile.ts";
import { bytesOf, latin1 } from "./target.ts";

/** No password costs and no rate limits, as only the handling of requests is tested. */
const BOUNDLESS: Partial<Config> = {
  host: "127.0.0.1",
  port: 0,
  db: ":memory:",
  argon2Memory: 8,
  classicWriteInterval: 0,
  messageRate: 0,
  byteRate: 0,
  unauthenticatedRate: 0,
  minPassword: 1,
  commonPasswords: "allow",
  maxFailedLogins: 1_000_000,
  maxJsonValues: 1_000_000,
};

/** An account without a session. */
export interface Account {
  readonly id: number;
  readonly name: string;
  readonly password: string;
  readonly token: string;
}

/** A message from the server, and its recipient. */
export interface Pushed {
  readonly to: FramedClient;
  readonly message: Received;
}

/** The node. Disposing of it ends it. */
export class HostileNode implements Address, AsyncDisposable {
  readonly host: string;
  readonly port: number;
  readonly alice: FramedClient;
  readonly bob: FramedClient;
  /** A group of the two observers. */
  readonly group: number;
  readonly #errors: readonly string[];
  readonly #parts: AsyncDisposableStack;
  readonly #secret = `between us ${crypto.randomUUID()}`;

  private constructor(
    { host, port }: Address,
    [alice, bob]: readonly [FramedClient, FramedClient],
    group: number,
    errors: readonly string[],
    parts: AsyncDisposableStack,
  ) {
    this.host = host;
    this.port = port;
    this.alice = alice;
    this.bob = bob;
    this.group = group;
    this.#errors = errors;
    this.#parts = parts;
  }

  /** Starts a node; `config` selects its store and its bus. */
  static async start(config: Partial<Config> = {}): Promise<HostileNode> {
    await using parts = new AsyncDisposableStack();
    const errors: string[] = [];
    const log = new Log("error", "text", (line) => errors.push(line));
    const whole = { ...defaults(), ...BOUNDLESS, ...config };
    const { store, bus } = await openBackends(whole, log, {});
    parts.defer(() => store.close());
    parts.defer(() => bus.close());
    const server = await Server.start({ config: whole, log, store, bus, now: Date.now });
    parts.defer(() => server.drain());
    const at = { host: server.address.hostname, port: server.address.port };
    const alice = parts.use(await newUser(at, freshName("alice")));
    const bob = parts.use(await newUser(at, freshName("bob")));
    return new HostileNode(at, [alice, bob], await newGroup(alice, [bob]), errors, parts.move());
  }

  /** Registers an account that the observers do not know. */
  async account(): Promise<Account> {
    await using client = await FramedClient.connect(this);
    const [name, password] = [freshName("mallory"), crypto.randomUUID()];
    const id = await client.register(name, password);
    const { token } = await client.succeed({ msgid: Msg.LOGIN, id, password });
    return { id, name, password, token: token! };
  }

  /** Returns a script for an account with its placeholders replaced. */
  script(input: Uint8Array, { id, name, password, token }: Account): Uint8Array {
    const { alice, bob, group } = this;
    const names = { me: name, "alice's name": alice.name, unique: freshName("unique"), password, token };
    return bytesOf(filled(latin1(input), { ...names, alice: alice.id, bob: bob.id, group, "my id": id }));
  }

  /**
   * Asserts that nothing has failed, that the observers can chat, and that `received` has none of their
   * messages.
   */
  async isWell(received: readonly unknown[]): Promise<void> {
    for (const [from, to] of [[this.alice, this.bob], [this.bob, this.alice]] as const) {
      const ack = await from.chat(to.id, this.#secret);
      assertEquals(ack.errno, Errno.OK, ack.errmsg);
      const chat = await to.next((message) => message.msg === this.#secret);
      assertEquals([chat.msgid, chat.id, chat.seq], [Msg.ONE_CHAT, from.id, ack.seq]);
    }
    assert(
      !JSON.stringify(received).includes(this.#secret),
      "only the two are shown what they say to each other",
    );
    assertEquals(this.#errors, [], "nothing is logged as an error");
  }

  /** Returns the messages of others to the observers, after waiting for the numbers in `expected`. */
  async pushed(expected: (to: FramedClient) => number): Promise<Pushed[]> {
    const all: Pushed[] = [];
    for (const to of [this.alice, this.bob]) {
      const count = expected(to);
      const isChat = ({ msgid }: Received) => msgid === Msg.ONE_CHAT || msgid === Msg.GROUP_CHAT;
      await until(() => to.waiting.filter(isChat).length >= count, `${count} messages to ${to.name}`);
      await to.settle();
      all.push(...to.drain().map((message) => ({ to, message })));
    }
    return all;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts[Symbol.asyncDispose]();
  }
}

/** Returns a client that is logged in to an account. */
export async function enter(
  at: Address,
  { id, password }: Pick<Account, "id" | "password">,
): Promise<FramedClient> {
  const client = await FramedClient.connect(at);
  await client.succeed({ msgid: Msg.LOGIN, id, password, force: true });
  return client;
}
