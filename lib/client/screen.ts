/** The terminal: the typed line at the bottom, and the output above it. */
import { clearScreenDown, createInterface, cursorTo, type Interface, moveCursor } from "node:readline";
import process from "node:process";
import { Writable } from "node:stream";
import { envVariable, isGranted } from "./permissions.ts";
import { type KeyListener, Keys } from "./keys.ts";

/** A question that waits for a line. */
interface Question {
  readonly text: string;
  /** Whether the typed line is invisible. */
  readonly hidden: boolean;
  /** Whether a paste of several lines is no answer. */
  readonly singleLine: boolean;
  readonly resolve: (answer: string | undefined) => void;
}

const HISTORY_SIZE = 200; // commands for the arrow keys
/** Time after which a program that still runs was not stopped, as under a shell without job control. */
const SUSPEND_TIMEOUT_MS = 200;
const MAX_READ_AHEAD = 100; // lines typed before a question: room for a paste, a bound for a stuck key

/**
 * A typed line goes to the open question, otherwise to the commands, otherwise it waits for the next of
 * either.
 */
export class Screen implements KeyListener {
  readonly #readline: Interface;
  readonly #keys: Keys;
  readonly #questions: Question[] = [];
  readonly #readAhead: string[] = [];
  readonly #closed = Promise.withResolvers<void>();
  #history: string[] = [];
  #prompt = "";
  #onCommand: ((line: string) => void) | undefined;
  #onPastedLines: (text: string) => void = () => {};
  #draft = ""; // the unfinished command during a question
  #isEnded = false;

  constructor() {
    const output = new Writable({
      write: (chunk: Uint8Array, _encoding, done) => {
        if (this.#echoes) process.stdout.write(chunk);
        done();
      },
    });
    // readline needs the width of the output to wrap long lines.
    Object.defineProperty(output, "columns", { get: () => process.stdout.columns });
    process.stdout.on("resize", () => output.emit("resize"));
    this.#keys = new Keys(this);
    const { input } = this.#keys;
    this.#readline = createInterface({ input, output, terminal: true, historySize: HISTORY_SIZE });
    this.#readline.on("history", (history: string[]) => {
      this.#history = history;
      if (!this.#isCommandMode) history.shift(); // an answer may be a password
    });
    this.#readline.on("line", (line: string) => this.#onLine(line));
    this.#readline.on("SIGINT", () => this.close());
    this.#readline.on("SIGTSTP", () => this.#suspend());
    this.#readline.on("close", () => this.#end());
  }

  /** Resolves when the user has ended the input, or after {@link close}. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  /** Prints lines above the typed line, which stays unchanged. */
  print(text: string): void {
    const [question] = this.#questions;
    if (question?.hidden) {
      process.stdout.write(`\r\x1b[K${text}\n${question.text}`);
    } else if (this.#echoes) {
      const { rows } = this.#readline.getCursorPos();
      moveCursor(process.stdout, 0, -rows);
      cursorTo(process.stdout, 0);
      clearScreenDown(process.stdout);
      // Before it redraws, readline moves up by the rows between prompt and cursor.
      process.stdout.write(`${text}\n${"\n".repeat(rows)}`);
      this.#readline.prompt(true);
    } else {
      process.stdout.write(`${text}\n`);
    }
  }

  /** Whether several lines at once are a paste. They are not while answers may be typed ahead. */
  get expectsLines(): boolean {
    return this.#isCommandMode || this.#questions[0]?.singleLine === true;
  }

  /**
   * Handles a paste. One line counts as typed. Several lines go to {@link startCommands}, and only the first
   * to a question.
   */
  onPaste(text: string): void {
    const [question] = this.#questions;
    if (question?.singleLine && text.includes("\n")) {
      return this.print("* a paste of several lines cannot be an answer");
    }
    if (!this.#isCommandMode) {
      if (question) this.#readline.write(text.split("\n", 1)[0]!);
    } else if (!text.includes("\n")) {
      this.#readline.write(text);
    } else {
      const { line, cursor } = this.#readline;
      this.#clearLine();
      this.#onPastedLines(line.slice(0, cursor) + text + line.slice(cursor));
      if (this.#isCommandMode) this.#readline.prompt();
    }
  }

  /** Asks as {@link ask} does, but ignores several lines at once, such as the rest of a paste. */
  askForSingleLine(text: string): Promise<string | undefined> {
    return this.ask(text, false, true);
  }

  /**
   * Asks for a line. Resolves to undefined at the end of the input. With `hidden` the typed line is
   * invisible.
   */
  ask(text: string, hidden = false, singleLine = false): Promise<string | undefined> {
    if (this.#isEnded) return Promise.resolve(undefined);
    const typedAhead = this.#isCommandMode || singleLine ? undefined : this.#readAhead.shift();
    if (typedAhead !== undefined) {
      process.stdout.write(`${text}${hidden ? "" : typedAhead}\n`);
      return Promise.resolve(typedAhead);
    }
    return new Promise((resolve) => {
      if (this.#isCommandMode) this.#saveDraft();
      this.#questions.push({ text, hidden, singleLine, resolve });
      if (this.#questions.length === 1) this.#draw();
    });
  }

  /** Starts the command mode with `prompt`. Several pasted lines go to `onPastedLines` together. */
  startCommands(
    prompt: string,
    onCommand: (line: string) => void,
    onPastedLines: (text: string) => void,
  ): void {
    this.#prompt = prompt;
    this.#onCommand = onCommand;
    this.#onPastedLines = onPastedLines;
    this.#draw();
    const typedAhead = this.#readAhead.splice(0);
    // A line after a pasted login does not run as a command. It waits for Enter.
    if (typedAhead.length === 1) this.#readline.write(typedAhead[0]!);
    else if (typedAhead.length > 1) onPastedLines(typedAhead.join("\n"));
  }

  /** Ends the command mode, and clears the history of commands. */
  endCommands(): void {
    if (this.#echoes) this.#clearLine();
    this.#onCommand = undefined;
    this.#draft = "";
    this.#history.length = 0;
    if (this.#questions.length > 0) this.#draw();
  }

  /** Releases the terminal. Open questions resolve to undefined. */
  close(): void {
    this.#readline.close();
  }

  get #isCommandMode(): boolean {
    return this.#onCommand !== undefined && this.#questions.length === 0;
  }

  get #echoes(): boolean {
    if (this.#isEnded) return false;
    const [question] = this.#questions;
    return question ? !question.hidden : this.#onCommand !== undefined;
  }

  #onLine(line: string): void {
    const question = this.#questions.shift();
    if (question) {
      if (question.hidden) process.stdout.write("\n");
      question.resolve(line);
      if (this.#questions.length > 0 || this.#onCommand) this.#draw();
      if (this.#isCommandMode) this.#readline.write(this.#draft);
    } else if (this.#onCommand) {
      this.#onCommand(line);
      if (this.#isCommandMode) this.#readline.prompt();
    } else if (this.#readAhead.length < MAX_READ_AHEAD) {
      this.#readAhead.push(line);
    }
  }

  #draw(): void {
    const [question] = this.#questions;
    if (question?.hidden) process.stdout.write(question.text);
    this.#readline.setPrompt(question?.text ?? this.#prompt);
    this.#readline.prompt();
  }

  #saveDraft(): void {
    this.#draft = this.#readline.line;
    this.#clearLine();
  }

  /** Clears the typed line, also on the screen. */
  #clearLine(): void {
    this.#readline.write(null, { ctrl: true, name: "e" });
    this.#readline.write(null, { ctrl: true, name: "u" });
    cursorTo(process.stdout, 0);
    clearScreenDown(process.stdout);
  }

  /** Stops the program until the shell resumes it. Keys typed in the shell do not reach the program. */
  #suspend(): void {
    // The shell waits for the program that it started. With deno task or npx in between, that one must stop
    // too.
    const hasShell = envVariable("INIT_CWD") === undefined;
    const group = isGranted({ name: "run" }) ? 0 : hasShell ? process.pid : undefined;
    if (group === undefined) {
      return this.print(
        "* Ctrl-Z cannot stop the program under deno task or npx, which would still wait for it",
      );
    }
    let isResumed = false;
    const resume = () => {
      if (isResumed || this.#isEnded) return;
      isResumed = true;
      this.#keys.input.setRawMode(true);
      this.#keys.setBracketedPaste(true);
      if (this.#questions[0]?.hidden) process.stdout.write(this.#questions[0].text);
      else if (this.#echoes) this.#readline.prompt(true);
    };
    this.#keys.setBracketedPaste(false);
    this.#keys.input.setRawMode(false);
    process.once("SIGCONT", resume);
    process.kill(group, "SIGTSTP");
    setTimeout(resume, SUSPEND_TIMEOUT_MS);
  }

  #end(): void {
    if (this.#echoes) process.stdout.write("\n");
    this.#keys.close();
    this.#isEnded = true;
    for (const { resolve } of this.#questions.splice(0)) resolve(undefined);
    this.#closed.resolve();
  }
}
