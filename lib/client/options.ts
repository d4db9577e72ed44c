/** The client's command line. */
import { parseArgs } from "@std/cli/parse-args";
import { VERSION } from "../version.ts";
import { LOGIN_WAIT_MS, stripNamePrefix, type UserRef } from "./login.ts";
import type { Address } from "./transport.ts";

/** What the user wants, from the command line. */
export interface Options {
  readonly servers: readonly Address[];
  /** Whether the servers speak TLS. */
  readonly tls: boolean;
  /** A file with certificates of authorities that may issue theirs, besides those that are known. */
  readonly caFile: string | undefined;
  readonly user: UserRef | undefined;
  readonly passwordFile: string | undefined;
  readonly register: boolean;
  readonly force: boolean;
  /** Whether the session's token is saved, and a saved one used. */
  readonly save: boolean;
  readonly json: boolean;
  /** Whether the token is part of what `json` prints. */
  readonly showToken: boolean;
  readonly follow: boolean;
  /** Milliseconds for the last answers to come. */
  readonly wait: number;
  /** Milliseconds for a login that the server puts off. */
  readonly loginWait: number;
}

/** The command line makes no sense; the message says which part of it. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

const DEFAULT_WAIT_S = 10; // seconds: enough for a server to restart and for the client to find it again
const MAX_WAIT_S = 86_400; // seconds: a day; longer than that is a slip
const MAX_PORT = 65_535;

/** What `--help` prints. */
const HELP = `A client for the chat server.

  client.ts [options] HOST PORT
  client.ts [options] HOST:PORT [HOST:PORT ...]    tries the next one when one fails

On a terminal it shows a menu, and after the login the command "help" tells the others. Otherwise
it reads commands from its input, one a line, for example: chat:2:hello

  --user NAME            log in as this user; name:NAME is the same, as at the question for the user
  --id N                 log in as the user with this id
  --password-file FILE   read the password from the file's first line;
                         otherwise it is in the environment variable CHAT_PASSWORD.
                         With -P=client the file needs deno's --allow-read=FILE, as one of --ca does
  --no-save              save no token, and use no saved one. Without it, a login leaves the session's
                         token in $XDG_STATE_HOME/chat-client (or ~/.local/state/chat-client), readable
                         for this user alone. A start at the same server then needs no password, and
                         no user where only one is saved; "loginout" removes the token
  --register             with --user: register the name first if it is free
  --tls                  speak TLS, with a server whose certificate is for HOST and by an authority
                         that Mozilla trusts; with DENO_TLS_CA_STORE=system, that this machine does
  --ca FILE              speak TLS, and trust the authorities with certificates in this file (PEM)
                         as well
  --force                take the account over if it is in use on another connection
  --json                 print every message of the server as one line of JSON, without the
                         session's token
  --show-token           with --json: the token as well, which is as good as the password
  --follow               go on receiving after the end of the input, until interrupted
  --wait SECONDS         after the end of the input, give up when no answer has come for so long
                         (default ${DEFAULT_WAIT_S})
  --login-wait SECONDS   when the server says to come again later, wait and try again to log in for
                         so long at most (default ${LOGIN_WAIT_MS / 1_000})
  --help, --version

Exit code: 0 all went well; 1 something failed: the login, a command, or an answer did not come;
2 the command line is wrong.
`;

const STRINGS = ["user", "id", "password-file", "ca", "wait", "login-wait"];
const FLAGS = ["tls", "register", "force", "no-save", "json", "show-token", "follow", "help", "version"];

/** Reads the command line; a string is what to print instead of running. Throws {@link UsageError}. */
export function parseOptions(args: readonly string[]): Options | string {
  const parsed = parseArgs([...args], {
    string: STRINGS,
    boolean: FLAGS,
    unknown: (arg, key) => {
      if (key !== undefined) throw new UsageError(`unknown option ${arg}`);
    },
  });
  if (parsed.help) return HELP;
  if (parsed.version) return `${VERSION}\n`;
  const value = (name: string): string | undefined => {
    const given = parsed[name];
    if (given === "") throw new UsageError(`--${name} needs a value`);
    return typeof given === "string" ? given : undefined;
  };
  const [user, id] = [value("user"), value("id")];
  if (user === "name:") throw new UsageError("--user needs a value");
  if (user !== undefined && id !== undefined) throw new UsageError("--user and --id exclude each other");
  if (parsed.register && user === undefined) throw new UsageError("--register needs --user NAME");
  if (parsed["show-token"] && !parsed.json) throw new UsageError("--show-token needs --json");
  const caFile = value("ca");
  return {
    servers: parseServers(parsed._.map(String)),
    tls: parsed.tls === true || caFile !== undefined, // nothing else could be meant
    caFile,
    user: user !== undefined
      ? { name: stripNamePrefix(user) }
      : id !== undefined
      ? { id: integer("--id", id, 1, 2 ** 31 - 1) }
      : undefined,
    passwordFile: value("password-file"),
    register: parsed.register === true,
    force: parsed.force === true,
    save: parsed["no-save"] !== true,
    json: parsed.json === true,
    showToken: parsed["show-token"] === true,
    follow: parsed.follow === true,
    wait: integer("--wait", value("wait") ?? `${DEFAULT_WAIT_S}`, 0, MAX_WAIT_S) * 1_000,
    loginWait: integer("--login-wait", value("login-wait") ?? `${LOGIN_WAIT_MS / 1_000}`, 0, MAX_WAIT_S) *
      1_000,
  };
}

function parseServers(words: readonly string[]): Address[] {
  const [first, second] = words;
  if (first === undefined) throw new UsageError("no server is named: HOST PORT, or HOST:PORT");
  if (words.length === 2 && second !== undefined && /^\d+$/.test(second)) {
    return [{ hostname: first, port: port(second) }];
  }
  return words.map((word) => {
    const match = /^(?:\[(.+)\]|([^:]+)):(\d+)$/.exec(word);
    const hostname = match?.[1] ?? match?.[2];
    if (!match || hostname === undefined) throw new UsageError(`${word}: not a server's HOST:PORT`);
    return { hostname, port: port(match[3]!) };
  });
}

function port(word: string): number {
  return integer("a port", word, 1, MAX_PORT);
}

function integer(name: string, text: string, min: number, max: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : NaN;
  if (value >= min && value <= max) return value;
  throw new UsageError(`${name} must be a whole number from ${min} to ${max}, not ${text}`);
}
