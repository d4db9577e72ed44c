/**
 * A client of the framed dialect without behaviour of its own: a test reads exactly the received messages.
 */
import { Connection, type ReadOptions } from "./connection.ts";
import { Errno, Msg, type Received, type Sent } from "./protocol_numbers.ts";
import { frame, FrameReader, objectFrame } from "./frames.ts";
import { Inbox } from "./inbox.ts";
import type { Address } from "./server.ts";
import { pause, TIMEOUT_MS } from "./wait.ts";

/** The password of every user that the harness registers. */
export const PASSWORD = "correct horse";

/** Options of a client. */
export interface ClientOptions extends ReadOptions {
  /** Whether to leave the server's PING without a reply, so that {@link FramedClient.next} returns it. */
  readonly silent?: boolean;
}

/** The credentials of a login. */
export type Who = { readonly id: number } | { readonly name: string } | { readonly token: string };

// milliseconds before a login is repeated, while the server has not noticed the end of the last connection
const BUSY_RETRY_MS = 20;

/** A connection. Disposing of it closes it. */
export class FramedClient implements AsyncDisposable {
  /** The id and name of the user; 0 and "" before the first login. */
  id = 0;
  name = "";
  token = "";
  /** Number of PINGs from the server to which this client has replied. */
  pings = 0;
  /** The reply to the last login. */
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
      end: (reason) => client.#inbox.end(reason),
    }, options);
    return client;
  }

  /** The received messages that no call has taken, oldest first. */
  get waiting(): readonly Received[] {
    return this.#inbox.waiting;
  }

  /** Takes all received messages. */
  drain(): Received[] {
    return this.#inbox.drain();
  }

  /** Resolves with the reason when the connection has ended. */
  get closed(): Promise<string> {
    return this.#connection.closed;
  }

  /** Sends an object without waiting for a reply. */
  send(message: Sent): Promise<void> {
    return this.#connection.write(objectFrame(message));
  }

  /** Sends text or bytes as a frame. */
  sendBody(body: string | Uint8Array): Promise<void> {
    return this.#connection.write(frame(body));
  }

  /** Sends bytes unchanged. */
  sendBytes(bytes: Uint8Array): Promise<void> {
    return this.#connection.write(bytes);
  }

  /** Sends an object with a new `rid` and returns the reply with that `rid`. */
  async request(message: Sent, ms = TIMEOUT_MS): Promise<Received> {
    const rid = ++this.#lastRid;
    await this.send({ ...message, rid });
    const what = `the reply to ${JSON.stringify(message).slice(0, 200)}`;
    return await this.#inbox.next((m) => m.rid === rid && m.msgid !== Msg.PING, what, ms);
  }

  /** Sends a request like {@link request}, and throws unless the errno of the reply is 0. */
  async succeed(message: Sent): Promise<Received> {
    const reply = await this.request(message);
    if (reply.errno !== Errno.OK) {
      throw new Error(`${JSON.stringify(message)} was answered with ${JSON.stringify(reply)}`);
    }
    return reply;
  }

  /**
   * Takes the first message with this msgid, or that `match` accepts. Waits for it for at most `ms`
   * milliseconds.
   */
  next(match: number | ((message: Received) => boolean), ms = TIMEOUT_MS): Promise<Received> {
    const [test, what] = typeof match === "number"
      ? [(m: Received) => m.msgid === match, `a message with msgid ${match}`]
      : [match, `a message for which ${match}`];
    return this.#inbox.next(test, what, ms);
  }

  /** Takes `count` messages like {@link next}. */
  async take(count: number, match: number | ((message: Received) => boolean)): Promise<Received[]> {
    const taken: Received[] = [];
    while (taken.length < count) taken.push(await this.next(match));
    return taken;
  }

  /**
   * Waits until the server has replied to everything sent so far, as replies have the order of the requests.
   */
  async settle(): Promise<void> {
    await this.request({ msgid: Msg.PING });
  }

  /** Registers a user with the harness's password and returns the id. */
  async register(name: string, password = PASSWORD): Promise<number> {
    return (await this.succeed({ msgid: Msg.REGISTER, name, password })).id!;
  }

  /**
   * Logs in, and tries again while the server has not noticed the end of the account's last connection.
   * Throws when the server refuses the login for another reason.
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

  /** Sends DELIVERED for a conversation up to `seq`, and waits until the server has processed it. */
  async delivered(of: { readonly id: number } | { readonly groupid: number }, seq: number): Promise<void> {
    await this.send({ msgid: Msg.DELIVERED, ...of, seq });
    await this.settle();
  }

  /** Begins to read on a client that was made paused. */
  resume(): void {
    this.#connection.resume();
  }

  /** Closes the sending direction. Reading goes on. */
  endWriting(): Promise<void> {
    return this.#connection.endWriting();
  }

  /** Waits until the server has closed the connection. */
  serverCloses(ms?: number): Promise<void> {
    return this.#connection.serverCloses(ms);
  }

  /** Closes the connection and waits for its end. */
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
    // The server has closed the connection meanwhile.
    this.send({ msgid: Msg.PONG, ...(rid === undefined ? {} : { rid }) }).catch(() => {});
  }
}

let made = 0;

/** Returns a name that no other user or group of this run has. */
export function freshName(kind = "user"): string {
  return `${kind}-${++made}`;
}

/** Registers a user on a connection of its own, closes that, and returns the id. */
export async function register(at: Address, name: string = freshName()): Promise<number> {
  await using client = await FramedClient.connect(at);
  return await client.register(name);
}

/** Logs in as an existing user and returns the client. */
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

/** Registers a user, logs in and returns the client. */
export async function newUser(at: Address, name: string = freshName()): Promise<FramedClient> {
  return await login(at, { id: await register(at, name) });
}

/** Creates a group as `client`, lets the others join it, and returns its id. */
export async function newGroup(client: FramedClient, others: readonly FramedClient[] = []): Promise<number> {
  const groupname = freshName("group");
  const { groupid } = await client.succeed({ msgid: Msg.CREATE_GROUP, groupname, groupdesc: "" });
  for (const other of others) await other.succeed({ msgid: Msg.ADD_GROUP, groupid });
  return groupid!;
}
