/** What is said to a server before a session: who the user is. */
import type { Message } from "../wire/message.ts";
import { Errno, FieldLimit, Msg } from "../wire/protocol.ts";
import {
  errnoOf,
  errorText,
  isReply,
  isRetryable,
  number,
  retryAfterMs,
  string,
  toRefusedError,
} from "./incoming.ts";
import { backoffMs, type Servers } from "./servers.ts";
import { sleep } from "../sleep.ts";
import { ConnectionLostError, type RequestMessage, type ServerConnection } from "./transport.ts";

/** Who logs in. */
export type UserRef = { readonly id: number } | { readonly name: string };

/** Marks what follows as a name, also if it consists of digits. */
const NAME_PREFIX = "name:";

/** The name in `name:NAME`, or in NAME alone. */
export function stripNamePrefix(text: string): string {
  return text.startsWith(NAME_PREFIX) ? text.slice(NAME_PREFIX.length) : text;
}

/** Whom a user means: digits are an id, unless no id is as large or they are marked as a name. */
export function parseUserRef(text: string): UserRef {
  const isId = /^\d+$/.test(text) && Number(text) >= 1 && Number(text) <= FieldLimit.INTEGER;
  return isId ? { id: Number(text) } : { name: stripNamePrefix(text) };
}

/** What a login may have to ask or tell its user. */
export interface Prompts {
  /** The password again, because the server no longer takes the session's token. Undefined is giving up. */
  askPassword(): Promise<string | undefined>;
  /** Whether to take the account over from another connection that uses it. */
  confirmTakeover(): Promise<boolean>;
  /** The server can't take a request now, for the reason `why`; it is sent again by itself after `ms` milliseconds. */
  onDeferred(reason: string, ms: number): void;
}

/** What a login leaves behind, for the next one. */
export interface SavedLogin {
  readonly id: number;
  readonly name: string;
  readonly token: string;
}

/** Keeps tokens for the program's next start. */
export interface TokenStore {
  save(login: SavedLogin): void;
  /** The token is no longer good. */
  remove(token: string): void;
}

/** What proves who the user is, and for how long the user waits for a server that is busy. */
export interface LoginOptions {
  readonly password?: string | undefined;
  /** Of an earlier session. It goes first: the server takes it where a password has to wait, or is refused. */
  readonly token?: string | undefined;
  /** Where the session's token is kept, if it is. */
  readonly tokenStore?: TokenStore | undefined;
  /** Whether the user has said beforehand to take the account over from another connection. */
  readonly force?: boolean | undefined;
  /** Milliseconds; see {@link LOGIN_WAIT_MS}. */
  readonly loginWait?: number | undefined;
}

/** What proves who the user is. It changes as the session goes on: see {@link logIn}. */
export interface Credentials {
  readonly user: UserRef;
  readonly loginWait: number;
  password: string | undefined;
  token: string | undefined;
  tokenStore: TokenStore | undefined;
  /** The user has said to take the account over. */
  force: boolean;
}

/** What the caller is told of each message that comes. */
export type MessageObserver = (message: Message) => void | Promise<void>;

/**
 * Milliseconds of trying, at most, while the server says "later". An account whose password was guessed at gets one
 * more password a minute, and all of them after 10 minutes: twice that.
 */
export const LOGIN_WAIT_MS = 1_200_000;

const MAX_HOLD_MS = 10_000; // of waiting on one connection: the server closes it after 30 s without a login
const SERVER_PACED_TRIES = 5; // the server knows best when to come back; a later try waits longer each time
const MIN_REPORTED_WAIT_MS = 1_000; // a shorter wait is over before it is read

/** A connection that is logged in, and the server's answer to the login. */
export interface LoggedIn {
  readonly connection: ServerConnection;
  readonly reply: Message;
}

/**
 * Logs in with the token, or the password where there is none, and asks the user what has to be asked. Waits and
 * tries again while the server says so. What holds for the next time is kept in the credentials: the token, and not
 * the password. Rejects with {@link Refused} or {@link ConnectionLostError}, and with the signal's reason when that aborts.
 */
export async function logIn(
  servers: Servers,
  credentials: Credentials,
  prompts: Prompts,
  signal: AbortSignal,
  observe: MessageObserver,
): Promise<LoggedIn> {
  const onDeferred = (reason: string, ms: number) => prompts.onDeferred(reason, ms);
  let rejectedToken: string | undefined; // a token that no longer logs in: it shows that the device is the user's
  for (;;) {
    const { user, token, password, force } = credentials;
    const deviceProof = rejectedToken === undefined ? {} : { token: rejectedToken };
    const proof = token === undefined ? { ...user, password: password ?? "", ...deviceProof } : { token };
    const request = { msgid: Msg.LOGIN, ...proof, ...(force ? { force } : {}) };
    const retries = new RetryDelays(credentials.loginWait, onDeferred, signal);
    const { connection, reply } = await requestWithRetries(servers, request, retries, signal, observe);
    const errno = errnoOf(reply);
    if (errno === Errno.OK) {
      credentials.token = string(reply.token) || undefined;
      credentials.password = undefined;
      credentials.force = false;
      saveToken(credentials, reply);
      return { connection, reply };
    }
    // A person may take longer to answer than the server keeps a connection without a login: a new one is made.
    connection.abort("refused");
    if (errno === Errno.ALREADY_ONLINE && !force && await prompts.confirmTakeover()) {
      credentials.force = true;
    } else if (errno === Errno.FAILED && token !== undefined) {
      rejectedToken = token;
      credentials.token = undefined;
      credentials.tokenStore?.remove(token);
      credentials.password ??= await prompts.askPassword();
      if (credentials.password === undefined) throw toRefusedError(reply);
    } else {
      throw toRefusedError(reply);
    }
  }
}

function saveToken({ tokenStore }: Credentials, reply: Message): void {
  const [id, name, token] = [number(reply.id), string(reply.name), string(reply.token)];
  if (id > 0 && token !== "") tokenStore?.save({ id, name, token });
}

/** Makes an account and resolves to its id; rejects with {@link Refused} or {@link ConnectionLostError}. Waits as a login. */
export async function register(
  servers: Servers,
  name: string,
  password: string,
  signal: AbortSignal,
  observe: MessageObserver,
  onDeferred: Prompts["onDeferred"] = () => {},
  loginWait = LOGIN_WAIT_MS,
): Promise<number> {
  const request = { msgid: Msg.REGISTER, name, password };
  const retries = new RetryDelays(loginWait, onDeferred, signal);
  const { connection, reply } = await requestWithRetries(servers, request, retries, signal, observe);
  connection.abort("done");
  if (errnoOf(reply) !== Errno.OK) throw toRefusedError(reply);
  return number(reply.id);
}

/**
 * Sends a request to one of the servers, and again as long as the server says "later" and `waits` has time for it. A
 * short wait is one on the same connection; a long one the server would end.
 */
async function requestWithRetries(
  servers: Servers,
  request: RequestMessage,
  retries: RetryDelays,
  signal: AbortSignal,
  observe: MessageObserver,
): Promise<LoggedIn> {
  for (;;) {
    try {
      const result = await servers.tryEach(async (connection) => {
        for (const deadline = performance.now() + MAX_HOLD_MS;;) {
          const reply = await requestOnce(connection, request, servers.timeouts.replyMs, observe);
          const ms = isRetryable(reply) ? retries.nextDelayMs(reply) : undefined;
          if (ms === undefined || performance.now() + ms > deadline) return { connection, reply, ms };
          await retries.wait(errorText(reply), ms);
        }
      }, signal);
      if (result.ms === undefined) return result;
      result.connection.abort("busy");
      servers.advance(); // another one may be less so
      await retries.wait(errorText(result.reply), result.ms);
    } catch (error) {
      const ms = error instanceof ConnectionLostError && retries.hasBegun ? retries.nextDelayMs() : undefined;
      if (ms === undefined) throw error;
      await retries.wait((error as Error).message, ms);
    }
  }
}

/** The waits of one request, all of them together no longer than it was said. */
class RetryDelays {
  readonly #end: number;
  readonly #onDeferred: Prompts["onDeferred"];
  readonly #signal: AbortSignal;
  #attempt = 0;

  constructor(maxMs: number, onDeferred: Prompts["onDeferred"], signal: AbortSignal) {
    this.#end = performance.now() + maxMs;
    this.#onDeferred = onDeferred;
    this.#signal = signal;
  }

  /** Whether the server has said "later" before. */
  get hasBegun(): boolean {
    return this.#attempt > 0;
  }

  /** Milliseconds until the next try; undefined when there is no time left. None is shorter than the server asks for. */
  nextDelayMs(reply?: Message): number | undefined {
    const minMs = ++this.#attempt > SERVER_PACED_TRIES || !reply
      ? backoffMs(Math.max(this.#attempt - SERVER_PACED_TRIES, 1))
      : 0;
    const ms = Math.ceil(Math.max(reply ? retryAfterMs(reply) : 0, minMs));
    return performance.now() + ms > this.#end ? undefined : ms;
  }

  async wait(reason: string, ms: number): Promise<void> {
    if (ms >= MIN_REPORTED_WAIT_MS) this.#onDeferred(reason, ms);
    await sleep(ms, this.#signal);
    this.#signal.throwIfAborted();
  }
}

/** Sends a request on a connection that has no other reader, and resolves to its reply. */
async function requestOnce(
  connection: ServerConnection,
  request: RequestMessage,
  timeoutMs: number,
  observe: MessageObserver,
) {
  const timer = setTimeout(() => connection.abort(`no answer within ${timeoutMs / 1_000} s`), timeoutMs);
  try {
    void connection.send(request);
    for (let message; (message = await connection.next());) {
      await observe(message);
      if (isReply(message)) return message;
      if (message.msgid === Msg.NOTICE) connection.abort(errorText(message) || string(message.kind));
    }
    throw new ConnectionLostError(connection.closeReason);
  } finally {
    clearTimeout(timer);
  }
}
