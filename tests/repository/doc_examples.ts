/**
 * Reads the examples in docs/PROTOCOL.md, and compares received messages with them.
 *
 * An example is a block fenced as `chat`. Each line begins with a client, named by a letter (small: a classic
 * one):
 *
 *     A> {"msgid":24}                    A sends this message
 *     A< {"msgid":20,"time":<t1>, …}     the next message that A receives
 *     A> 00 00 00 0c '{"msgid":24}'      bytes, in hexadecimal or as quoted ASCII; likewise with <
 *     A> (closes)                        A closes the connection; with <, the server does
 *     ! SIGTERM                          the server receives this signal
 *
 * An indented line continues the one above, and `#` begins a comment line. `<a name>` is a placeholder for a
 * value that differs between runs: bare for a number, inside a string for text. Its first occurrence takes the
 * received value, and later ones must equal it.
 */

/** One line of a block. */
export type Step =
  & { readonly line: number }
  & (
    | { readonly kind: "signal"; readonly signal: Deno.Signal }
    | {
      readonly kind: "exchange";
      readonly client: string;
      readonly sent: boolean;
      readonly what: Message | Bytes | "closes";
    }
  );

/** A message that is sent or expected, with its placeholders. */
export interface Message {
  readonly message: unknown;
}

/** Bytes that are sent or expected. */
export interface Bytes {
  readonly bytes: Uint8Array;
}

/** One block. */
export interface Example {
  /** The line of the document where the block begins, from 1. */
  readonly line: number;
  /** Options of a separate server. Undefined for a block that continues with that of the block before. */
  readonly server: readonly string[] | undefined;
  readonly steps: readonly Step[];
}

/** Returns all blocks of a document. Throws an Error with the line number if a line has no known form. */
export function examplesIn(markdown: string): Example[] {
  return [...markdown.matchAll(/^```chat( .*)?\n([^]*?)^```$/gm)].map(({ index, 1: options, 2: body }) => {
    const line = markdown.slice(0, index).split("\n").length;
    const server = options?.trim().split(/\s+/);
    return { line, server, steps: stepsIn(body!, line + 1) };
  });
}

function stepsIn(body: string, first: number): Step[] {
  const lines: { line: number; text: string }[] = [];
  for (const [at, text] of body.trimEnd().split("\n").entries()) {
    if (text === "" || text.startsWith("#")) continue;
    const last = lines.at(-1);
    if (text.startsWith(" ") && last) last.text += ` ${text.trim()}`;
    else lines.push({ line: first + at, text });
  }
  return lines.map(({ line, text }) => {
    try {
      return { line, ...stepOf(text) };
    } catch (error) {
      throw new Error(`line ${line}: ${(error as Error).message}: ${text}`, { cause: error });
    }
  });
}

type Unnumbered<T> = T extends unknown ? Omit<T, "line"> : never;

function stepOf(text: string): Unnumbered<Step> {
  const signal = /^! (SIG[A-Z]+)$/.exec(text);
  if (signal) return { kind: "signal", signal: signal[1] as Deno.Signal };
  const match = /^([A-Za-z])([<>]) +(.*)$/.exec(text);
  if (!match) throw new Error("Cannot parse this line of an example");
  const [, client, direction, what] = match as unknown as [string, string, string, string];
  return { kind: "exchange", client, sent: direction === ">", what: contentOf(what) };
}

function contentOf(text: string): Message | Bytes | "closes" {
  if (text === "(closes)") return "closes";
  if (text.startsWith("{")) return { message: JSON.parse(text.replace(BARE, '$1{"<>":"$2"}')) };
  if (!/^((?:[0-9a-f]{2}|'[^']*')(?: +|$))+$/.test(text)) {
    throw new Error("Cannot parse this as a message or as bytes");
  }
  const parts = [...text.matchAll(/([0-9a-f]{2})|'([^']*)'/g)];
  const bytes = parts.flatMap(([, hex, ascii]) =>
    hex !== undefined ? [parseInt(hex, 16)] : [...new TextEncoder().encode(ascii)]
  );
  return { bytes: Uint8Array.from(bytes) };
}

const BARE = /([:[,] *)<([^<>"]+)>(?= *[,}\]])/g; // a placeholder for a number, outside a string
const IN_TEXT = /<([^<>]+)>/g;

/** The values of the placeholders, by name. */
export type Bindings = Map<string, string | number>;

/**
 * Returns the expected message with values in place of its placeholders. A placeholder without a value takes
 * the one at its place in `actual`. The example is correct if the result equals `actual`.
 */
export function filled(expected: unknown, actual: unknown, bindings: Bindings): unknown {
  if (typeof expected === "string") return filledText(expected, actual, bindings);
  if (typeof expected !== "object" || expected === null) return expected;
  if (Array.isArray(expected)) {
    const items = Array.isArray(actual) ? actual : [];
    return expected.map((item, at) => filled(item, items[at], bindings));
  }
  const number = (expected as { "<>"?: string })["<>"];
  if (number !== undefined) {
    if (!bindings.has(number) && typeof actual === "number") bindings.set(number, actual);
    return bindings.get(number) ?? `<${number}>`;
  }
  const fields = (actual ?? {}) as Record<string, unknown>;
  return Object.fromEntries(
    Object.entries(expected).map(([name, value]) => [name, filled(value, fields[name], bindings)]),
  );
}

function filledText(expected: string, actual: unknown, bindings: Bindings): string {
  const names: string[] = [];
  const pattern = expected.split(IN_TEXT).map((part, at) => {
    if (at % 2 === 0) return RegExp.escape(part);
    const value = bindings.get(part);
    if (value !== undefined) return RegExp.escape(`${value}`);
    names.push(part);
    return "([^]+?)";
  });
  const match = typeof actual === "string" ? new RegExp(`^${pattern.join("")}$`).exec(actual) : null;
  if (match) names.forEach((name, at) => bindings.set(name, match[at + 1]!));
  return expected.replace(IN_TEXT, (whole, name: string) => `${bindings.get(name) ?? whole}`);
}
