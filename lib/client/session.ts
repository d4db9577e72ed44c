/**
 * A user's session with the servers, over as many connections as it takes: what the user says is kept until the
 * server has it, and what the server says is confirmed once the user has it. It knows nothing of a screen.
 */
import type { Message } from "../wire/message.ts";
import { Errno, MAX_CLIENT_FRAME_BYTES, Msg } from "../wire/protocol.ts";
import { cidGenerator } from "./cids.ts";
import { Contacts } from "./contacts.ts";
import { Inbox } from "./inbox.ts";
import { errorText, number, type Peer, readChat, RefusedError, retryAfterMs, string } from "./incoming.ts";
import {
  type Credentials,
  type LoggedIn,
  logIn,
  LOGIN_WAIT_MS,
  type LoginOptions,
  type Prompts,
  type UserRef,
} from "./login.ts";
import { RequestQueue } from "./request_queue.ts";
import { backoffMs, type Servers } from "./servers.ts";
import { sleep } from "../sleep.ts";
import { ConnectionLostError, type RequestMessage, type ServerConnection } from "./transport.ts";

/** What a session tells the program that shows it to the user. */
export interface SessionListener extends Prompts {
  /**
   * Something came; of chat messages, only what wasn't shown before. A chat message counts as delivered when
   * this resolves, and nothing more is taken from the server until then. If it rejects, the session ends.
   */
  onMessage(message: Message): void | Promise<void>;
  /** The session is logged in; `again`, after the connection was lost. */
  onOnline(contacts: Contacts, isReconnect: boolean): void;
  /**
   * The connection was lost, for the reason `why`; the session goes on to look for another one by itself. Not told
   * when a server that stops has said so, and the session is on another one within a moment.
   */
  onOffline(reason: string): void;
}

/** Why a session is over. `left` and `closed` are the user's own doing; for the others `why` has the words. */
export interface EndReason {
  readonly kind: "closed" | "left" | "kicked" | "failed";
  readonly message: string;
}

const LOGOUT_TIMEOUT_MS = 3_000; // milliseconds: no reason to keep a user who leaves waiting for a lost server
const MIGRATION_WAIT_MS = 30_000; // for another server that is busy, while requests wait and this one still serves
const RECONNECT_GRACE_MS = 1_000; // milliseconds without a connection that a user needn't be told of, while a move is under way

/** One login of one user; see {@link ChatSession.open}. */
export class ChatSession {
  /** Who the user is and knows. */
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
  #connection: ServerConnection | undefined; // logged in
  #endReason: EndReason | undefined;
  #draining: { readonly notBefore: number; readonly reason: string } | undefined; // performance.now(); a server's words
  #migrationTimer: ReturnType<typeof setTimeout> | undefined; // until the time to move
  #migration: Promise<LoggedIn | undefined> | undefined; // under way
  #kick: EndReason | undefined; // perhaps only the move's doing

  private constructor(servers: Servers, credentials: Credentials, listener: SessionListener) {
    this.#servers = servers;
    this.#credentials = credentials;
    this.#listener = listener;
  }

  /**
   * Logs in on the first server that can be reached. Rejects with {@link RefusedError} when that says no, with
   * {@link ConnectionLostError} when there is none, and with the signal's reason when it aborts before.
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

  /** Resolves when the session is over. */
  get ended(): Promise<EndReason> {
    return this.#ended.promise;
  }

  /** Whether there is a connection now. */
  get isOnline(): boolean {
    return this.#connection !== undefined || this.#migration !== undefined;
  }

  /** Sends a message to a user or a group. Resolves, to the server's ack, once it is committed; see `ask`. */
  sendMessage(peer: Peer, msg: string): Promise<Message> {
    const cid = this.#newCid();
    if (peer > 0) return this.request({ msgid: Msg.ONE_CHAT, toid: peer, msg, cid });
    return this.request({ msgid: Msg.GROUP_CHAT, groupid: -peer, msg, cid });
  }

  /**
   * Sends a request after those made before, on the next connection if need be, and resolves to its reply.
   * Rejects with {@link RefusedError} when the server says no, and as {@link RequestQueue.add} says.
   */
  request(request: RequestMessage, idempotent = true): Promise<Message> {
    if (this.#endReason) return Promise.reject(new ConnectionLostError(SESSION_ENDED));
    const size = encoder.encode(JSON.stringify(request)).length + RID_BYTES;
    if (size > MAX_CLIENT_FRAME_BYTES) {
      const text = `it makes ${size} bytes; a server takes at most ${MAX_CLIENT_FRAME_BYTES}`;
      return Promise.reject(new RefusedError(Errno.TOO_LARGE, text));
    }
    return this.#requests.add(request, idempotent);
  }

  /** Ends the session and its token, here and on the server, after what was asked for before, and closes. */
  async logOut(): Promise<void> {
    const { tokenStore, token } = this.#credentials;
    this.#credentials.tokenStore = undefined; // a connection that is made for this keeps nothing
    if (token !== undefined) tokenStore?.remove(token);
    const timer = setTimeout(() => this.#end({ kind: "left", message: "" }), LOGOUT_TIMEOUT_MS);
    try {
      await this.#inbox.flush();
      await this.request({ msgid: Msg.LOGOUT });
    } catch {
      // There is no server to hear it, or the session is over: either way it ends here.
    }
    clearTimeout(timer);
    this.#end({ kind: "left", message: "" });
    await this.ended;
    const { token: last } = this.#credentials;
    if (last !== undefined && last !== token) tokenStore?.remove(last); // a move was under way
  }

  /** Confirms what was shown and closes; requests without an answer are given up. The token stays good. */
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

  /** Goes on with the connection of a login; the first time too. */
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
      this.#endReason ??= { kind: "failed", message: error instanceof Error ? error.message : String(error) };
    }
    this.#connection = undefined;
    this.#inbox.stop();
    this.#requests.fail(new ConnectionLostError(SESSION_ENDED));
    this.#ended.resolve(this.#endReason ?? { kind: "closed", message: "" });
  }

  async #read(connection: ServerConnection): Promise<void> {
    for (let message; (message = await connection.next());) {
      if (this.#endReason) continue; // what comes now isn't shown, nor confirmed: it will come again
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
   * Logs in on another server while the connection to one that stops is still good: friends do not see the user leave, and no
   * request is left without an answer. Resolves to undefined if that can't be done.
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
      connection.abort("moved");
      return login;
    } catch {
      if (connection.closeReason === undefined) this.#attach(connection); // until the server closes it
      return undefined;
    }
  }

  /** The next connection, once one has ended: the one that a move has made, or one that is looked for now. */
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

  /** Tries until a server takes the session back. Rejects when one refuses to, or the session ends before. */
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

const SESSION_ENDED = "the session ended before the server answered";
const RID_BYTES = 32; // bytes that the outbox adds to a request: `,"rid":` and a number
const encoder = new TextEncoder();

function isTransient(error: unknown): boolean {
  if (error instanceof ConnectionLostError) return true;
  return error instanceof RefusedError &&
    (error.errno === Errno.RATE_LIMITED || error.errno === Errno.UNAVAILABLE);
}
