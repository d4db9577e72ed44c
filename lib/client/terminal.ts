/** The client on a terminal: the menu, and after the login the commands. */
import type { Message } from "../wire/message.ts";
import { Errno } from "../wire/protocol.ts";
import { isChatCommand, needsServer, runCommand } from "./commands.ts";
import type { Contacts } from "./contacts.ts";
import {
  escapeControls,
  formatMessage,
  formatName,
  formatSeconds,
  friendLines,
  groupLines,
  PLAIN_STYLE,
  quoteExcerpt,
  type Style,
  unansweredText,
} from "./format.ts";
import { RefusedError } from "./incoming.ts";
import { parseUserRef, register, type UserRef } from "./login.ts";
import { messageOf } from "./message_of.ts";
import { TaskSet } from "./task_set.ts";
import type { SavedLogins } from "./saved_logins.ts";
import type { Screen } from "./screen.ts";
import type { Servers } from "./servers.ts";
import { ChatSession, type SessionListener } from "./session.ts";

/** The first login, from the command line. It needs no menu. */
export interface FirstLogin {
  readonly user: UserRef | undefined;
  readonly password: string | undefined;
  /** Whether to take the account over without a question. */
  readonly force: boolean;
  /** Maximum time of retries of a deferred login, in milliseconds. */
  readonly loginWait: number;
  /** The store of tokens, if the client saves them. */
  readonly saved: SavedLogins | undefined;
}

const IN_USE = "the account is in use by another client of yours";
const EMPTY_PASSWORD = "the password is empty";
const QUIT_TIMEOUT_MS = 3_000; // for the last replies, before the client reports missing ones

/** Shows the menu until the user quits. Resolves to the exit code. */
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

class Terminal implements SessionListener {
  readonly #servers: Servers;
  readonly #firstLogin: FirstLogin;
  readonly #screen: Screen;
  readonly #style: Style;
  readonly #interrupt = new AbortController();
  #contacts: Contacts | undefined;
  #exitCode: number | undefined; // set when the user quits

  constructor(servers: Servers, first: FirstLogin, screen: Screen, style: Style) {
    this.#servers = servers;
    this.#firstLogin = first;
    this.#screen = screen;
    this.#style = style;
    void screen.closed.then(() => this.#interrupt.abort());
  }

  async run(): Promise<number> {
    const { password, saved } = this.#firstLogin;
    const savedLogin = saved?.find(this.#firstLogin.user);
    const user = this.#firstLogin.user ?? (savedLogin && { id: savedLogin.id });
    if (user) await this.#logIn(user, password);
    while (this.#exitCode === undefined) {
      this.#screen.print("1. login\n2. register\n3. quit");
      const choice = await this.#screen.ask("choice: ");
      if (choice === undefined || /^\s*3\s*$/.test(choice)) this.#exitCode = 0;
      else if (/^\s*1\s*$/.test(choice)) await this.#askAndLogIn();
      else if (/^\s*2\s*$/.test(choice)) await this.#register();
    }
    return this.#exitCode;
  }

  onMessage(message: Message): void {
    const text = this.#contacts && formatMessage(message, this.#contacts, this.#style);
    if (text !== undefined) this.#screen.print(text);
  }

  onOnline(contacts: Contacts, isReconnect: boolean): void {
    this.#contacts = contacts;
    const { id, name, friends, groups } = contacts;
    if (isReconnect) return this.#screen.print(this.#style.dim("* reconnected"));
    this.#screen.print(`Logged in as ${formatName(id, name, this.#style)}; "help" shows the commands`);
    this.#screen.print(friendLines(friends, this.#style));
    this.#screen.print(groupLines(groups, this.#style));
  }

  onOffline(reason: string): void {
    this.#screen.print(this.#style.dim(`* connection lost: ${escapeControls(reason)}; reconnecting`));
  }

  onDeferred(reason: string, ms: number): void {
    const text = `* the server deferred a request: ${escapeControls(reason)}`;
    this.#screen.print(this.#style.dim(`${text}; retrying in ${formatSeconds(ms)} (Ctrl-C cancels)`));
  }

  async askPassword(): Promise<string | undefined> {
    this.#screen.print(this.#style.dim("* the server asks for the password again"));
    return await this.#screen.ask("password: ", true);
  }

  async confirmTakeover(): Promise<boolean> {
    if (this.#firstLogin.force) return true;
    const answer = await this.#screen.ask("This account is in use elsewhere. Take it over? (y/n) ");
    return /^\s*y(es)?\s*$/i.test(answer ?? "");
  }

  async #askAndLogIn(): Promise<void> {
    const answer = (await this.#screen.ask("user id or name: "))?.trim();
    if (!answer) return;
    await this.#logIn(parseUserRef(answer), undefined);
  }

  async #logIn(user: UserRef, known: string | undefined): Promise<void> {
    const { saved: tokenStore, force, loginWait } = this.#firstLogin;
    const saved = tokenStore?.find(user);
    try {
      if (saved) {
        if (!tokenStore!.claim(saved.id) && !await this.confirmTakeover()) throw new Error(IN_USE);
        const name = formatName(saved.id, saved.name, PLAIN_STYLE);
        this.#screen.print(this.#style.dim(`* logging in as ${name}: saved login`));
      }
      const password = saved ? known : known ?? await this.#screen.ask("password: ", true);
      if (!saved && password === undefined) return;
      if (password === "") return this.#printError("login failed", EMPTY_PASSWORD);
      const proof = { password, token: saved?.token, tokenStore, force, loginWait };
      await this.#runSession(
        await ChatSession.open(this.#servers, user, proof, this, this.#interrupt.signal),
      );
    } catch (error) {
      this.#printError("login failed", error);
      // A try with the name would count as a failed login of the user with the id.
      if (!saved && "id" in user) {
        this.#screen.print(this.#style.dim(`* if ${user.id} is a name, write name:${user.id}`));
      }
    } finally {
      this.#contacts = undefined;
      tokenStore?.release();
    }
  }

  async #register(): Promise<void> {
    const name = (await this.#screen.ask("name: "))?.trim();
    const password = name && await this.#screen.ask("password: ", true);
    if (!name || password === undefined) return;
    try {
      if (password === "") throw new Error(EMPTY_PASSWORD);
      const onDeferred = (reason: string, ms: number) => this.onDeferred(reason, ms);
      const { signal } = this.#interrupt;
      const { loginWait } = this.#firstLogin;
      const id = await register(this.#servers, name, password, signal, () => {}, onDeferred, loginWait);
      this.#screen.print(`Registered ${formatName(id, name, this.#style)}: log in with this id or the name`);
    } catch (error) {
      if (error instanceof RefusedError && error.errno === Errno.FAILED) {
        this.#screen.print(this.#style.alarm("registration failed: the name is taken"));
      } else this.#printError("registration failed", error);
    }
  }

  /** Runs commands until the session ends. */
  async #runSession(session: ChatSession): Promise<void> {
    const { signal } = this.#interrupt;
    if (signal.aborted) return await session.close();
    const [screen, tasks] = [this.#screen, new TaskSet()];
    const context = {
      session,
      style: this.#style,
      print: (text: string) => screen.print(text),
      leave: (what: "program" | "session") => void this.#leave(what, session, tasks),
    };
    const quit = () => context.leave("program");
    signal.addEventListener("abort", quit, { once: true });
    const command = (line: string) => {
      if (line.trim() === "") return;
      if (!session.isOnline && needsServer(line)) {
        screen.print(this.#style.dim("* not connected: the command waits for the connection"));
      }
      tasks.add(runCommand(line, context), (error) => this.#printError(quoteExcerpt(line), error));
    };
    const prompt = `${escapeControls(session.contacts.name)}> `;
    screen.startCommands(prompt, command, (text) => void this.#paste(text, command));
    const { kind, message } = await session.ended;
    signal.removeEventListener("abort", quit); // it must not end the next session
    screen.endCommands();
    if (kind === "left") screen.print("logged out");
    if (kind === "kicked") this.#printError("the server ended the session", message);
    if (kind === "failed") this.#printError("the session ended", message);
  }

  /** Asks whether to send pasted lines as one message, or to run them as commands. */
  async #paste(text: string, command: (line: string) => void): Promise<void> {
    const lines = text.split("\n");
    const question = isChatCommand(text)
      ? `Send the ${lines.length} pasted lines as one message? (y/n) `
      : `Run the ${lines.length} pasted lines as commands? (y/n) `;
    const answer = await this.#screen.askForSingleLine(question);
    if (answer === undefined) return;
    if (!/^\s*y(es)?\s*$/i.test(answer)) {
      this.#screen.print(this.#style.dim(`* dropped the ${lines.length} pasted lines`));
    } else if (isChatCommand(text)) command(text);
    else lines.forEach(command);
  }

  async #leave(what: "program" | "session", session: ChatSession, tasks: TaskSet): Promise<void> {
    if (what === "session") return await session.logOut();
    if (this.#exitCode !== undefined) return;
    this.#exitCode = 0;
    if (!await tasks.allDone(QUIT_TIMEOUT_MS)) {
      this.#exitCode = 1;
      this.#printError("some messages may not be sent", unansweredText(tasks.size));
    }
    await session.close();
  }

  #printError(what: string, error: unknown): void {
    if (this.#interrupt.signal.aborted) return;
    this.#screen.print(this.#style.alarm(`${escapeControls(what)}: ${escapeControls(messageOf(error))}`));
  }
}
