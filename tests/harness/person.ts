/** A person at the client's terminal: a pseudo-terminal made by script(1), and its screen. */
import { ClientProcess, type ClientProcessOptions } from "./client_process.ts";
import type { Address } from "./server.ts";

/** The password of every test user. It needs no quoting in a shell. */
export const PASSWORD = "open-sesame";

/**
 * Returns the screen after these bytes, for the control sequences that readline uses and without line
 * wrapping.
 */
function screenAfter(output: string): string[] {
  const rows: string[][] = [[]];
  let [row, column] = [0, 0];
  // deno-lint-ignore no-control-regex -- that is what is looked for
  for (const [part, count, command] of output.matchAll(/\x1b\[([\d;?]*)([A-Za-z])|\r|\n|[^]/gu)) {
    const n = Math.max(1, Number(count || 1));
    if (command === "A") row = Math.max(0, row - n);
    else if (command === "B") row += n;
    else if (command === "C") column += n;
    else if (command === "D") column = Math.max(0, column - n);
    else if (command === "G") column = n - 1;
    else if (command === "K") rows[row]!.length = count === "2" ? 0 : column;
    else if (command === "J") {
      rows.length = row + 1;
      rows[row]!.length = Math.min(rows[row]!.length, column);
    } else if (part === "\r") column = 0;
    else if (part === "\n") row++;
    else if (command === undefined) rows[row]![column++] = part;
    while (rows.length <= row) rows.push([]);
  }
  return rows.map((cells) => Array.from(cells, (cell) => cell ?? " ").join("").trimEnd());
}

/** A client on a terminal, and its screen. */
export class Person implements AsyncDisposable {
  readonly client: ClientProcess;

  constructor(at: Address, args: readonly string[] = [], options: ClientProcessOptions = {}) {
    this.client = new ClientProcess([at.host, `${at.port}`, ...args], { ...options, terminal: true });
  }

  get screen(): string[] {
    return screenAfter(this.client.stdout);
  }

  /** Waits until the last line of the screen, the prompt, is `line`. */
  async atPrompt(line: string): Promise<void> {
    await this.client.until(() => this.screen.at(-1) === line.trimEnd(), `a screen that ends in "${line}"`);
  }

  /** Waits until a line of the screen matches. */
  async sees(line: RegExp): Promise<void> {
    await this.client.until(() => this.screen.some((shown) => line.test(shown)), `a line like ${line}`);
  }

  async types(text: string): Promise<void> {
    await this.client.write(text);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client[Symbol.asyncDispose]();
  }
}

/** Logs in from the menu by name or id. */
export async function logIn(person: Person, name: string): Promise<void> {
  await person.atPrompt("choice: ");
  await person.types("1\r");
  await person.atPrompt("user id or name: ");
  await person.types(`${name}\r`);
  await person.atPrompt("password: ");
  await person.types(`${PASSWORD}\r`);
}

/** Registers from the menu. */
export async function register(person: Person, name: string): Promise<void> {
  await person.atPrompt("choice: ");
  await person.types("2\r");
  await person.atPrompt("name: ");
  await person.types(`${name}\r`);
  await person.atPrompt("password: ");
  await person.types(`${PASSWORD}\r`);
  await person.sees(new RegExp(`^Registered ${name} \\(\\d+\\)`));
}
