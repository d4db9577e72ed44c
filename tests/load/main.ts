/**
 * Puts a load on a running server and prints the results. It is a process of its own, so that its cost is not
 * attributed to the server. `--help` prints the usage.
 */
import { absent } from "./offline_messages.ts";
import { chat } from "./chat.ts";
import { classicChat } from "./classic_chat.ts";
import { group } from "./group.ts";
import { idle } from "./idle.ts";
import type { Balance } from "./delivery_check.ts";
import { logins } from "./logins.ts";
import { HELP, Options, type Scenario, UsageError } from "./options.ts";
import * as report from "./report.ts";
import { storm } from "./storm.ts";

const EXIT_USAGE = 2;

/** The outcome of a scenario. */
interface Outcome {
  readonly result: object;
  readonly rows: readonly report.Row[];
  /** Whether a message was lost, duplicated or out of order, or a client did not return. */
  readonly isBad: boolean;
}

/** The scenarios, each of which reads its options. */
const scenarios: Readonly<Record<Scenario, (options: Options) => Promise<Outcome>>> = {
  async pairs(options) {
    const plan = { pairs: options.number("pairs", 50), ...options.pace, ...measured(options) };
    const result = await (options.dialect === "classic" ? classicChat : chat)(options.servers, plan);
    return { result, rows: report.chatRows(result), isBad: isBad(result) };
  },
  async group(options) {
    const [members, senders] = [options.number("group"), options.number("senders", 1)];
    if (members < 2) throw new UsageError("--group needs two members");
    if (senders > members) {
      throw new UsageError("--senders are members of the --group, so there can't be more");
    }
    const result = await group(options.servers, { members, senders, ...options.pace, ...measured(options) });
    return { result, rows: report.groupRows(result), isBad: isBad(result) };
  },
  async absent(options) {
    const plan = {
      pairs: options.number("absent"),
      window: options.number("window", 1),
      ...measured(options),
    };
    const result = await absent(options.servers, plan);
    return { result, rows: report.absentRows(result), isBad: isBad(result) };
  },
  async logins(options) {
    const { seconds, pids } = measured(options);
    const window = options.number("window", 1);
    const users = options.number("users", window);
    if (users < window) throw new UsageError("--users must be at least --window");
    const plan = { by: options.loginsBy, users, window, seconds, pids };
    const result = await logins(options.servers, plan);
    return { result, rows: report.loginRows(result), isBad: false };
  },
  async idle(options) {
    const [pid, other] = options.pids;
    if (pid === undefined || other !== undefined) throw new UsageError("--idle needs the server's --pid");
    const result = await idle(options.servers[0], options.number("idle"), pid);
    return { result, rows: report.idleRows(result), isBad: false };
  },
  async storm(options) {
    const { servers, pids } = options;
    if (servers.length < 2) throw new UsageError("--storm needs another server besides the one that dies");
    const kill = options.optional("kill");
    const ready = () => void (kill ?? write(Deno.stderr, "end the first server now\n"));
    const result = await storm(servers, { clients: options.number("storm"), kill, ready, pids });
    const { back, clients, lost, duplicated } = result;
    return { result, rows: report.stormRows(result), isBad: back < clients || lost + duplicated > 0 };
  },
};

function measured(options: Options): { seconds: number; size: number; pids: readonly number[] } {
  return { seconds: options.number("seconds", 10), size: options.number("size", 100), pids: options.pids };
}

function isBad({ lost, duplicated, outOfOrder }: Balance): boolean {
  return lost + duplicated + outOfOrder > 0;
}

function write(to: { writeSync(bytes: Uint8Array): number }, text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += to.writeSync(bytes.subarray(at));
}

async function main(args: readonly string[]): Promise<number> {
  const options = new Options(args);
  if (options.help) {
    write(Deno.stdout, HELP);
    return 0;
  }
  const { result, rows, isBad } = await scenarios[options.scenario](options);
  write(Deno.stdout, options.json ? `${JSON.stringify(result)}\n` : report.table(rows));
  return isBad ? 1 : 0;
}

try {
  Deno.exit(await main(Deno.args));
} catch (error) {
  write(Deno.stderr, `load: ${(error as Error).message}\n`);
  Deno.exit(error instanceof UsageError ? EXIT_USAGE : 1);
}
