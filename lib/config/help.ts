/** The texts that describe the options: `--help`, and the tables of docs/CONFIGURATION.md. */
import type { Option } from "./declare.ts";
import { commonOptions, flagOf, groups, type OptionName, options, variableOf } from "./options.ts";

const DEFAULT_WIDTH = 80; // columns, if the output is no terminal
const MAX_WIDTH = 100; // columns: longer lines are hard to read
const MIN_WIDTH = 50; // columns: the longest word, an example of a URL, fits
const FLAG_COLUMN_WIDTH = 28; // columns of the flags with their indent, of which few are longer
const MIN_TEXT_WIDTH = 44; // columns of text beside the flags; with fewer, the text begins in the next line
const NO_BREAK_SPACE = "\u00a0"; // a space within a word of wrap()
const NEXT_LINE_INDENT = 6; // columns before text that begins in the next line

/** Arguments of the server that are not options, with their descriptions. */
const OTHER_ARGUMENTS: readonly (readonly [argument: string, description: string])[] = [
  ["--upgrade-check", "Prints the changes that the server would make to the database of --mysql, and ends."],
  ["--help, -h", "Prints this help. --help=all prints all options."],
  ["--version", "Prints the version."],
];

/** Returns the width of help texts: the terminal's, within bounds. */
export function helpWidth(): number {
  if (!Deno.stdout.isTerminal()) return DEFAULT_WIDTH;
  return Math.max(MIN_WIDTH, Math.min(MAX_WIDTH, Deno.consoleSize().columns));
}

/**
 * Returns the text of `--help` (`common`) or `--help=all`, in lines of at most `width` columns. `commands` is
 * the text about other commands.
 */
export function help(kind: "common" | "all", width: number, commands: string): string {
  const paragraph = (text: string) => `${wrap(text, width)}\n`;
  return [
    "usage: main.ts [HOST] [PORT] [options]\n",
    paragraph(
      "Starts a chat server. Each option also has an environment variable: --login-timeout is " +
        "CHAT_LOGIN_TIMEOUT. A flag overrides its variable. An empty variable counts as not set.",
    ),
    ...kind === "all"
      ? [...groups].map(([title, names]) => section(title, optionRows(names), width))
      : [section("Common options", optionRows(commonOptions, summaryOf), width)],
    section("Other arguments", OTHER_ARGUMENTS, width),
    `Commands:\n${commands}`,
    ...kind === "all" ? [] : [paragraph(`--help=all lists all ${Object.keys(options).length} options.`)],
  ].join("\n");
}

/** Returns the groups of options as Markdown: a heading and a table for each. */
export function optionsTables(): string {
  return [...groups].map(([title, names]) => {
    const rows = names.map((name) => {
      const option = optionOf(name);
      const flag = usage(name, option).replaceAll("|", "\\|");
      return `| \`${flag}\`<br>\`${variableOf(name)}\` | \`${
        defaultOf(option)
      }\` | ${option.description} |\n`;
    });
    return `## ${title}\n\n| option and variable | default | description |\n| --- | --- | --- |\n${
      rows.join("")
    }`;
  }).join("\n");
}

/** Returns a term and its description, wrapped to `width` columns: side by side, or one below the other. */
export function definition(term: string, description: string, width: number): string {
  const isBeside = term.length + 4 <= FLAG_COLUMN_WIDTH && width - FLAG_COLUMN_WIDTH >= MIN_TEXT_WIDTH;
  const indent = width - FLAG_COLUMN_WIDTH >= MIN_TEXT_WIDTH ? FLAG_COLUMN_WIDTH : NEXT_LINE_INDENT;
  const text = wrap(description, width, indent);
  return isBeside
    ? `  ${term}`.padEnd(FLAG_COLUMN_WIDTH) + text.slice(FLAG_COLUMN_WIDTH)
    : `${wrap(term, width, 2)}\n${text}`;
}

/**
 * Returns the text in lines of at most `width` columns, each after `indent` spaces. Only a longer word
 * exceeds the width.
 */
export function wrap(text: string, width: number, indent = 0): string {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const line = lines.at(-1);
    if (line === undefined || indent + line.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = `${line} ${word}`;
  }
  return lines.map((line) => " ".repeat(indent) + line.replaceAll(NO_BREAK_SPACE, " ")).join("\n");
}

function section(title: string, rows: readonly (readonly [string, string])[], width: number): string {
  return `${title}:\n${rows.map(([term, text]) => `${definition(term, text, width)}\n`).join("")}`;
}

function optionRows(
  names: readonly OptionName[],
  shorten = (description: string) => description,
): (readonly [string, string])[] {
  return names.map((name) => {
    const option = optionOf(name);
    const note = `[default:${NO_BREAK_SPACE}${defaultOf(option)}]`;
    return [usage(name, option), `${shorten(option.description)} ${note}`];
  });
}

/** Returns the first sentence. */
function summaryOf(description: string): string {
  return /^.*?\.(?= [A-Z0-9-]|$)/.exec(description)![0];
}

function optionOf(name: OptionName): Option<string | number> {
  return options[name] as Option<string | number>;
}

/** Returns the option as on a command line, with the name of its value. */
function usage(name: string, { bare, placeholder }: Option<string | number>): string {
  return `--${flagOf(name)}${bare ? "" : " "}${placeholder}`;
}

function defaultOf(option: Option<string | number>): string {
  return option.format(option.default);
}
