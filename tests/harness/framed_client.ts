/** A client of the framed dialect that does what it is told and no more: what a test reads is what came. */
import { Connection, type ReadOptions } from "./connection.ts";
import { Errno, Msg, type Received, type Sent } from "./protocol_numbers.ts";
import { frame, FrameReader, objectFrame } from "./frames.ts";
import { Inbox } from "./inbox.ts";
import type { Address } from "./server.ts";
import { pause, TIMEOUT_MS } from "./wait.ts";

/** The password of every user that the harness makes. */
export const PASSWORD = "correct horse";

/** How a client behaves. */
export interface ClientOptions extends ReadOptions {
  /** Leaves the server's PING without an answer, for {@link FramedClient.next} to give out. */
  readonly silent?: boolean;
}

/** Who logs in, by what. */
export type Who = { readonly id: number } | { readonly name: string } | { readonly token: string };

const BUSY_RETRY_MS = 20; // milliseconds before a login that came before the server saw the last one's end is repeated

/** One connection. Dispose of it when done. */
export class FramedClient implements AsyncDisposable {
  /** Who is logged in; 0 and "" before the first login. */
  id = 0;
  name = "";
  token = "";
  /** How often the server has asked whether this client is there, and been answered. */
  pings = 0;
  /** What the last login answered. */
  welcome: Received | undefined;
  readonly #inbox = new Inbox<Received>();
  readonly #reader = new FrameReader();
  readonly #silent: boolean;
  #connection!: Connection;
  #lastRid = 0;

  private constructor(silent: boolean) {
    this.#silent = silent;
  }

  /** Connects. */
  static async connect(at: Address, options: ClientOptions = {}): Promise<FramedClient> {
    const client = new FramedClient(options.silent ?? false);
    client.#connection = await Connection.open(at, {
      bytes: (chunk) => client.#take(chunk),
      end: (why) => client.#inbox.end(why),
    }, options);
    return client;
  }

  /** What came and was not asked for, oldest first. */
  get waiting(): readonly Received[] {
    return this.#inbox.waiting;
  }

  /** Takes all that has come. */
  drain(): Received[] {
    return this.#inbox.drain();
  }

  /** Resolves with the reason when nothing more can come. */
  get closed(): Promise<string> {
    return this.#connection.closed;
  }

  /** Sends an object and waits for nothing. */
  send(message: Sent): Promise<void> {
    return this.#connection.write(objectFrame(message));
  }

  /** Sends a frame around any text or bytes. */
  sendBody(body: string | Uint8Array): Promise<void> {
    return this.#connection.write(frame(body));
  }

  /** Sends bytes as they are. */
  sendBytes(bytes: Uint8Array): Promise<void> {
    return this.#connection.write(bytes);
  }

  /** Sends an object with a `rid` of its own and takes the reply that repeats it. */
  async request(message: Sent, ms = TIMEOUT_MS): Promise<Received> {
    const rid = ++this.#lastRid;
    await this.send({ ...message, rid });
    const what = `the reply to ${JSON.stringify(message).slice(0, 200)}`;
    return await this.#inbox.next((m) => m.rid === rid && m.msgid !== Msg.PING, what, ms);
  }

  /** As {@link request}, but throws unless the reply's errno is 0. */
  async succeed(message: Sent): Promise<Received> {
    const reply = await this.request(message);
    if (reply.errno !== Errno.OK) {
      throw new Error(`${JSON.stringify(message)} was answered with ${JSON.stringify(reply)}`);
    }
    return reply;
  }

  /** Takes the first message that came, or comes within `ms` milliseconds, with this msgid or as `match` wants it. */
  next(match: number | ((message: Received) => boolean), ms = TIMEOUT_MS): Promise<Received> {
    const [test, what] = typeof match === "number"
      ? [(m: Received) => m.msgid === match, `a message with msgid ${match}`]
      : [match, `a message for which ${match}`];
    return this.#inbox.next(test, what, ms);
  }

  /** As {@link next}, `count` times. */
  async take(count: number, match: number | ((message: Received) => boolean)): Promise<Received[]> {
    const taken: Received[] = [];
    while (taken.length < count) taken.push(await this.next(match));
    return taken;
  }

  /** Resolves when everything sent so far has been answered: replies keep the order of their requests. */
  async settle(): Promise<void> {
    await this.request({ msgid: Msg.PING });
  }

  /** Registers a user with the harness's password and returns the id. */
  async register(name: string, password = PASSWORD): Promise<number> {
    return (await this.succeed({ msgid: Msg.REGISTER, name, password })).id!;
  }

  /**
   * Logs in, and again while the account's last connection, which may just have been closed, is still in use.
   * Throws unless that succeeds.
   */
  async login(who: Who, extra: Sent = {}): Promise<Received> {
    const password = "token" in who ? {} : { password: PASSWORD };
    const request = { msgid: Msg.LOGIN, ...who, ...password, ...extra };
    for (const end = performance.now() + TIMEOUT_MS;;) {
      const reply = await this.request(request);
      if (reply.errno === Errno.OK) {
        this.welcome = reply;
        this.id = reply.id!;
        this.name = reply.name!;
        this.token = reply.token!;
        return reply;
      }
      if (reply.errno !== Errno.ALREADY_ONLINE || performance.now() > end) {
        throw new Error(`the login was answered with ${JSON.stringify(reply)}`);
      }
      await pause(BUSY_RETRY_MS);
    }
  }

  /** Sends a chat message to a user and takes its acknowledgement. */
  chat(toid: number, msg: string, cid: string = crypto.randomUUID()): Promise<Received> {
    return this.request({ msgid: Msg.ONE_CHAT, toid, msg, cid });
  }

  /** Sends a message to a group and takes its acknowledgement. */
  groupChat(groupid: number, msg: string, cid: string = crypto.randomUUID()): Promise<Received> {
    return this.request({ msgid: Msg.GROUP_CHAT, groupid, msg, cid });
  }

  /** Says that everything of a conversation up to `seq` has come, and resolves when the server has taken that. */
  async delivered(of: { readonly id: number } | { readonly groupid: number }, seq: number): Promise<void> {
    await this.send({ msgid: Msg.DELIVERED, ...of, seq });
    await this.settle();
  }

  /** Begins to read, where it was made paused. */
  resume(): void {
    this.#connection.resume();
  }

  /** Says that nothing more will be sent; what the server still sends can be read. */
  endWriting(): Promise<void> {
    return this.#connection.endWriting();
  }

  /** Resolves when the server has closed the connection. */
  serverCloses(ms?: number): Promise<void> {
    return this.#connection.serverCloses(ms);
  }

  /** Closes the connection and resolves when nothing of it is left. */
  close(): Promise<void> {
    return this.#connection.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #take(chunk: Uint8Array): void {
    for (const body of this.#reader.push(chunk)) {
      const message = JSON.parse(body) as Received;
      if (message.msgid === Msg.PING && !this.#silent) this.#pong(message);
      else this.#inbox.put(message);
    }
  }

  #pong({ rid }: Received): void {
    this.pings++;
    // A server that has closed meanwhile needs no answer.
    this.send({ msgid: Msg.PONG, ...(rid === undefined ? {} : { rid }) }).catch(() => {});
  }
}

let made = 0;

/** A name that no other user or group of this run has. */
export function freshName(kind = "user"): string {
  return `${kind}-${++made}`;
}

/** Registers a user over a connection of its own and returns the id; no session is left. */
export async function register(at: Address, name: string = freshName()): Promise<number> {
  await using client = await FramedClient.connect(at);
  return await client.register(name);
}

/** A client that is logged in as an existing user. */
export async function login(at: Address, who: Who, options: ClientOptions = {}): Promise<FramedClient> {
  const client = await FramedClient.connect(at, options);
  try {
    await client.login(who);
    return client;
  } catch (error) {
    await client.close();
    throw error;
  }
}

/** A client that is logged in as a new user. */
export async function newUser(at: Address, name: string = freshName()): Promise<FramedClient> {
  return await login(at, { id: await register(at, name) });
}

/** Makes a group of `client`'s and lets the others join it; returns its id. */
export async function newGroup(client: FramedClient, others: readonly FramedClient[] = []): Promise<number> {
  const groupname = freshName("group");
  const { groupid } = await client.succeed({ msgid: Msg.CREATE_GROUP, groupname, groupdesc: "" });
  for (const other of others) await other.succeed({ msgid: Msg.ADD_GROUP, groupid });
  return groupid!;
}
