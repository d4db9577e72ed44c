/** The terminal: one line that is being typed at the bottom, and above it what has happened. */
import { clearScreenDown, createInterface, cursorTo, type Interface, moveCursor } from "node:readline";
import process from "node:process";
import { Writable } from "node:stream";
import { isGranted, variable } from "./permissions.ts";
import { type KeyListener, Keys } from "./keys.ts";

/** A line that is waited for. */
interface Question {
  readonly text: string;
  /** Whether what is typed stays unseen. */
  readonly hidden: boolean;
  /** Whether several lines at once are no answer. */
  readonly oneLine: boolean;
  readonly resolve: (answer: string | undefined) => void;
}

const HISTORY = 200; // commands that can be called back with the arrow keys
/** Milliseconds after which the program was not stopped: a shell without job control never lets it go on, either. */
const NOT_STOPPED_MS = 200;
const READ_AHEAD = 100; // lines typed while nothing is asked that are kept: a paste, not a stuck key

/** What is typed goes to the question that is open, else to the commands, else it is kept for the next of them. */
export class Screen implements KeyListener {
  readonly #readline: Interface;
  readonly #keys: Keys;
  readonly #questions: Question[] = [];
  readonly #early: string[] = [];
  readonly #closed = Promise.withResolvers<void>();
  #history: string[] = [];
  #prompt = "";
  #command: ((line: string) => void) | undefined;
  #paste: (text: string) => void = () => {};
  #draft = ""; // what was typed of a command when a question came between
  #ended = false;

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
    this.#readline = createInterface({ input, output, terminal: true, historySize: HISTORY });
    this.#readline.on("history", (history: string[]) => {
      this.#history = history;
      if (!this.#inCommands) history.shift(); // an answer, maybe a password, is not to be called back
    });
    this.#readline.on("line", (line: string) => this.#take(line));
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
    return this.#inCommands || this.#questions[0]?.oneLine === true;
  }

  /** Takes a paste: one line as if it were typed, several for {@link takeCommands}, but only the first as an answer. */
  pasted(text: string): void {
    const [question] = this.#questions;
    if (question?.oneLine && text.includes("\n")) return this.print("* several pasted lines are no answer");
    if (!this.#inCommands) {
      if (question) this.#readline.write(text.split("\n", 1)[0]!);
    } else if (!text.includes("\n")) {
      this.#readline.write(text);
    } else {
      const { line, cursor } = this.#readline;
      this.#wipe();
      this.#paste(line.slice(0, cursor) + text + line.slice(cursor));
      if (this.#inCommands) this.#readline.prompt();
    }
  }

  /** As {@link ask}, but what several lines at once bring is no answer: the rest of a paste, for instance. */
  askForOneLine(text: string): Promise<string | undefined> {
    return this.ask(text, false, true);
  }

  /** Asks for a line; undefined when the input has ended. `hidden`: what is typed isn't shown. */
  ask(text: string, hidden = false, oneLine = false): Promise<string | undefined> {
    if (this.#ended) return Promise.resolve(undefined);
    const early = this.#inCommands || oneLine ? undefined : this.#early.shift();
    if (early !== undefined) {
      process.stdout.write(`${text}${hidden ? "" : early}\n`);
      return Promise.resolve(early);
    }
    return new Promise((resolve) => {
      if (this.#inCommands) this.#setDraftAside();
      this.#questions.push({ text, hidden, oneLine, resolve });
      if (this.#questions.length === 1) this.#draw();
    });
  }

  /** From now on, lines are commands, typed after `prompt`; several that are pasted go to `paste` together. */
  takeCommands(prompt: string, command: (line: string) => void, paste: (text: string) => void): void {
    this.#prompt = prompt;
    this.#command = command;
    this.#paste = paste;
    this.#draw();
    const early = this.#early.splice(0);
    // Behind a login that was pasted one line is as little a command as several: it is there to be sent by Enter.
    if (early.length === 1) this.#readline.write(early[0]!);
    else if (early.length > 1) paste(early.join("\n"));
  }

  /** Ends what {@link takeCommands} began; the commands can't be called back any more. */
  endCommands(): void {
    if (this.#echoes) this.#wipe();
    this.#command = undefined;
    this.#draft = "";
    this.#history.length = 0;
    if (this.#questions.length > 0) this.#draw();
  }

  /** Gives the terminal back. Questions that are open are answered with undefined. */
  close(): void {
    this.#readline.close();
  }

  get #inCommands(): boolean {
    return this.#command !== undefined && this.#questions.length === 0;
  }

  get #echoes(): boolean {
    if (this.#ended) return false;
    const [question] = this.#questions;
    return question ? !question.hidden : this.#command !== undefined;
  }

  #take(line: string): void {
    const question = this.#questions.shift();
    if (question) {
      if (question.hidden) process.stdout.write("\n");
      question.resolve(line);
      if (this.#questions.length > 0 || this.#command) this.#draw();
      if (this.#inCommands) this.#readline.write(this.#draft);
    } else if (this.#command) {
      this.#command(line);
      if (this.#inCommands) this.#readline.prompt();
    } else if (this.#early.length < READ_AHEAD) {
      this.#early.push(line);
    }
  }

  #draw(): void {
    const [question] = this.#questions;
    if (question?.hidden) process.stdout.write(question.text);
    this.#readline.setPrompt(question?.text ?? this.#prompt);
    this.#readline.prompt();
  }

  #setDraftAside(): void {
    this.#draft = this.#readline.line;
    this.#wipe();
  }

  /** Takes away the line that is being typed, on the screen too. */
  #wipe(): void {
    this.#readline.write(null, { ctrl: true, name: "e" });
    this.#readline.write(null, { ctrl: true, name: "u" });
    cursorTo(process.stdout, 0);
    clearScreenDown(process.stdout);
  }

  /** Stops the program until the shell lets it go on. What is typed in the shell is none of its keys. */
  #suspend(): void {
    // A shell waits for the program that it has started: with deno task or npx in between, that one has to stop too.
    const hasShell = variable("INIT_CWD") === undefined;
    const group = isGranted({ name: "run" }) ? 0 : hasShell ? process.pid : undefined;
    if (group === undefined) {
      return this.print("* Ctrl-Z cannot stop the program: deno task or npx would go on waiting for it");
    }
    let isOver = false;
    const goOn = () => {
      if (isOver || this.#ended) return;
      isOver = true;
      this.#keys.input.setRawMode(true);
      this.#keys.brackets(true);
      if (this.#questions[0]?.hidden) process.stdout.write(this.#questions[0].text);
      else if (this.#echoes) this.#readline.prompt(true);
    };
    this.#keys.brackets(false);
    this.#keys.input.setRawMode(false);
    process.once("SIGCONT", goOn);
    process.kill(group, "SIGTSTP");
    setTimeout(goOn, NOT_STOPPED_MS);
  }

  #end(): void {
    if (this.#echoes) process.stdout.write("\n");
    this.#keys.close();
    this.#ended = true;
    for (const { resolve } of this.#questions.splice(0)) resolve(undefined);
    this.#closed.resolve();
  }
}
