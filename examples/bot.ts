// deno-lint-ignore-file no-console -- the terminal is where a bot reports
/**
 * An echo bot: it answers each private message.
 *
 *   CHAT_PASSWORD=… deno run --allow-net --allow-env=CHAT_PASSWORD examples/bot.ts 127.0.0.1 6000 echo
 *
 * The bot registers its name when that is free. docs/PROTOCOL.md has the protocol.
 */
const Msg = { LOGIN: 1, REGISTER: 4, CHAT: 6, DELIVERED: 21, PING: 24, PONG: 25, NOTICE: 27 };
const Errno = { OK: 0, FAILED: 1, RATE_LIMITED: 8, UNAVAILABLE: 9 };

// The server sends a PING after 60 s of silence. A longer silence means a dead connection.
const SILENCE_MS = 90_000;
const [MIN_BACKOFF_MS, MAX_BACKOFF_MS] = [500, 30_000]; // between two attempts, as the protocol advises
const DEFAULT_RETRY_MS = 1_000; // for a refusal without retry_after

// A message that begins like this gets no answer, so that two echo bots do not talk for ever.
const ANSWER = "you said: ";
const MAX_ECHO_CHARACTERS = 1_000; // far below the largest message, 64 KiB

interface Message {
  readonly msgid: number;
  readonly [field: string]: unknown;
}

/** An error after which trying again is of no use. */
class FatalError extends Error {}

/** One connection: frames of a length in 4 bytes (big-endian) and a JSON object. */
class Connection {
  readonly #conn: Deno.Conn;
  readonly #pushes: Message[] = []; // arrived while a reply was awaited
  #lastRid = 0;
  #closed = false;

  constructor(conn: Deno.Conn) {
    this.#conn = conn;
  }

  close(): void {
    if (!this.#closed) this.#conn.close();
    this.#closed = true;
  }

  async send(message: Message): Promise<void> {
    const body = new TextEncoder().encode(JSON.stringify(message));
    const frame = new Uint8Array(4 + body.length);
    new DataView(frame.buffer).setUint32(0, body.length);
    frame.set(body, 4);
    for (let sent = 0; sent < frame.length;) sent += await this.#conn.write(frame.subarray(sent));
  }

  /** Sends a request and returns its reply. If the server is busy, waits and sends the request again. */
  async request(message: Message): Promise<Message> {
    for (;;) {
      const rid = ++this.#lastRid;
      await this.send({ ...message, rid });
      const reply = await this.#reply(rid);
      if (reply.errno !== Errno.RATE_LIMITED && reply.errno !== Errno.UNAVAILABLE) return reply;
      await sleep(Number(reply.retry_after ?? DEFAULT_RETRY_MS));
    }
  }

  /** Returns the next message that is no reply. */
  async push(): Promise<Message> {
    return this.#pushes.shift() ?? await this.#receive();
  }

  async #reply(rid: number): Promise<Message> {
    for (;;) {
      const message = await this.#receive();
      if (message.rid === rid) return message;
      this.#pushes.push(message);
    }
  }

  async #receive(): Promise<Message> {
    for (;;) {
      const length = new DataView((await this.#read(4)).buffer).getUint32(0);
      const message = JSON.parse(new TextDecoder().decode(await this.#read(length))) as Message;
      if (message.msgid === Msg.PING) await this.send({ msgid: Msg.PONG });
      else if (message.msgid === Msg.NOTICE && message.kind === "kicked") {
        throw new FatalError(`${message.errmsg}`); // to reconnect would take the account back, for ever
      } else return message;
    }
  }

  /** Reads so many bytes, or throws when the connection ends or is silent for too long. */
  async #read(length: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(length);
    for (let filled = 0; filled < length;) {
      const silence = setTimeout(() => this.close(), SILENCE_MS);
      try {
        const read = await this.#conn.read(bytes.subarray(filled));
        if (read === null) throw new Error("the server closed the connection");
        filled += read;
      } finally {
        clearTimeout(silence);
      }
    }
    return bytes;
  }
}

let token: unknown; // of the session: it logs in again without the cost of a password's hash

/** Logs in by token, else by password; registers the name if both fail. Returns the reply to the login. */
async function logIn(connection: Connection, name: string, password: string): Promise<Message> {
  let reply = token === undefined ? undefined : await connection.request({ msgid: Msg.LOGIN, token });
  if (reply?.errno !== Errno.OK) reply = await connection.request({ msgid: Msg.LOGIN, name, password });
  if (reply.errno === Errno.FAILED) {
    const registered = await connection.request({ msgid: Msg.REGISTER, name, password });
    if (registered.errno !== Errno.OK) throw new FatalError(`cannot register ${name}: ${registered.errmsg}`);
    reply = await connection.request({ msgid: Msg.LOGIN, name, password });
  }
  if (reply.errno !== Errno.OK) throw new Error(`cannot log in as ${name}: ${reply.errmsg}`);
  token = reply.token;
  return reply;
}

/**
 * Answers one message, and confirms it after the answer is committed. If the bot ends in between, the server
 * delivers the message again. The second answer then has the same `cid`, and the server stores only one.
 */
async function answer(connection: Connection, { id, msg, seq }: Message, epoch: unknown): Promise<void> {
  const text = String(msg);
  if (!text.startsWith(ANSWER)) {
    const reply = await connection.request({
      msgid: Msg.CHAT,
      toid: id,
      msg: ANSWER + Array.from(text).slice(0, MAX_ECHO_CHARACTERS).join(""),
      cid: `${epoch}-${id}-${seq}`,
    });
    if (reply.errno !== Errno.OK) console.error(`not answered: ${reply.errmsg}`);
  }
  await connection.send({ msgid: Msg.DELIVERED, id, seq });
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function main(host: string, port: number, name: string, password: string): Promise<never> {
  for (let failures = 0;; failures++) {
    let connection: Connection | undefined;
    try {
      connection = new Connection(await Deno.connect({ hostname: host, port }));
      const { id, epoch } = await logIn(connection, name, password);
      console.log(`logged in as ${name} (${id})`);
      failures = 0;
      for (;;) {
        const message = await connection.push();
        if (message.msgid === Msg.CHAT) await answer(connection, message, epoch);
      }
    } catch (error) {
      if (error instanceof FatalError) throw error;
      console.error(`connection lost: ${(error as Error).message}`);
    } finally {
      connection?.close();
    }
    await sleep(Math.random() * Math.min(MAX_BACKOFF_MS, MIN_BACKOFF_MS * 2 ** failures));
  }
}

const [host = "127.0.0.1", port = "6000", name = "echo"] = Deno.args;
try {
  await main(host, Number(port), name, Deno.env.get("CHAT_PASSWORD") ?? "");
} catch (error) {
  console.error((error as Error).message);
  Deno.exit(1);
}
