/** The client without a terminal: commands on standard input, messages on standard output. */
import type { Message } from "../wire/message.ts";
import { Errno } from "../wire/protocol.ts";
import { type CommandContext, runCommand } from "./commands.ts";
import type { Contacts } from "./contacts.ts";
import {
  escapeControls,
  formatMessage,
  formatSeconds,
  PLAIN_STYLE,
  quoteExcerpt,
  toJson,
  unansweredText,
} from "./format.ts";
import { RefusedError } from "./incoming.ts";
import { MAX_LINE_BYTES, readLines } from "./lines.ts";
import { register, type SavedLogin, type UserRef } from "./login.ts";
import { messageOf } from "./message_of.ts";
import { MAX_QUEUED_REQUESTS } from "./request_queue.ts";
import { settlesWithin, TaskSet } from "./task_set.ts";
import type { SavedLogins } from "./saved_logins.ts";
import { Servers } from "./servers.ts";
import { sleep } from "../sleep.ts";
import { ChatSession, type EndReason, type SessionListener } from "./session.ts";
import type { Address } from "./transport.ts";

/** The options of a script. Those of the same names on the command line explain them. */
export interface ScriptOptions {
  readonly servers: readonly Address[];
  readonly user: UserRef;
  /** Undefined only with a saved login. */
  readonly password: string | undefined;
  /** The user's saved login, if there is one. */
  readonly login: SavedLogin | undefined;
  /** The store of tokens, if the client saves them. */
  readonly saved: SavedLogins | undefined;
  readonly register: boolean;
  readonly force: boolean;
  readonly json: boolean;
  readonly showToken: boolean;
  readonly follow: boolean;
  /** In milliseconds, as is `loginWait`. */
  readonly wait: number;
  readonly loginWait: number;
}

/** The streams of a script, and its interruption. */
export interface ScriptIo {
  readonly input: ReadableStream<Uint8Array>;
  readonly output: { write(bytes: Uint8Array): Promise<number> };
  readonly errors: { writeSync(bytes: Uint8Array): number };
  /** Aborts when the user interrupts the script. */
  readonly interrupted: AbortSignal;
}

// The server sends unread messages right after the login. After this time without a message, a script without
// further commands regards them as complete.
const SETTLE_MS = 300;
const CLOSE_TIMEOUT_MS = 2_000; // for the end of a session if no program reads the output

/** Runs a script to its end. Resolves to the exit code. */
export async function runScript(options: ScriptOptions, io: ScriptIo): Promise<number> {
  return await new Script(options, io).run();
}

class Script implements SessionListener {
  readonly #options: ScriptOptions;
  readonly #servers: Servers;
  readonly #io: ScriptIo;
  readonly #tasks = new TaskSet();
  readonly #controller = new AbortController(); // aborts all work but the closing of the session
  #lastWrite: Promise<void> = Promise.resolve();
  #contacts: Contacts | undefined;
  #lastMessageAt = 0; // by performance.now()
  #unansweredCount = 0; // commands without a reply at the end of the session
  #hasFailed = false;

  constructor(options: ScriptOptions, io: ScriptIo) {
    this.#options = options;
    this.#servers = new Servers(options.servers);
    this.#io = io;
  }

  async run(): Promise<number> {
    const { interrupted } = this.#io;
    interrupted.addEventListener("abort", () => this.#controller.abort(), { once: true });
    try {
      const session = await this.#open();
      await this.#runSession(session);
    } catch (error) {
      this.#hasFailed = true; // also after an interruption by the user
      if (!interrupted.aborted) this.#reportError(`Cannot log in: ${messageOf(error)}`);
    }
    await settlesWithin(this.#lastWrite, CLOSE_TIMEOUT_MS).catch((error) => {
      if (!this.#hasFailed) this.#reportError(`Cannot write: ${messageOf(error)}`);
    });
    this.#options.saved?.release();
    return this.#hasFailed ? 1 : 0;
  }

  onMessage(message: Message): Promise<void> {
    this.#lastMessageAt = performance.now();
    if (this.#options.json) return this.#write(toJson(message, this.#options.showToken));
    const text = this.#contacts && formatMessage(message, this.#contacts, PLAIN_STYLE);
    return text === undefined ? this.#lastWrite : this.#write(text);
  }

  onOnline(contacts: Contacts, isReconnect: boolean): void {
    this.#contacts = contacts;
    if (isReconnect) this.#printStatus("reconnected");
  }

  onOffline(reason: string): void {
    this.#printStatus(`connection lost: ${reason}; reconnecting`);
  }

  onDeferred(reason: string, ms: number): void {
    this.#printStatus(`the server deferred a request: ${reason}; retrying in ${formatSeconds(ms)}`);
  }

  async askPassword(): Promise<string | undefined> {
    await this.#register(); // the saved token's account may not exist any more
    return this.#options.password;
  }

  confirmTakeover(): Promise<boolean> {
    return Promise.resolve(this.#options.force);
  }

  async #open(): Promise<ChatSession> {
    const { user, password, login, saved: tokenStore, force, loginWait } = this.#options;
    if (login && tokenStore?.claim(login.id) === false && !force) {
      throw new Error(
        "the account is in use by another client of yours; --force takes it over",
      );
    }
    if (!login) await this.#register();
    const proof = {
      token: login?.token,
      password: login ? undefined : password,
      tokenStore,
      force,
      loginWait,
    };
    return await ChatSession.open(this.#servers, user, proof, this, this.#controller.signal);
  }

  /** Registers the account with `register`, if the name is free. */
  async #register(): Promise<void> {
    const { user, password, loginWait, register: isWanted } = this.#options;
    if (!isWanted || !("name" in user) || password === undefined) return;
    try {
      const observe = (message: Message) => this.onMessage(message);
      const onDeferred = (reason: string, ms: number) => this.onDeferred(reason, ms);
      await register(
        this.#servers,
        user.name,
        password,
        this.#controller.signal,
        observe,
        onDeferred,
        loginWait,
      );
    } catch (error) {
      if (!(error instanceof RefusedError && error.errno === Errno.FAILED)) throw error;
      // The name is taken, so the login follows.
    }
  }

  async #runSession(session: ChatSession): Promise<void> {
    const { signal } = this.#controller;
    let endReason: EndReason | undefined;
    const ended = session.ended.then((reason) => {
      endReason = reason;
      this.#controller.abort();
    });
    const aborted = new Promise<void>((resolve) =>
      signal.addEventListener("abort", () => resolve(), { once: true })
    );
    await Promise.race([this.#runCommands(session), ended, aborted]);
    this.#controller.abort();
    await settlesWithin(session.close(), CLOSE_TIMEOUT_MS);
    const unanswered = this.#unansweredCount + this.#tasks.size;
    if (endReason?.kind === "kicked") this.#reportError(`the server ended the session: ${endReason.message}`);
    if (endReason?.kind === "failed") this.#reportError(`the session ended: ${endReason.message}`);
    if (unanswered > 0) this.#reportError(unansweredText(unanswered));
  }

  async #runCommands(session: ChatSession): Promise<void> {
    let leave: "program" | "session" | undefined;
    const context: CommandContext = {
      session,
      style: PLAIN_STYLE,
      print: (text) => void (this.#options.json || this.#write(text).catch(() => {})),
      leave: (what) => void (leave = what),
    };
    let number = 0;
    for await (const line of readLines(this.#io.input)) {
      number++;
      if (line === undefined) {
        this.#reportError(`line ${number}: skipped, as it is longer than ${MAX_LINE_BYTES} bytes`);
      } else if (line.trim() !== "") this.#start(number, line, context);
      if (leave) break;
      while (this.#tasks.size >= MAX_QUEUED_REQUESTS) await this.#tasks.nextDone();
    }
    if (this.#options.follow && !leave) await session.ended;
    else if (await this.#tasks.allDone(this.#options.wait)) await this.#settle();
    if (leave === "session") await session.logOut();
  }

  #start(number: number, line: string, context: CommandContext): void {
    this.#tasks.add(runCommand(line, context), (error) => {
      // One error reports all commands without a reply at the end of the session.
      if (this.#controller.signal.aborted) this.#unansweredCount++;
      else this.#reportError(`line ${number}, ${quoteExcerpt(line)}: ${messageOf(error)}`);
    });
  }

  /** Waits until no further messages arrive. */
  async #settle(): Promise<void> {
    const end = performance.now() + this.#options.wait;
    for (let left; (left = Math.min(this.#lastMessageAt + SETTLE_MS, end) - performance.now()) > 0;) {
      await sleep(left, this.#controller.signal);
      this.#controller.signal.throwIfAborted();
    }
  }

  #write(text: string): Promise<void> {
    const bytes = encoder.encode(`${text}\n`);
    this.#lastWrite = this.#lastWrite.then(async () => {
      for (let at = 0; at < bytes.length;) at += await this.#io.output.write(bytes.subarray(at));
    });
    return this.#lastWrite;
  }

  #reportError(text: string): void {
    this.#hasFailed = true;
    this.#printStatus(text);
  }

  #printStatus(text: string): void {
    this.#io.errors.writeSync(encoder.encode(`${escapeControls(text)}\n`));
  }
}

const encoder = new TextEncoder();
