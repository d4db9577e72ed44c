/** What is said to a server before a session: who the user is. */
import type { Message } from "../wire/message.ts";
import { Errno, Limit, Msg } from "../wire/protocol.ts";
import { errnoOf, isForLater, isReply, number, refusal, retryAfter, string, wordsOf } from "./incoming.ts";
import { type Servers, sleep } from "./servers.ts";
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

/** What a login may have to ask its user. */
export interface Questions {
  /** The password again, because the server no longer takes the session's token. Undefined is giving up. */
  password(): Promise<string | undefined>;
  /** Whether to take the account over from another connection that uses it. */
  takeOver(): Promise<boolean>;
}

/** What proves who the user is. It changes as the session goes on: see {@link logIn}. */
export interface Credentials {
  readonly who: Who;
  password: string | undefined;
  token: string | undefined;
  /** The user has said to take the account over. */
  force: boolean;
}

/** What the caller is told of each message that comes. */
export type Witness = (message: Message) => void | Promise<void>;

/** Sends a request on a connection that has no other reader, and resolves to its reply. */
type Exchange = (connection: Connection, request: Request) => Promise<Message>;

const PATIENCE_WHEN_BUSY = 30_000; // milliseconds for a server that says "later", before the user is told so

/** A connection that is logged in, and the server's answer to the login. */
export interface Login {
  readonly connection: Connection;
  readonly reply: Message;
}

/**
 * Logs in with the token, or the password where there is none, and asks the user what has to be asked. What
 * holds for the next time is kept in the credentials: the token, and not the password. Rejects with
 * {@link Refused} or {@link ConnectionLost}, and with the signal's reason when that aborts.
 */
export async function logIn(
  servers: Servers,
  credentials: Credentials,
  questions: Questions,
  signal: AbortSignal,
  witness: Witness,
): Promise<Login> {
  const exchange = exchanger(servers, signal, witness);
  for (;;) {
    const { who, token, password, force } = credentials;
    const proof = token === undefined ? { ...who, password: password ?? "" } : { token };
    const request = { msgid: Msg.LOGIN, ...proof, ...(force ? { force } : {}) };
    const { connection, reply } = await servers.first(async (connection) => {
      return { connection, reply: await exchange(connection, request) };
    }, signal);
    const errno = errnoOf(reply);
    if (errno === Errno.OK) {
      credentials.token = string(reply.token) || undefined;
      credentials.password = undefined;
      credentials.force = false;
      return { connection, reply };
    }
    // A person may take longer to answer than the server keeps a connection without a login: a new one is made.
    connection.abort("refused");
    if (errno === Errno.ALREADY_ONLINE && !force && await questions.takeOver()) {
      credentials.force = true;
    } else if (errno === Errno.FAILED && token !== undefined) {
      credentials.token = undefined;
      credentials.password = await questions.password();
      if (credentials.password === undefined) throw refusal(reply);
    } else {
      throw refusal(reply);
    }
  }
}

/** Makes an account and resolves to its id; rejects with {@link Refused} or {@link ConnectionLost}. */
export function register(
  servers: Servers,
  name: string,
  password: string,
  signal: AbortSignal,
  witness: Witness,
): Promise<number> {
  const exchange = exchanger(servers, signal, witness);
  return servers.first(async (connection) => {
    const reply = await exchange(connection, { msgid: Msg.REGISTER, name, password });
    connection.abort("done");
    if (errnoOf(reply) !== Errno.OK) throw refusal(reply);
    return number(reply.id);
  }, signal);
}

/** Makes an {@link Exchange} that does come later, for a while, when the server asks for it. */
function exchanger(servers: Servers, signal: AbortSignal, witness: Witness): Exchange {
  return async (connection, request) => {
    for (const end = performance.now() + PATIENCE_WHEN_BUSY;;) {
      const reply = await once(connection, request, servers.patience.reply, witness);
      if (!isForLater(reply) || performance.now() + retryAfter(reply) > end) return reply;
      await sleep(retryAfter(reply), signal);
    }
  };
}

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
