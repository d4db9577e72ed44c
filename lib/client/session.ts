/**
 * A user's session with the servers, over any number of connections. The session resends every message that
 * was not acknowledged, and confirms every message that the user has seen.
 */
import type { Message } from "../wire/message.ts";
import { Errno, MAX_CLIENT_FRAME_BYTES, Msg } from "../wire/protocol.ts";
import { cidGenerator } from "./cids.ts";
import { Contacts } from "./contacts.ts";
import { Inbox } from "./inbox.ts";
import {
  errorText,
  isRetryable,
  number,
  type Peer,
  readChat,
  RefusedError,
  retryAfterMs,
  string,
} from "./incoming.ts";
import {
  type Credentials,
  type LoggedIn,
  logIn,
  LOGIN_WAIT_MS,
  type LoginOptions,
  type Prompts,
  type UserRef,
} from "./login.ts";
import { messageOf } from "./message_of.ts";
import { RequestQueue } from "./request_queue.ts";
import { backoffMs, type Servers } from "./servers.ts";
import { sleep } from "../sleep.ts";
import { ConnectionLostError, type RequestMessage, type ServerConnection } from "./transport.ts";

/** The events of a session, for the program that shows them to the user. */
export interface SessionListener extends Prompts {
  /**
   * Handles a message of the server. Chat messages come without duplicates. A chat message counts as
   * delivered when the promise resolves, and the session reads no further message until then. If it rejects,
   * the session ends.
   */
  onMessage(message: Message): void | Promise<void>;
  /** Reports a login, and with `isReconnect` one after the loss of a connection. */
  onOnline(contacts: Contacts, isReconnect: boolean): void;
  /**
   * Reports the loss of the connection for `reason`. The session reconnects. A change of servers before a
   * server's stop is not reported, unless it takes longer than {@link RECONNECT_GRACE_MS}.
   */
  onOffline(reason: string): void;
}

/** The reason of a session's end. The user caused `left` and `closed`, and `message` explains the others. */
export interface EndReason {
  readonly kind: "closed" | "left" | "kicked" | "failed";
  readonly message: string;
}

const LOGOUT_TIMEOUT_MS = 3_000; // a user can leave without waiting for a lost server
const MIGRATION_WAIT_MS = 30_000; // for a login at another, busy server, while requests wait
const RECONNECT_GRACE_MS = 1_000; // without a connection during a migration; a user does not notice it

/** A session of a user, from {@link ChatSession.open} to its end. */
export class ChatSession {
  /** The user, with friends and groups. */
  readonly contacts = new Contacts();
  readonly #servers: Servers;
  readonly #credentials: Credentials;
  readonly #listener: SessionListener;
  readonly #interrupt = new AbortController();
  readonly #requests = new RequestQueue((reply) =>
    this.#listener.onDeferred(errorText(reply), retryAfterMs(reply))
  );
  readonly #inbox = new Inbox(async (request) => await this.#connection?.send(request));
  readonly #newCid = cidGenerator();
  readonly #ended = Promise.withResolvers<EndReason>();
  #connection: ServerConnection | undefined; // authenticated
  #endReason: EndReason | undefined;
  #draining: { readonly notBefore: number; readonly reason: string } | undefined; // by performance.now()
  #migrationTimer: ReturnType<typeof setTimeout> | undefined; // until the migration
  #migration: Promise<LoggedIn | undefined> | undefined; // in progress
  #kick: EndReason | undefined; // its cause may be the session's own migration

  private constructor(servers: Servers, credentials: Credentials, listener: SessionListener) {
    this.#servers = servers;
    this.#credentials = credentials;
    this.#listener = listener;
  }

  /**
   * Logs in on the first reachable server. Rejects with {@link RefusedError} if the server rejects the login,
   * with {@link ConnectionLostError} if no server is reachable, and with the signal's reason if it aborts.
   */
  static async open(
    servers: Servers,
    user: UserRef,
    { password, token, tokenStore, force = false, loginWait = LOGIN_WAIT_MS }: LoginOptions,
    listener: SessionListener,
    signal: AbortSignal,
  ): Promise<ChatSession> {
    const credentials = { user, password, token, tokenStore, loginWait, force };
    const session = new ChatSession(servers, credentials, listener);
    const login = await session.#logIn(signal);
    session.#start(login);
    listener.onOnline(session.contacts, false);
    session.#attach(login.connection);
    void session.#run(login.connection);
    return session;
  }

  /** Resolves when the session has ended. */
  get ended(): Promise<EndReason> {
    return this.#ended.promise;
  }

  /** Whether the session has a connection. */
  get isOnline(): boolean {
    return this.#connection !== undefined || this.#migration !== undefined;
  }

  /**
   * Sends a message to a user or a group. Resolves to the server's ack after the commit, as {@link request}.
   */
  sendMessage(peer: Peer, msg: string): Promise<Message> {
    const cid = this.#newCid();
    if (peer > 0) return this.request({ msgid: Msg.ONE_CHAT, toid: peer, msg, cid });
    return this.request({ msgid: Msg.GROUP_CHAT, groupid: -peer, msg, cid });
  }

  /**
   * Sends a request after all earlier ones, on a later connection if necessary, and resolves to its reply.
   * Rejects with {@link RefusedError} if the server rejects the request, and for the reasons of
   * {@link RequestQueue.add}.
   */
  request(request: RequestMessage, idempotent = true): Promise<Message> {
    if (this.#endReason) return Promise.reject(new ConnectionLostError(SESSION_ENDED));
    const size = encoder.encode(JSON.stringify(request)).length + RID_BYTES;
    if (size > MAX_CLIENT_FRAME_BYTES) {
      const text = `the request has ${size} bytes; a server accepts at most ${MAX_CLIENT_FRAME_BYTES}`;
      return Promise.reject(new RefusedError(Errno.TOO_LARGE, text));
    }
    return this.#requests.add(request, idempotent);
  }

  /** Logs out after all earlier requests, removes the token here and on the server, and closes. */
  async logOut(): Promise<void> {
    const { tokenStore, token } = this.#credentials;
    this.#credentials.tokenStore = undefined; // a new connection for the logout must save no token
    if (token !== undefined) tokenStore?.remove(token);
    const timer = setTimeout(() => this.#end({ kind: "left", message: "" }), LOGOUT_TIMEOUT_MS);
    try {
      await this.#inbox.flush();
      await this.request({ msgid: Msg.LOGOUT });
    } catch {
      // No server is reachable, or the session has ended. The logout is complete in both cases.
    }
    clearTimeout(timer);
    this.#end({ kind: "left", message: "" });
    await this.ended;
    const { token: last } = this.#credentials;
    if (last !== undefined && last !== token) tokenStore?.remove(last); // of a migration in progress
  }

  /** Confirms all shown messages and closes. Requests without a reply fail. The token stays valid. */
  async close(): Promise<void> {
    await this.#inbox.flush();
    this.#end({ kind: "closed", message: "" });
    await this.ended;
  }

  #end(endReason: EndReason): void {
    if (this.#endReason) return;
    this.#endReason = endReason;
    this.#interrupt.abort();
    if (endReason.kind === "closed") void this.#connection?.close();
    else this.#connection?.abort(endReason.kind);
  }

  async #logIn(
    signal: AbortSignal,
    credentials = this.#credentials,
    prompts: Prompts = this.#listener,
  ): Promise<LoggedIn> {
    const observe = (message: Message) => this.#listener.onMessage(message);
    return await logIn(this.#servers, credentials, prompts, signal, observe);
  }

  /** Starts with the connection of the first or a later login. */
  #start({ connection, reply }: LoggedIn): void {
    this.#draining = this.#kick = undefined;
    this.#inbox.setEpoch(typeof reply.epoch === "string" ? reply.epoch : undefined);
    this.contacts.update(reply);
    this.#connection = connection;
  }

  #attach(connection: ServerConnection): void {
    this.#requests.attach((request) => void connection.send(request));
  }

  async #run(connection: ServerConnection): Promise<void> {
    try {
      for (;;) {
        await this.#read(connection);
        this.#connection = undefined;
        this.#requests.detach();
        clearTimeout(this.#migrationTimer);
        if (this.#endReason) break;
        const { login, isReported } = await this.#nextConnection(connection.closeReason ?? "");
        connection = login.connection;
        this.#start(login);
        if (isReported) this.#listener.onOnline(this.contacts, true);
        this.#attach(connection);
      }
    } catch (error) {
      connection.abort("failed");
      this.#endReason ??= { kind: "failed", message: messageOf(error) };
    }
    this.#connection = undefined;
    this.#inbox.stop();
    this.#requests.fail(new ConnectionLostError(SESSION_ENDED));
    this.#ended.resolve(this.#endReason ?? { kind: "closed", message: "" });
  }

  async #read(connection: ServerConnection): Promise<void> {
    for (let message; (message = await connection.next());) {
      if (this.#endReason) continue; // without confirmation, the server resends the message
      await this.#handle(message, connection);
    }
  }

  async #handle(message: Message, connection: ServerConnection): Promise<void> {
    const chat = readChat(message, this.contacts.id);
    if (chat && this.#inbox.isDuplicate(chat)) return;
    this.contacts.update(message);
    await this.#listener.onMessage(message);
    if (chat) this.#inbox.markShown(chat);
    else if (message.msgid === Msg.NOTICE) this.#onNotice(message, connection);
    else this.#requests.onReply(message);
  }

  #onNotice(message: Message, connection: ServerConnection): void {
    const [kind, reason] = [string(message.kind), errorText(message)];
    if (kind === "kicked") {
      if (this.#migration) this.#kick = { kind, message: reason };
      else this.#end({ kind, message: reason });
    } else if (kind === "closing") connection.abort(reason || kind);
    else if (kind === "draining") {
      const wait = number(message.retry_after, 0) > 0 ? retryAfterMs(message) : 0;
      this.#draining = { notBefore: performance.now() + wait, reason };
      clearTimeout(this.#migrationTimer);
      this.#migrationTimer = setTimeout(() => this.#migration = this.#migrateFrom(connection), wait);
    }
  }

  /**
   * Logs in on another server while the connection to a stopping server is still open. Friends see no logout,
   * and every request gets its reply. Resolves to undefined if the login fails.
   */
  async #migrateFrom(connection: ServerConnection): Promise<LoggedIn | undefined> {
    const credentials = { ...this.#credentials, loginWait: MIGRATION_WAIT_MS };
    const noPrompts: Prompts = {
      askPassword: () => Promise.resolve(undefined),
      confirmTakeover: () => Promise.resolve(false),
      onDeferred: (reason, ms) => this.#listener.onDeferred(reason, ms),
    };
    try {
      await this.#requests.pause();
      await this.#inbox.flush();
      if (connection.closeReason !== undefined || this.#endReason) return undefined;
      this.#servers.advance();
      const login = await this.#logIn(this.#interrupt.signal, credentials, noPrompts);
      Object.assign(this.#credentials, { token: credentials.token, password: undefined, force: false });
      connection.abort("migrated");
      return login;
    } catch {
      if (connection.closeReason === undefined) this.#attach(connection); // until the server closes it
      return undefined;
    }
  }

  /** Returns the connection after the loss of one: a migration's, or a new one. */
  async #nextConnection(reason: string): Promise<{ readonly login: LoggedIn; readonly isReported: boolean }> {
    const offlineReason = this.#draining?.reason || reason;
    let isReported = false;
    const reportOffline = () => {
      if (!isReported && !this.#endReason) this.#listener.onOffline(offlineReason);
      isReported = true;
    };
    const timer = setTimeout(reportOffline, RECONNECT_GRACE_MS);
    const migrated = await this.#migration;
    this.#migration = undefined;
    clearTimeout(timer);
    if (migrated) {
      if (this.#endReason) migrated.connection.abort(this.#endReason.kind);
      return { login: migrated, isReported };
    }
    if (this.#kick) this.#end(this.#kick);
    reportOffline();
    return { login: await this.#reconnect(), isReported };
  }

  /** Retries until a login succeeds. Rejects if a server rejects the login, or if the session ends. */
  async #reconnect(): Promise<LoggedIn> {
    const { notBefore } = this.#draining ?? { notBefore: 0 };
    this.#servers.advance();
    for (let attempt = 1;; attempt++) {
      await sleep(Math.max(backoffMs(attempt), notBefore - performance.now()), this.#interrupt.signal);
      this.#interrupt.signal.throwIfAborted();
      try {
        return await this.#logIn(this.#interrupt.signal);
      } catch (error) {
        if (!isTransient(error)) throw error;
      }
    }
  }
}

const SESSION_ENDED = "the session ended before the reply";
const RID_BYTES = 32; // bound of the bytes that the queue adds to a request: `,"rid":` and a number
const encoder = new TextEncoder();

function isTransient(error: unknown): boolean {
  if (error instanceof ConnectionLostError) return true;
  return error instanceof RefusedError && isRetryable(error);
}
