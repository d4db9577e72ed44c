/** The client on a terminal: the menu, and after the login the commands. */
import type { Message } from "../wire/message.ts";
import { Errno } from "../wire/protocol.ts";
import { isMessage, run } from "./commands.ts";
import type { Contacts } from "./contacts.ts";
import { describe, friendLines, groupLines, harmless, person, PLAIN, seconds, type Style } from "./format.ts";
import { Refused } from "./incoming.ts";
import { register, type Who, whoIs } from "./login.ts";
import { Running } from "./task_set.ts";
import type { SavedLogins } from "./saved_logins.ts";
import type { Screen } from "./screen.ts";
import type { Servers } from "./servers.ts";
import { type Listener, Session } from "./session.ts";

/** What the command line says about the login, so that the first one needs no menu. */
export interface FirstLogin {
  readonly who: Who | undefined;
  readonly password: string | undefined;
  /** Takes the account over without asking. */
  readonly force: boolean;
  /** Milliseconds for a login that the server puts off. */
  readonly loginWait: number;
  /** Where tokens are saved, if they are. */
  readonly saved: SavedLogins | undefined;
}

const IN_USE = "the account is in use on another connection, of a client of yours";
const QUIT_PATIENCE = 3_000; // milliseconds for the last answers, before the user is told that they didn't come

/** Shows the menu until the user quits; resolves to the exit code. */
export async function runTerminal(
  servers: Servers,
  first: FirstLogin,
  screen: Screen,
  style: Style,
): Promise<number> {
  try {
    return await new Terminal(servers, first, screen, style).run();
  } finally {
    screen.close();
  }
}

class Terminal implements Listener {
  readonly #servers: Servers;
  readonly #first: FirstLogin;
  readonly #screen: Screen;
  readonly #style: Style;
  readonly #interrupt = new AbortController();
  #contacts: Contacts | undefined;
  #exitCode: number | undefined; // set when the user quits

  constructor(servers: Servers, first: FirstLogin, screen: Screen, style: Style) {
    this.#servers = servers;
    this.#first = first;
    this.#screen = screen;
    this.#style = style;
    void screen.closed.then(() => this.#interrupt.abort());
  }

  async run(): Promise<number> {
    const { password, saved } = this.#first;
    const only = saved?.find(this.#first.who);
    const who = this.#first.who ?? (only && { id: only.id });
    if (who) await this.#logIn(who, password);
    while (this.#exitCode === undefined) {
      this.#screen.print("1. login\n2. register\n3. quit");
      const choice = await this.#screen.ask("choice: ");
      if (choice === undefined || /^\s*3\s*$/.test(choice)) this.#exitCode = 0;
      else if (/^\s*1\s*$/.test(choice)) await this.#askAndLogIn();
      else if (/^\s*2\s*$/.test(choice)) await this.#register();
    }
    return this.#exitCode;
  }

  received(message: Message): void {
    const text = this.#contacts && describe(message, this.#contacts, this.#style);
    if (text !== undefined) this.#screen.print(text);
  }

  online(contacts: Contacts, again: boolean): void {
    this.#contacts = contacts;
    const { id, name, friends, groups } = contacts;
    if (again) return this.#screen.print(this.#style.dim("* connected again"));
    this.#screen.print(`Logged in as ${person(id, name, this.#style)}; "help" shows the commands`);
    this.#screen.print(friendLines(friends, this.#style));
    this.#screen.print(groupLines(groups, this.#style));
  }

  offline(why: string): void {
    this.#screen.print(this.#style.dim(`* connection lost: ${harmless(why)}; trying again`));
  }

  putOff(why: string, ms: number): void {
    const words = `* not yet, says the server: ${harmless(why)}; trying again in ${
      seconds(ms)
    } (Ctrl-C ends)`;
    this.#screen.print(this.#style.dim(words));
  }

  async password(): Promise<string | undefined> {
    this.#screen.print(this.#style.dim("* the server wants the password again"));
    return await this.#screen.ask("password: ", true);
  }

  async takeOver(): Promise<boolean> {
    if (this.#first.force) return true;
    const answer = await this.#screen.ask("This account is in use elsewhere. Take it over? (y/n) ");
    return /^\s*y(es)?\s*$/i.test(answer ?? "");
  }

  async #askAndLogIn(): Promise<void> {
    const who = (await this.#screen.ask("user id or name: "))?.trim();
    if (!who) return;
    await this.#logIn(whoIs(who), undefined);
  }

  async #logIn(who: Who, known: string | undefined): Promise<void> {
    const { saved: keeper, force, loginWait } = this.#first;
    const saved = keeper?.find(who);
    try {
      if (saved) {
        if (!keeper!.claim(saved.id) && !await this.takeOver()) throw new Error(IN_USE);
        const name = person(saved.id, saved.name, PLAIN);
        this.#screen.print(this.#style.dim(`* logging in as ${name}: saved login`));
      }
      const password = saved ? known : known ?? await this.#screen.ask("password: ", true);
      if (!saved && password === undefined) return;
      const proof = { password, token: saved?.token, keeper, force, loginWait };
      await this.#use(await Session.open(this.#servers, who, proof, this, this.#interrupt.signal));
    } catch (error) {
      this.#say("login failed", error);
      // It is not tried as one: it would count as a guess at the password of the user with the id.
      if (!saved && "id" in who) {
        this.#screen.print(this.#style.dim(`* if ${who.id} is a name, write name:${who.id}`));
      }
    } finally {
      this.#contacts = undefined;
      keeper?.release();
    }
  }

  async #register(): Promise<void> {
    const name = (await this.#screen.ask("name: "))?.trim();
    const password = name && await this.#screen.ask("password: ", true);
    if (!name || password === undefined) return;
    try {
      const putOff = (why: string, ms: number) => this.putOff(why, ms);
      const { signal } = this.#interrupt;
      const { loginWait } = this.#first;
      const id = await register(this.#servers, name, password, signal, () => {}, putOff, loginWait);
      this.#screen.print(`Registered ${person(id, name, this.#style)}: log in with this id or the name`);
    } catch (error) {
      if (error instanceof Refused && error.errno === Errno.FAILED) {
        this.#screen.print(this.#style.alarm("registration failed: the name is taken"));
      } else this.#say("registration failed", error);
    }
  }

  /** Carries out commands until the session is over. */
  async #use(session: Session): Promise<void> {
    const { signal } = this.#interrupt;
    if (signal.aborted) return await session.close();
    const [screen, running] = [this.#screen, new Running()];
    const context = {
      session,
      style: this.#style,
      print: (text: string) => screen.print(text),
      leave: (what: "program" | "session") => void this.#leave(what, session, running),
    };
    const quit = () => context.leave("program");
    signal.addEventListener("abort", quit, { once: true });
    const command = (line: string) => {
      if (line.trim() === "") return;
      if (!session.online) {
        screen.print(this.#style.dim("* not connected: this is kept until it can be sent"));
      }
      running.add(run(line, context), (error) => this.#say(line, error));
    };
    const prompt = `${harmless(session.contacts.name)}> `;
    screen.takeCommands(prompt, command, (text) => void this.#paste(text, command));
    const { kind, why } = await session.ended;
    signal.removeEventListener("abort", quit); // the next session is not this one's to leave
    screen.endCommands();
    if (kind === "left") screen.print("logged out");
    if (kind === "kicked") this.#say("the server ended the session", why);
    if (kind === "failed") this.#say("the session ended", why);
  }

  /** Asks what several pasted lines are: one message, or commands. Nothing of them is carried out before. */
  async #paste(text: string, command: (line: string) => void): Promise<void> {
    const lines = text.split("\n");
    const wanted = isMessage(text)
      ? `Send the ${lines.length} pasted lines as one message? (y/n) `
      : `Run the ${lines.length} pasted lines as commands? (y/n) `;
    const answer = await this.#screen.askForOneLine(wanted);
    if (answer === undefined) return;
    if (!/^\s*y(es)?\s*$/i.test(answer)) {
      this.#screen.print(this.#style.dim(`* the ${lines.length} pasted lines were dropped`));
    } else if (isMessage(text)) command(text);
    else lines.forEach(command);
  }

  async #leave(what: "program" | "session", session: Session, running: Running): Promise<void> {
    if (what === "session") return await session.logOut();
    if (this.#exitCode !== undefined) return;
    this.#exitCode = 0;
    if (!await running.all(QUIT_PATIENCE)) {
      this.#exitCode = 1;
      this.#say("not everything was sent", `the server has not answered ${running.size} commands`);
    }
    await session.close();
  }

  #say(what: string, why: unknown): void {
    if (this.#interrupt.signal.aborted) return;
    const words = why instanceof Error ? why.message : String(why);
    this.#screen.print(this.#style.alarm(`${harmless(what)}: ${harmless(words)}`));
  }
}
