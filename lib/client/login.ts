/** Login and registration: the requests before a session. */
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

/** The user of a login, by id or by name. */
export type UserRef = { readonly id: number } | { readonly name: string };

/** The prefix of a name. With it, a name may consist of digits. */
const NAME_PREFIX = "name:";

/** Returns the name in `name:NAME` or in NAME. */
export function stripNamePrefix(text: string): string {
  return text.startsWith(NAME_PREFIX) ? text.slice(NAME_PREFIX.length) : text;
}

/**
 * Returns the user that a text names. A number in the range of ids is an id, and any other text is a name.
 */
export function parseUserRef(text: string): UserRef {
  const isId = /^\d+$/.test(text) && Number(text) >= 1 && Number(text) <= FieldLimit.INTEGER;
  return isId ? { id: Number(text) } : { name: stripNamePrefix(text) };
}

/** Questions and notices of a login to its user. */
export interface Prompts {
  /** Asks for the password after the server rejected the session's token. Undefined cancels the login. */
  askPassword(): Promise<string | undefined>;
  /** Asks whether to take the account over from the connection that uses it. */
  confirmTakeover(): Promise<boolean>;
  /** Reports that the server deferred a request for `reason`. The client retries after `ms` milliseconds. */
  onDeferred(reason: string, ms: number): void;
}

/** The data of a login that a later login uses. */
export interface SavedLogin {
  readonly id: number;
  readonly name: string;
  readonly token: string;
}

/** Saves tokens for the program's next start. */
export interface TokenStore {
  save(login: SavedLogin): void;
  /** Removes a token that is no longer valid. */
  remove(token: string): void;
}

/** The options of a login. */
export interface LoginOptions {
  readonly password?: string | undefined;
  /**
   * Token of an earlier session. It goes first, as the server accepts a token even if passwords must wait.
   */
  readonly token?: string | undefined;
  /** The store of the session's token, if the token is saved. */
  readonly tokenStore?: TokenStore | undefined;
  /** Whether to take the account over from another connection without a question. */
  readonly force?: boolean | undefined;
  /** Time for retries, in milliseconds. See {@link LOGIN_WAIT_MS}. */
  readonly loginWait?: number | undefined;
}

/** The credentials of a session. {@link logIn} updates them. */
export interface Credentials {
  readonly user: UserRef;
  readonly loginWait: number;
  password: string | undefined;
  token: string | undefined;
  tokenStore: TokenStore | undefined;
  /** Whether to take the account over from another connection. */
  force: boolean;
}

/** A function that gets each message from the server. */
export type MessageObserver = (message: Message) => void | Promise<void>;

/**
 * Maximum time of retries while the server defers a login. After failed logins an account may try one
 * password a minute, and the full number after 10 minutes. This is twice that time.
 */
export const LOGIN_WAIT_MS = 1_200_000;

const MAX_HOLD_MS = 10_000; // on one connection, which the server closes after 30 s without a login
const SERVER_PACED_TRIES = 5; // these follow the server's retry_after; later ones also back off
const MIN_REPORTED_WAIT_MS = 1_000; // a shorter wait ends before a user has read the notice

/** An authenticated connection, and the server's reply to the login. */
export interface LoggedIn {
  readonly connection: ServerConnection;
  readonly reply: Message;
}

/**
 * Logs in with the token, or with the password if there is no token. Waits and retries while the server
 * defers the login. Afterwards the credentials contain the new token and no password. Rejects with
 * {@link RefusedError} or {@link ConnectionLostError}, and with the signal's reason if it aborts.
 */
export async function logIn(
  servers: Servers,
  credentials: Credentials,
  prompts: Prompts,
  signal: AbortSignal,
  observe: MessageObserver,
): Promise<LoggedIn> {
  const onDeferred = (reason: string, ms: number) => prompts.onDeferred(reason, ms);
  let rejectedToken: string | undefined; // proves that the device is known
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
    // An answer may take longer than the login timeout, so the next try uses a new connection.
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

/**
 * Registers an account and resolves to its id. Waits and retries as {@link logIn} does. Rejects with
 * {@link RefusedError} or {@link ConnectionLostError}.
 */
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
 * Sends a request to one of the servers, and retries while the server defers it and `retries` has time left.
 * Short waits happen on the same connection. During a long one the server would close the connection.
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
      servers.advance(); // another server may be less busy
      await retries.wait(errorText(result.reply), result.ms);
    } catch (error) {
      const ms = error instanceof ConnectionLostError && retries.hasBegun ? retries.nextDelayMs() : undefined;
      if (ms === undefined) throw error;
      await retries.wait((error as Error).message, ms);
    }
  }
}

/** The delays between the tries of one request, with a bound on their sum. */
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

  /** Whether the server has deferred the request before. */
  get hasBegun(): boolean {
    return this.#attempt > 0;
  }

  /**
   * Returns the time until the next try in milliseconds, or undefined if none is left. It is at least the
   * server's.
   */
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

/** Sends a request on a connection without another reader, and resolves to its reply. */
async function requestOnce(
  connection: ServerConnection,
  request: RequestMessage,
  timeoutMs: number,
  observe: MessageObserver,
) {
  const timer = setTimeout(() => connection.abort(`no reply within ${timeoutMs / 1_000} s`), timeoutMs);
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
