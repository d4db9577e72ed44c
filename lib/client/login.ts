/** What is said to a server before a session: who the user is. */
import type { Message } from "../wire/message.ts";
import { Errno, Limit, Msg } from "../wire/protocol.ts";
import { errnoOf, isForLater, isReply, number, refusal, retryAfter, string, wordsOf } from "./incoming.ts";
import { backoff, type Servers, sleep } from "./servers.ts";
import { type Connection, ConnectionLost, type Request } from "./transport.ts";

/** Who logs in. */
export type Who = { readonly id: number } | { readonly name: string };

/** Marks what follows as a name, also if it consists of digits. */
const NAME_MARK = "name:";

/** The name in `name:NAME`, or in NAME alone. */
export function markedName(text: string): string {
  return text.startsWith(NAME_MARK) ? text.slice(NAME_MARK.length) : text;
}

/** Whom a user means: digits are an id, unless no id is as large or they are marked as a name. */
export function whoIs(text: string): Who {
  const isId = /^\d+$/.test(text) && Number(text) >= 1 && Number(text) <= Limit.INTEGER;
  return isId ? { id: Number(text) } : { name: markedName(text) };
}

/** What a login may have to ask or tell its user. */
export interface Questions {
  /** The password again, because the server no longer takes the session's token. Undefined is giving up. */
  password(): Promise<string | undefined>;
  /** Whether to take the account over from another connection that uses it. */
  takeOver(): Promise<boolean>;
  /** The server can't take a request now, for the reason `why`; it is sent again by itself after `ms` milliseconds. */
  putOff(why: string, ms: number): void;
}

/** What a login leaves behind, for the next one. */
export interface Login {
  readonly id: number;
  readonly name: string;
  readonly token: string;
}

/** Keeps tokens for the program's next start. */
export interface TokenKeeper {
  keep(login: Login): void;
  /** The token is no longer good. */
  forget(token: string): void;
}

/** What proves who the user is, and for how long the user waits for a server that is busy. */
export interface Proof {
  readonly password?: string | undefined;
  /** Of an earlier session. It goes first: the server takes it where a password has to wait, or is refused. */
  readonly token?: string | undefined;
  /** Where the session's token is kept, if it is. */
  readonly keeper?: TokenKeeper | undefined;
  /** Whether the user has said beforehand to take the account over from another connection. */
  readonly force?: boolean | undefined;
  /** Milliseconds; see {@link LOGIN_WAIT_MS}. */
  readonly loginWait?: number | undefined;
}

/** What proves who the user is. It changes as the session goes on: see {@link logIn}. */
export interface Credentials {
  readonly who: Who;
  readonly loginWait: number;
  password: string | undefined;
  token: string | undefined;
  keeper: TokenKeeper | undefined;
  /** The user has said to take the account over. */
  force: boolean;
}

/** What the caller is told of each message that comes. */
export type Witness = (message: Message) => void | Promise<void>;

/**
 * Milliseconds of trying, at most, while the server says "later". An account whose password was guessed at gets one
 * more password a minute, and all of them after 10 minutes: twice that.
 */
export const LOGIN_WAIT_MS = 1_200_000;

const HOLD_MS = 10_000; // of waiting on one connection: the server closes it after 30 s without a login
const TRUSTED_TRIES = 5; // the server knows best when to come back; a later try waits longer each time
const SHOW_MS = 1_000; // a shorter wait is over before it is read

/** A connection that is logged in, and the server's answer to the login. */
export interface LoggedIn {
  readonly connection: Connection;
  readonly reply: Message;
}

/**
 * Logs in with the token, or the password where there is none, and asks the user what has to be asked. Waits and
 * tries again while the server says so. What holds for the next time is kept in the credentials: the token, and not
 * the password. Rejects with {@link Refused} or {@link ConnectionLost}, and with the signal's reason when that aborts.
 */
export async function logIn(
  servers: Servers,
  credentials: Credentials,
  questions: Questions,
  signal: AbortSignal,
  witness: Witness,
): Promise<LoggedIn> {
  const putOff = (why: string, ms: number) => questions.putOff(why, ms);
  let earlier: string | undefined; // a token that no longer logs in: it shows that the device is the user's
  for (;;) {
    const { who, token, password, force } = credentials;
    const known = earlier === undefined ? {} : { token: earlier };
    const proof = token === undefined ? { ...who, password: password ?? "", ...known } : { token };
    const request = { msgid: Msg.LOGIN, ...proof, ...(force ? { force } : {}) };
    const waits = new Waits(credentials.loginWait, putOff, signal);
    const { connection, reply } = await ask(servers, request, waits, signal, witness);
    const errno = errnoOf(reply);
    if (errno === Errno.OK) {
      credentials.token = string(reply.token) || undefined;
      credentials.password = undefined;
      credentials.force = false;
      keep(credentials, reply);
      return { connection, reply };
    }
    // A person may take longer to answer than the server keeps a connection without a login: a new one is made.
    connection.abort("refused");
    if (errno === Errno.ALREADY_ONLINE && !force && await questions.takeOver()) {
      credentials.force = true;
    } else if (errno === Errno.FAILED && token !== undefined) {
      earlier = token;
      credentials.token = undefined;
      credentials.keeper?.forget(token);
      credentials.password ??= await questions.password();
      if (credentials.password === undefined) throw refusal(reply);
    } else {
      throw refusal(reply);
    }
  }
}

function keep({ keeper }: Credentials, reply: Message): void {
  const [id, name, token] = [number(reply.id), string(reply.name), string(reply.token)];
  if (id > 0 && token !== "") keeper?.keep({ id, name, token });
}

/** Makes an account and resolves to its id; rejects with {@link Refused} or {@link ConnectionLost}. Waits as a login. */
export async function register(
  servers: Servers,
  name: string,
  password: string,
  signal: AbortSignal,
  witness: Witness,
  putOff: Questions["putOff"] = () => {},
  loginWait = LOGIN_WAIT_MS,
): Promise<number> {
  const request = { msgid: Msg.REGISTER, name, password };
  const waits = new Waits(loginWait, putOff, signal);
  const { connection, reply } = await ask(servers, request, waits, signal, witness);
  connection.abort("done");
  if (errnoOf(reply) !== Errno.OK) throw refusal(reply);
  return number(reply.id);
}

/**
 * Sends a request to one of the servers, and again as long as the server says "later" and `waits` has time for it. A
 * short wait is one on the same connection; a long one the server would end.
 */
async function ask(
  servers: Servers,
  request: Request,
  waits: Waits,
  signal: AbortSignal,
  witness: Witness,
): Promise<LoggedIn> {
  for (;;) {
    try {
      const answer = await servers.first(async (connection) => {
        for (const leave = performance.now() + HOLD_MS;;) {
          const reply = await once(connection, request, servers.patience.reply, witness);
          const ms = isForLater(reply) ? waits.next(reply) : undefined;
          if (ms === undefined || performance.now() + ms > leave) return { connection, reply, ms };
          await waits.wait(wordsOf(reply), ms);
        }
      }, signal);
      if (answer.ms === undefined) return answer;
      answer.connection.abort("busy");
      servers.advance(); // another one may be less so
      await waits.wait(wordsOf(answer.reply), answer.ms);
    } catch (error) {
      const ms = error instanceof ConnectionLost && waits.begun ? waits.next() : undefined;
      if (ms === undefined) throw error;
      await waits.wait((error as Error).message, ms);
    }
  }
}

/** The waits of one request, all of them together no longer than it was said. */
class Waits {
  readonly #end: number;
  readonly #putOff: Questions["putOff"];
  readonly #signal: AbortSignal;
  #round = 0;

  constructor(most: number, putOff: Questions["putOff"], signal: AbortSignal) {
    this.#end = performance.now() + most;
    this.#putOff = putOff;
    this.#signal = signal;
  }

  /** Whether the server has said "later" before. */
  get begun(): boolean {
    return this.#round > 0;
  }

  /** Milliseconds until the next try; undefined when there is no time left. None is shorter than the server asks for. */
  next(reply?: Message): number | undefined {
    const least = ++this.#round > TRUSTED_TRIES || !reply
      ? backoff(Math.max(this.#round - TRUSTED_TRIES, 1))
      : 0;
    const ms = Math.ceil(Math.max(reply ? retryAfter(reply) : 0, least));
    return performance.now() + ms > this.#end ? undefined : ms;
  }

  async wait(why: string, ms: number): Promise<void> {
    if (ms >= SHOW_MS) this.#putOff(why, ms);
    await sleep(ms, this.#signal);
  }
}

/** Sends a request on a connection that has no other reader, and resolves to its reply. */
async function once(connection: Connection, request: Request, patience: number, witness: Witness) {
  const timer = setTimeout(() => connection.abort(`no answer within ${patience / 1_000} s`), patience);
  try {
    void connection.send(request);
    for (let message; (message = await connection.next());) {
      await witness(message);
      if (isReply(message)) return message;
      if (message.msgid === Msg.NOTICE) connection.abort(wordsOf(message) || string(message.kind));
    }
    throw new ConnectionLost(connection.why);
  } finally {
    clearTimeout(timer);
  }
}
