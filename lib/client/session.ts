/**
 * A user's session with the servers, over as many connections as it takes: what the user says is kept until the
 * server has it, and what the server says is confirmed once the user has it. It knows nothing of a screen.
 */
import type { Message } from "../wire/message.ts";
import { Errno, MAX_CLIENT_FRAME, Msg } from "../wire/protocol.ts";
import { cids } from "./cids.ts";
import { Contacts } from "./contacts.ts";
import { Inbox } from "./inbox.ts";
import { number, type Peer, readChat, Refused, retryAfter, string, wordsOf } from "./incoming.ts";
import {
  type Credentials,
  type LoggedIn,
  logIn,
  LOGIN_WAIT_MS,
  type Proof,
  type Questions,
  type Who,
} from "./login.ts";
import { Outbox } from "./request_queue.ts";
import { backoff, type Servers, sleep } from "./servers.ts";
import { type Connection, ConnectionLost, type Request } from "./transport.ts";

/** What a session tells the program that shows it to the user. */
export interface Listener extends Questions {
  /**
   * Something came; of chat messages, only what wasn't shown before. A chat message counts as delivered when
   * this resolves, and nothing more is taken from the server until then. If it rejects, the session ends.
   */
  received(message: Message): void | Promise<void>;
  /** The session is logged in; `again`, after the connection was lost. */
  online(contacts: Contacts, again: boolean): void;
  /**
   * The connection was lost, for the reason `why`; the session goes on to look for another one by itself. Not told
   * when a server that stops has said so, and the session is on another one within a moment.
   */
  offline(why: string): void;
}

/** Why a session is over. `left` and `closed` are the user's own doing; for the others `why` has the words. */
export interface Ending {
  readonly kind: "closed" | "left" | "kicked" | "failed";
  readonly why: string;
}

const LOGOUT_PATIENCE = 3_000; // milliseconds: no reason to keep a user who leaves waiting for a lost server
const MOVE_WAIT_MS = 30_000; // for another server that is busy, while requests wait and this one still serves
const MOMENT = 1_000; // milliseconds without a connection that a user needn't be told of, while a move is under way

/** One login of one user; see {@link Session.open}. */
export class Session {
  /** Who the user is and knows. */
  readonly contacts = new Contacts();
  readonly #servers: Servers;
  readonly #credentials: Credentials;
  readonly #listener: Listener;
  readonly #interrupt = new AbortController();
  readonly #outbox = new Outbox((reply) => this.#listener.putOff(wordsOf(reply), retryAfter(reply)));
  readonly #inbox = new Inbox(async (request) => await this.#connection?.send(request));
  readonly #newCid = cids();
  readonly #ended = Promise.withResolvers<Ending>();
  #connection: Connection | undefined; // logged in
  #ending: Ending | undefined;
  #stopping: { readonly noSooner: number; readonly why: string } | undefined; // performance.now(); a server's words
  #moving: ReturnType<typeof setTimeout> | undefined; // until the time to move
  #move: Promise<LoggedIn | undefined> | undefined; // under way
  #kick: Ending | undefined; // perhaps only the move's doing

  private constructor(servers: Servers, credentials: Credentials, listener: Listener) {
    this.#servers = servers;
    this.#credentials = credentials;
    this.#listener = listener;
  }

  /**
   * Logs in on the first server that can be reached. Rejects with {@link Refused} when that says no, with
   * {@link ConnectionLost} when there is none, and with the signal's reason when it aborts before.
   */
  static async open(
    servers: Servers,
    who: Who,
    { password, token, keeper, force = false, loginWait = LOGIN_WAIT_MS }: Proof,
    listener: Listener,
    signal: AbortSignal,
  ): Promise<Session> {
    const credentials = { who, password, token, keeper, loginWait, force };
    const session = new Session(servers, credentials, listener);
    const login = await session.#logIn(signal);
    session.#start(login);
    listener.online(session.contacts, false);
    session.#attach(login.connection);
    void session.#run(login.connection);
    return session;
  }

  /** Resolves when the session is over. */
  get ended(): Promise<Ending> {
    return this.#ended.promise;
  }

  /** Whether there is a connection now. */
  get online(): boolean {
    return this.#connection !== undefined || this.#move !== undefined;
  }

  /** Sends a message to a user or a group. Resolves, to the server's ack, once it is committed; see `ask`. */
  say(peer: Peer, msg: string): Promise<Message> {
    const cid = this.#newCid();
    if (peer > 0) return this.ask({ msgid: Msg.ONE_CHAT, toid: peer, msg, cid });
    return this.ask({ msgid: Msg.GROUP_CHAT, groupid: -peer, msg, cid });
  }

  /**
   * Sends a request after those made before, on the next connection if need be, and resolves to its reply.
   * Rejects with {@link Refused} when the server says no, and as {@link Outbox.add} says.
   */
  ask(request: Request, repeatable = true): Promise<Message> {
    if (this.#ending) return Promise.reject(new ConnectionLost(SESSION_OVER));
    const size = encoder.encode(JSON.stringify(request)).length + RID_ROOM;
    if (size > MAX_CLIENT_FRAME) {
      const words = `it makes ${size} bytes; a server takes at most ${MAX_CLIENT_FRAME}`;
      return Promise.reject(new Refused(Errno.TOO_LARGE, words));
    }
    return this.#outbox.add(request, repeatable);
  }

  /** Ends the session and its token, here and on the server, after what was asked for before, and closes. */
  async logOut(): Promise<void> {
    const { keeper, token } = this.#credentials;
    this.#credentials.keeper = undefined; // a connection that is made for this keeps nothing
    if (token !== undefined) keeper?.forget(token);
    const timer = setTimeout(() => this.#end({ kind: "left", why: "" }), LOGOUT_PATIENCE);
    try {
      await this.#inbox.flush();
      await this.ask({ msgid: Msg.LOGOUT });
    } catch {
      // There is no server to hear it, or the session is over: either way it ends here.
    }
    clearTimeout(timer);
    this.#end({ kind: "left", why: "" });
    await this.ended;
    const { token: last } = this.#credentials;
    if (last !== undefined && last !== token) keeper?.forget(last); // a move was under way
  }

  /** Confirms what was shown and closes; requests without an answer are given up. The token stays good. */
  async close(): Promise<void> {
    await this.#inbox.flush();
    this.#end({ kind: "closed", why: "" });
    await this.ended;
  }

  #end(ending: Ending): void {
    if (this.#ending) return;
    this.#ending = ending;
    this.#interrupt.abort();
    if (ending.kind === "closed") void this.#connection?.close();
    else this.#connection?.abort(ending.kind);
  }

  async #logIn(
    signal: AbortSignal,
    credentials = this.#credentials,
    questions: Questions = this.#listener,
  ): Promise<LoggedIn> {
    const witness = (message: Message) => this.#listener.received(message);
    return await logIn(this.#servers, credentials, questions, signal, witness);
  }

  /** Goes on with the connection of a login; the first time too. */
  #start({ connection, reply }: LoggedIn): void {
    this.#stopping = this.#kick = undefined;
    this.#inbox.enter(typeof reply.epoch === "string" ? reply.epoch : undefined);
    this.contacts.update(reply);
    this.#connection = connection;
  }

  #attach(connection: Connection): void {
    this.#outbox.attach((request) => void connection.send(request));
  }

  async #run(connection: Connection): Promise<void> {
    try {
      for (;;) {
        await this.#read(connection);
        this.#connection = undefined;
        this.#outbox.detach();
        clearTimeout(this.#moving);
        if (this.#ending) break;
        const { login, isTold } = await this.#another(connection.why ?? "");
        connection = login.connection;
        this.#start(login);
        if (isTold) this.#listener.online(this.contacts, true);
        this.#attach(connection);
      }
    } catch (error) {
      connection.abort("failed");
      this.#ending ??= { kind: "failed", why: error instanceof Error ? error.message : String(error) };
    }
    this.#connection = undefined;
    this.#inbox.stop();
    this.#outbox.fail(new ConnectionLost(SESSION_OVER));
    this.#ended.resolve(this.#ending ?? { kind: "closed", why: "" });
  }

  async #read(connection: Connection): Promise<void> {
    for (let message; (message = await connection.next());) {
      if (this.#ending) continue; // what comes now isn't shown, nor confirmed: it will come again
      await this.#handle(message, connection);
    }
  }

  async #handle(message: Message, connection: Connection): Promise<void> {
    const chat = readChat(message, this.contacts.id);
    if (chat && this.#inbox.isRepeat(chat)) return;
    this.contacts.update(message);
    await this.#listener.received(message);
    if (chat) this.#inbox.shown(chat);
    else if (message.msgid === Msg.NOTICE) this.#notice(message, connection);
    else this.#outbox.take(message);
  }

  #notice(message: Message, connection: Connection): void {
    const [kind, why] = [string(message.kind), wordsOf(message)];
    if (kind === "kicked") {
      if (this.#move) this.#kick = { kind, why };
      else this.#end({ kind, why });
    } else if (kind === "closing") connection.abort(why || kind);
    else if (kind === "draining") {
      const wait = number(message.retry_after, 0) > 0 ? retryAfter(message) : 0;
      this.#stopping = { noSooner: performance.now() + wait, why };
      clearTimeout(this.#moving);
      this.#moving = setTimeout(() => this.#move = this.#moveFrom(connection), wait);
    }
  }

  /**
   * Logs in on another server while the connection to one that stops is still good: friends do not see the user leave, and no
   * request is left without an answer. Resolves to undefined if that can't be done.
   */
  async #moveFrom(connection: Connection): Promise<LoggedIn | undefined> {
    const credentials = { ...this.#credentials, loginWait: MOVE_WAIT_MS };
    const nothingToAsk: Questions = {
      password: () => Promise.resolve(undefined),
      takeOver: () => Promise.resolve(false),
      putOff: (why, ms) => this.#listener.putOff(why, ms),
    };
    try {
      await this.#outbox.pause();
      await this.#inbox.flush();
      if (connection.why !== undefined || this.#ending) return undefined;
      this.#servers.advance();
      const login = await this.#logIn(this.#interrupt.signal, credentials, nothingToAsk);
      Object.assign(this.#credentials, { token: credentials.token, password: undefined, force: false });
      connection.abort("moved");
      return login;
    } catch {
      if (connection.why === undefined) this.#attach(connection); // until the server closes it
      return undefined;
    }
  }

  /** The next connection, once one has ended: the one that a move has made, or one that is looked for now. */
  async #another(why: string): Promise<{ readonly login: LoggedIn; readonly isTold: boolean }> {
    const words = this.#stopping?.why || why;
    let isTold = false;
    const tell = () => {
      if (!isTold && !this.#ending) this.#listener.offline(words);
      isTold = true;
    };
    const late = setTimeout(tell, MOMENT);
    const moved = await this.#move;
    this.#move = undefined;
    clearTimeout(late);
    if (moved) {
      if (this.#ending) moved.connection.abort(this.#ending.kind);
      return { login: moved, isTold };
    }
    if (this.#kick) this.#end(this.#kick);
    tell();
    return { login: await this.#reconnect(), isTold };
  }

  /** Tries until a server takes the session back. Rejects when one refuses to, or the session ends before. */
  async #reconnect(): Promise<LoggedIn> {
    const { noSooner } = this.#stopping ?? { noSooner: 0 };
    this.#servers.advance();
    for (let round = 1;; round++) {
      await sleep(Math.max(backoff(round), noSooner - performance.now()), this.#interrupt.signal);
      try {
        return await this.#logIn(this.#interrupt.signal);
      } catch (error) {
        if (!isPassing(error)) throw error;
      }
    }
  }
}

const SESSION_OVER = "the session ended before the server answered";
const RID_ROOM = 32; // bytes that the outbox adds to a request: `,"rid":` and a number
const encoder = new TextEncoder();

function isPassing(error: unknown): boolean {
  if (error instanceof ConnectionLost) return true;
  return error instanceof Refused &&
    (error.errno === Errno.RATE_LIMITED || error.errno === Errno.UNAVAILABLE);
}
