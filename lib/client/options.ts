/** The client's command line. */
import { parseArgs } from "@std/cli/parse-args";
import { VERSION } from "../version.ts";
import { FieldLimit } from "../wire/protocol.ts";
import { LOGIN_WAIT_MS, stripNamePrefix, type UserRef } from "./login.ts";
import type { Address } from "./transport.ts";

/** The options of the command line. */
export interface Options {
  readonly servers: readonly Address[];
  /** Whether the servers use TLS. */
  readonly tls: boolean;
  /** A file with CA certificates to trust, besides those of the runtime. */
  readonly caFile: string | undefined;
  readonly user: UserRef | undefined;
  readonly passwordFile: string | undefined;
  readonly register: boolean;
  readonly force: boolean;
  /** Whether to save the session's token, and to use a saved one. */
  readonly save: boolean;
  readonly json: boolean;
  /** Whether the output of `json` contains the token. */
  readonly showToken: boolean;
  readonly follow: boolean;
  /** Maximum wait for the next reply after the end of the input, in milliseconds. */
  readonly wait: number;
  /** Time for which a deferred login is retried, in milliseconds. */
  readonly loginWait: number;
}

/** An invalid command line. The message names the fault. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

const DEFAULT_WAIT_S = 10; // a restart of the server and a reconnect fit in
const MAX_WAIT_S = 86_400; // a day: a longer time is a mistake
const MAX_PORT = 65_535;

/** The text of `--help`. */
const HELP = `A client for the chat server.

  client.ts [options] HOST PORT
  client.ts [options] HOST:PORT [HOST:PORT ...]   tries the servers in turn

On a terminal the client shows a menu. After the login, the command "help"
lists the commands. Without a terminal the client reads commands from standard
input, one per line, for example: chat:2:hello

User:
  --user NAME           Log in as this user. name:NAME is the same.
  --id N                Log in as the user with this id.
  --password-file FILE  Read the password from the first line of this file.
                        Otherwise CHAT_PASSWORD has the password. With
                        -P=client, this file and that of --ca need
                        deno's --allow-read=FILE.
  --register            With --user: first register the name if it is free.
  --force               Take the account over if it is in use on another
                        connection.
  --no-save             Save no token, and use no saved one. Otherwise a login
                        saves the session's token in
                        $XDG_STATE_HOME/chat-client, or in
                        ~/.local/state/chat-client, readable for this user
                        alone. The next start at the same server then needs no
                        password, and no user if only one login is saved. The
                        command "loginout" removes the token.

TLS:
  --tls                 Use TLS. The certificate must be for HOST and from an
                        authority that Mozilla trusts, or this machine with
                        DENO_TLS_CA_STORE=system.
  --ca FILE             Use TLS, and also trust the CA certificates (PEM) in
                        this file.

Scripts:
  --json                Print each message of the server as one line of JSON,
                        without the session's token.
  --show-token          With --json: print the token, too. It replaces the
                        password.
  --follow              After the end of the input, go on receiving until an
                        interrupt.
  --wait SECONDS        After the end of the input, wait this long for the next
                        reply (default ${DEFAULT_WAIT_S}).
  --login-wait SECONDS  If the server defers the login, retry for this long
                        (default ${LOGIN_WAIT_MS / 1_000}).

  --help, --version

Exit code: 0 success; 1 failure of the login, of a command or of a reply;
2 invalid command line.
`;

const STRINGS = ["user", "id", "password-file", "ca", "wait", "login-wait"];
const FLAGS = ["tls", "register", "force", "no-save", "json", "show-token", "follow", "help", "version"];

/** Returns the options, or a text to print instead of running. Throws {@link UsageError}. */
export function parseOptions(args: readonly string[]): Options | string {
  rejectRepeats(args);
  const parsed = parseArgs([...args], {
    string: STRINGS,
    boolean: FLAGS,
    unknown: (arg, key) => {
      if (key !== undefined) throw new UsageError(`unknown option ${arg.split("=")[0]}`);
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
    tls: parsed.tls === true || caFile !== undefined,
    caFile,
    user: user !== undefined
      ? { name: stripNamePrefix(user) }
      : id !== undefined
      ? { id: integer("--id", id, 1, FieldLimit.INTEGER) }
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

/** Throws a {@link UsageError} if an option with a value is given twice. */
function rejectRepeats(args: readonly string[]): void {
  const seen = new Set<string>();
  for (let at = 0; at < args.length && args[at] !== "--"; at++) {
    const [flag = "", value] = args[at]!.split("=", 2);
    if (!STRINGS.some((name) => flag === `--${name}`)) continue;
    if (seen.has(flag)) throw new UsageError(`${flag} is given twice`);
    seen.add(flag);
    if (value === undefined) at++; // the next argument is the value
  }
}

function parseServers(words: readonly string[]): Address[] {
  const [first, second] = words;
  if (first === undefined) throw new UsageError("no server given: name one as HOST PORT or HOST:PORT");
  if (words.length === 2 && second !== undefined && /^\d+$/.test(second)) {
    return [{ hostname: first, port: port(second) }];
  }
  return words.map((word) => {
    const match = /^(?:\[(.+)\]|([^:]+)):(\d+)$/.exec(word);
    const hostname = match?.[1] ?? match?.[2];
    if (!match || hostname === undefined) {
      throw new UsageError(`${word} is not a server in the form HOST:PORT`);
    }
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
