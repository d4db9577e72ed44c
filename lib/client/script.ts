/** The client without a terminal: commands from standard input, what comes on standard output. */
import type { Message } from "../wire/message.ts";
import { Errno } from "../wire/protocol.ts";
import { type Context, run } from "./commands.ts";
import type { Contacts } from "./contacts.ts";
import { asJson, describe, harmless, PLAIN, seconds } from "./format.ts";
import { Refused } from "./incoming.ts";
import { LINE_LIMIT, lines } from "./lines.ts";
import { type Login, register, type Who } from "./login.ts";
import { OUTBOX_LIMIT } from "./request_queue.ts";
import { Running, within } from "./task_set.ts";
import type { SavedLogins } from "./saved_logins.ts";
import { Servers, sleep } from "./servers.ts";
import { type Ending, type Listener, Session } from "./session.ts";
import type { Address } from "./transport.ts";

/** What a script wants; see the command line's options of the same names. */
export interface ScriptOptions {
  readonly servers: readonly Address[];
  readonly who: Who;
  /** Not needed where there is a saved login. */
  readonly password: string | undefined;
  /** What is saved of the user, if anything. */
  readonly login: Login | undefined;
  /** Where tokens are saved, if they are. */
  readonly saved: SavedLogins | undefined;
  readonly register: boolean;
  readonly force: boolean;
  readonly json: boolean;
  readonly showToken: boolean;
  readonly follow: boolean;
  /** Milliseconds, as is `loginWait`. */
  readonly wait: number;
  readonly loginWait: number;
}

/** What a script reads from, writes to and is ended by. */
export interface Surroundings {
  readonly input: ReadableStream<Uint8Array>;
  readonly output: { write(bytes: Uint8Array): Promise<number> };
  readonly errors: { writeSync(bytes: Uint8Array): number };
  /** Aborts when the user has had enough. */
  readonly interrupted: AbortSignal;
}

// Milliseconds without anything new before a script whose work is done takes it that all messages that were
// missed have come: the server sends them right after the login.
const SETTLE = 300;
const CLOSE_PATIENCE = 2_000; // milliseconds for the end of a session whose output may not be read

/** Runs a script to its end; resolves to the exit code. */
export async function runScript(options: ScriptOptions, surroundings: Surroundings): Promise<number> {
  return await new Script(options, surroundings).run();
}

class Script implements Listener {
  readonly #options: ScriptOptions;
  readonly #servers: Servers;
  readonly #around: Surroundings;
  readonly #running = new Running();
  readonly #over = new AbortController(); // of the work: from here on, all that is left is to close
  #written: Promise<void> = Promise.resolve();
  #contacts: Contacts | undefined;
  #heard = 0; // performance.now() of the last message
  #lost = 0; // commands that the session's end left without an answer
  #failed = false;

  constructor(options: ScriptOptions, surroundings: Surroundings) {
    this.#options = options;
    this.#servers = new Servers(options.servers);
    this.#around = surroundings;
  }

  async run(): Promise<number> {
    const { interrupted } = this.#around;
    interrupted.addEventListener("abort", () => this.#over.abort(), { once: true });
    try {
      const session = await this.#open();
      await this.#use(session);
    } catch (error) {
      this.#failed = true; // also if it is the user who has had enough
      if (!interrupted.aborted) this.#complain(`can't log in: ${words(error)}`);
    }
    await within(this.#written, CLOSE_PATIENCE).catch((error) => {
      if (!this.#failed) this.#complain(`can't write: ${words(error)}`);
    });
    this.#options.saved?.release();
    return this.#failed ? 1 : 0;
  }

  received(message: Message): Promise<void> {
    this.#heard = performance.now();
    if (this.#options.json) return this.#write(asJson(message, this.#options.showToken));
    const text = this.#contacts && describe(message, this.#contacts, PLAIN);
    return text === undefined ? this.#written : this.#write(text);
  }

  online(contacts: Contacts, again: boolean): void {
    this.#contacts = contacts;
    if (again) this.#note("connected again");
  }

  offline(why: string): void {
    this.#note(`connection lost: ${why}; trying again`);
  }

  putOff(why: string, ms: number): void {
    this.#note(`the server puts a request off: ${why}; trying again in ${seconds(ms)}`);
  }

  async password(): Promise<string | undefined> {
    await this.#register(); // the saved token's account may be gone
    return this.#options.password;
  }

  takeOver(): Promise<boolean> {
    return Promise.resolve(this.#options.force);
  }

  async #open(): Promise<Session> {
    const { who, password, login, saved: keeper, force, loginWait } = this.#options;
    if (login && keeper?.claim(login.id) === false && !force) {
      throw new Error(
        "the account is in use on another connection, of a client of yours; --force takes it over",
      );
    }
    if (!login) await this.#register();
    const proof = { token: login?.token, password: login ? undefined : password, keeper, force, loginWait };
    return await Session.open(this.#servers, who, proof, this, this.#over.signal);
  }

  /** Makes the account, if that is wanted and the name is free. */
  async #register(): Promise<void> {
    const { who, password, loginWait, register: isWanted } = this.#options;
    if (!isWanted || !("name" in who) || password === undefined) return;
    try {
      const witness = (message: Message) => this.received(message);
      const putOff = (why: string, ms: number) => this.putOff(why, ms);
      await register(this.#servers, who.name, password, this.#over.signal, witness, putOff, loginWait);
    } catch (error) {
      if (!(error instanceof Refused && error.errno === Errno.FAILED)) throw error; // else it is taken: log in
    }
  }

  async #use(session: Session): Promise<void> {
    const { signal } = this.#over;
    let ending: Ending | undefined;
    const ended = session.ended.then((how) => {
      ending = how;
      this.#over.abort();
    });
    const over = new Promise<void>((resolve) =>
      signal.addEventListener("abort", () => resolve(), { once: true })
    );
    await Promise.race([this.#work(session), ended, over]);
    this.#over.abort();
    await within(session.close(), CLOSE_PATIENCE);
    const unanswered = this.#lost + this.#running.size;
    if (ending?.kind === "kicked") this.#complain(`the server ended the session: ${ending.why}`);
    if (ending?.kind === "failed") this.#complain(`the session ended: ${ending.why}`);
    if (unanswered > 0) this.#complain(`commands that the server has not answered: ${unanswered}`);
  }

  async #work(session: Session): Promise<void> {
    let leave: "program" | "session" | undefined;
    const context: Context = {
      session,
      style: PLAIN,
      print: (text) => void (this.#options.json || this.#write(text).catch(() => {})),
      leave: (what) => void (leave = what),
    };
    let number = 0;
    for await (const line of lines(this.#around.input)) {
      number++;
      if (line === undefined) {
        this.#complain(`line ${number}: longer than ${LINE_LIMIT} bytes; it was left out`);
      } else if (line.trim() !== "") this.#start(number, line, context);
      if (leave) break;
      while (this.#running.size >= OUTBOX_LIMIT) await this.#running.one();
    }
    if (this.#options.follow && !leave) await session.ended;
    else if (await this.#running.all(this.#options.wait)) await this.#settle();
    if (leave === "session") await session.logOut();
  }

  #start(number: number, line: string, context: Context): void {
    this.#running.add(run(line, context), (error) => {
      // What the end of the session does to all that is left is said once, for all of it.
      if (this.#over.signal.aborted) this.#lost++;
      else this.#complain(`line ${number}, ${line}: ${words(error)}`);
    });
  }

  /** Waits until nothing more comes. */
  async #settle(): Promise<void> {
    const end = performance.now() + this.#options.wait;
    for (let left; (left = Math.min(this.#heard + SETTLE, end) - performance.now()) > 0;) {
      await sleep(left, this.#over.signal);
    }
  }

  #write(text: string): Promise<void> {
    const bytes = encoder.encode(`${text}\n`);
    this.#written = this.#written.then(async () => {
      for (let at = 0; at < bytes.length;) at += await this.#around.output.write(bytes.subarray(at));
    });
    return this.#written;
  }

  #complain(text: string): void {
    this.#failed = true;
    this.#note(text);
  }

  #note(text: string): void {
    this.#around.errors.writeSync(encoder.encode(`${harmless(text)}\n`));
  }
}

const encoder = new TextEncoder();

function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
