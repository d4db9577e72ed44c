/** The terminal: one line that is being typed at the bottom, and above it what has happened. */
import { clearScreenDown, createInterface, cursorTo, type Interface, moveCursor } from "node:readline";
import process from "node:process";
import { Writable } from "node:stream";
import { envVariable, isGranted } from "./permissions.ts";
import { type KeyListener, Keys } from "./keys.ts";

/** A line that is waited for. */
interface Question {
  readonly text: string;
  /** Whether what is typed stays unseen. */
  readonly hidden: boolean;
  /** Whether several lines at once are no answer. */
  readonly singleLine: boolean;
  readonly resolve: (answer: string | undefined) => void;
}

const HISTORY_SIZE = 200; // commands that can be called back with the arrow keys
/** Milliseconds after which the program was not stopped: a shell without job control never lets it go on, either. */
const SUSPEND_TIMEOUT_MS = 200;
const MAX_READ_AHEAD = 100; // lines typed while nothing is asked that are kept: a paste, not a stuck key

/** What is typed goes to the question that is open, else to the commands, else it is kept for the next of them. */
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
  #draft = ""; // what was typed of a command when a question came between
  #isEnded = false;

  constructor() {
    const output = new Writable({
      write: (chunk: Uint8Array, _encoding, done) => {
        if (this.#echoes) process.stdout.write(chunk);
        done();
      },
    });
    // readline asks the output for its width, to know where a long line wraps.
    Object.defineProperty(output, "columns", { get: () => process.stdout.columns });
    process.stdout.on("resize", () => output.emit("resize"));
    this.#keys = new Keys(this);
    const { input } = this.#keys;
    this.#readline = createInterface({ input, output, terminal: true, historySize: HISTORY_SIZE });
    this.#readline.on("history", (history: string[]) => {
      this.#history = history;
      if (!this.#isCommandMode) history.shift(); // an answer, maybe a password, is not to be called back
    });
    this.#readline.on("line", (line: string) => this.#onLine(line));
    this.#readline.on("SIGINT", () => this.close());
    this.#readline.on("SIGTSTP", () => this.#suspend());
    this.#readline.on("close", () => this.#end());
  }

  /** Resolves when the user has ended the input, or {@link close} was called. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  /** Writes lines above the one that is being typed, which stays as it is. */
  print(text: string): void {
    const [question] = this.#questions;
    if (question?.hidden) {
      process.stdout.write(`\r\x1b[K${text}\n${question.text}`);
    } else if (this.#echoes) {
      const { rows } = this.#readline.getCursorPos();
      moveCursor(process.stdout, 0, -rows);
      cursorTo(process.stdout, 0);
      clearScreenDown(process.stdout);
      // readline goes up by as many rows as the cursor was below the prompt before it draws both again.
      process.stdout.write(`${text}\n${"\n".repeat(rows)}`);
      this.#readline.prompt(true);
    } else {
      process.stdout.write(`${text}\n`);
    }
  }

  /** Whether a paste of several lines may come: not where answers may be typed ahead. */
  get expectsLines(): boolean {
    return this.#isCommandMode || this.#questions[0]?.singleLine === true;
  }

  /** Takes a paste: one line as if it were typed, several for {@link startCommands}, but only the first as an answer. */
  onPaste(text: string): void {
    const [question] = this.#questions;
    if (question?.singleLine && text.includes("\n")) {
      return this.print("* several pasted lines are no answer");
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

  /** As {@link ask}, but what several lines at once bring is no answer: the rest of a paste, for instance. */
  askForSingleLine(text: string): Promise<string | undefined> {
    return this.ask(text, false, true);
  }

  /** Asks for a line; undefined when the input has ended. `hidden`: what is typed isn't shown. */
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

  /** From now on, lines are commands, typed after `prompt`; several that are pasted go to `paste` together. */
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
    // Behind a login that was pasted one line is as little a command as several: it is there to be sent by Enter.
    if (typedAhead.length === 1) this.#readline.write(typedAhead[0]!);
    else if (typedAhead.length > 1) onPastedLines(typedAhead.join("\n"));
  }

  /** Ends what {@link startCommands} began; the commands can't be called back any more. */
  endCommands(): void {
    if (this.#echoes) this.#clearLine();
    this.#onCommand = undefined;
    this.#draft = "";
    this.#history.length = 0;
    if (this.#questions.length > 0) this.#draw();
  }

  /** Gives the terminal back. Questions that are open are answered with undefined. */
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

  /** Takes away the line that is being typed, on the screen too. */
  #clearLine(): void {
    this.#readline.write(null, { ctrl: true, name: "e" });
    this.#readline.write(null, { ctrl: true, name: "u" });
    cursorTo(process.stdout, 0);
    clearScreenDown(process.stdout);
  }

  /** Stops the program until the shell lets it go on. What is typed in the shell is none of its keys. */
  #suspend(): void {
    // A shell waits for the program that it has started: with deno task or npx in between, that one has to stop too.
    const hasShell = envVariable("INIT_CWD") === undefined;
    const group = isGranted({ name: "run" }) ? 0 : hasShell ? process.pid : undefined;
    if (group === undefined) {
      return this.print("* Ctrl-Z cannot stop the program: deno task or npx would go on waiting for it");
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
