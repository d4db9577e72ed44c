/** The client's program, from its command line to its exit code. */
import { clearTextWarning } from "./clear_text.ts";
import { escapeControls, styleFor } from "./format.ts";
import { messageOf } from "./message_of.ts";
import { type Options, parseOptions, UsageError } from "./options.ts";
import { Screen } from "./screen.ts";
import { envVariable, isGranted } from "./permissions.ts";
import type { SavedLogins } from "./saved_logins.ts";
import { runScript } from "./script.ts";
import { Servers } from "./servers.ts";
import { openSavedLogins } from "./state_folder.ts";
import { runTerminal } from "./terminal.ts";
import type { Address } from "./transport.ts";

/** Exit code for an invalid command line. */
const EXIT_USAGE = 2;

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** Runs the client. Resolves to its exit code. */
export async function main(args: readonly string[]): Promise<number> {
  try {
    const parsed = parseOptions(args);
    if (typeof parsed === "string") {
      Deno.stdout.writeSync(encoder.encode(parsed));
      return 0;
    }
    const options = { ...parsed, servers: withTls(parsed) };
    const password = readPassword(options);
    const warning = clearTextWarning(options.servers);
    if (warning !== undefined) printError(warning);
    const terminal = Deno.stdin.isTerminal() && Deno.stdout.isTerminal() && !options.json;
    return terminal ? await runOnTerminal(options, password) : await runPiped(options, password);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    printError(`${error.message} (--help shows the usage)`);
    return EXIT_USAGE;
  }
}

function openSaved({ servers, save }: Options, warn: (text: string) => void): SavedLogins | undefined {
  if (!save) return undefined;
  const saved = openSavedLogins(servers, (text) => warn(`warning: ${text}`));
  if (typeof saved !== "string") return saved;
  warn(`the session's token will not be saved: ${saved}`);
  return undefined;
}

async function runOnTerminal(
  options: Options,
  password: string | undefined,
): Promise<number> {
  if (options.register) throw new UsageError("--register is for scripts; on a terminal the menu registers");
  const servers = new Servers(options.servers);
  const { user, force, loginWait } = options;
  const screen = new Screen();
  const saved = openSaved(options, (text) => screen.print(escapeControls(text)));
  const first = { user, password, force, loginWait, saved };
  return await runTerminal(servers, first, screen, styleFor(Deno.stdout));
}

async function runPiped(
  options: Options,
  password: string | undefined,
): Promise<number> {
  const saved = openSaved(options, printError);
  const login = saved?.find(options.user);
  const user = options.user ?? (login && { id: login.id });
  const reason = noTerminalReason(options);
  if (!user) throw new UsageError(`${reason}, --user NAME or --id N must name the user`);
  if (password === undefined && !login) {
    throw new UsageError(`${reason}, CHAT_PASSWORD or --password-file must give the password`);
  }
  const interrupt = new AbortController();
  const stop = () => interrupt.abort();
  const signals: Deno.Signal[] = Deno.build.os === "windows" ? ["SIGINT"] : ["SIGINT", "SIGTERM"];
  for (const signal of signals) Deno.addSignalListener(signal, stop);
  return await runScript({ ...options, user, password, login, saved }, {
    input: Deno.stdin.readable,
    output: Deno.stdout,
    errors: Deno.stderr,
    interrupted: interrupt.signal,
  });
}

/** Returns the reason why the client cannot ask at a terminal. */
function noTerminalReason({ json }: Options): string {
  if (json) return "with --json";
  return Deno.stdin.isTerminal() ? "without a terminal as output" : "without a terminal as input";
}

/** Returns the servers, with the certificates that they may have. Throws {@link UsageError}. */
function withTls({ servers, tls, caFile }: Options): readonly Address[] {
  if (!tls) return servers;
  const ca = caFile === undefined ? "" : readFile("--ca", caFile);
  const caCerts = ca.match(CERTIFICATE) ?? [];
  if (caFile !== undefined && caCerts.length === 0) {
    throw new UsageError(`--ca: ${caFile} contains no certificate in PEM form`);
  }
  return servers.map((server) => ({ ...server, tls: { caCerts } }));
}

function readPassword({ passwordFile }: Options): string | undefined {
  if (passwordFile === undefined) return envVariable("CHAT_PASSWORD") || undefined; // empty counts as not set
  const password = readFile("--password-file", passwordFile).split(/\r?\n/, 1)[0];
  if (password === "") throw new UsageError(`--password-file: the first line of ${passwordFile} is empty`);
  return password;
}

function readFile(option: string, path: string): string {
  // Without the permission, the runtime would ask for it at the terminal.
  if (!isGranted({ name: "read", path })) {
    throw new UsageError(
      `${option}: no permission to read ${path}; deno run --allow-read=${path} gives it`,
    );
  }
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    throw new UsageError(`${option}: ${messageOf(error)}`);
  }
}

function printError(text: string): void {
  Deno.stderr.writeSync(encoder.encode(`${escapeControls(text)}\n`));
}

const encoder = new TextEncoder();
