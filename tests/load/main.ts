/**
 * Puts a load on a running server and prints what came of it. It must be a process of its own, so that what it
 * costs is not the server's; `--help` says how.
 */
import { parseArgs } from "@std/cli/parse-args";
import { chat, type ChatResult, type Latency } from "./chat.ts";
import type { Cost } from "./cpu.ts";
import { idle, type IdleResult } from "./idle.ts";
import { type LoginResult, logins } from "./logins.ts";
import { storm, type StormResult } from "./storm.ts";

const HELP = `deno task load HOST:PORT... [options]

Users chat in pairs, each sender with a window of messages under way:
  --pairs N     senders, each with a recipient (default 50)
  --window N    messages that a sender has under way at once (default 1)
  --seconds N   length of the measured part (default 10)
  --size N      characters of a message (default 100)
  --pid PID,... processes whose processor time is measured too: servers, databases, …
With several servers each sender is on one and its recipient on the next. Or they log in again and again:
  --logins password|token   --window of them at once, for --seconds
Or they are only there:
  --idle N      logged-in connections that say nothing; needs --pid, prints the server's memory
Or their server, the first one, dies with messages under way, and they come to the others:
  --storm N     logged-in connections, half of which send to the other half
  --kill PID    the first server's process; without it, end it yourself when you are told to

  --json        one JSON object in place of the table

Start the server with --scrypt-ln 1, as passwords are hashed, and --message-rate 0. The exit code is 1 when a message was lost, doubled
or out of order, or a client did not come back.
`;

/** What is wrong with the command line. */
class UsageError extends Error {}

function write(to: { writeSync(bytes: Uint8Array): number }, text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += to.writeSync(bytes.subarray(at));
}

function milliseconds({ p50, p95, p99, max }: Latency): string {
  return [p50, p95, p99, max].map((value) => value.toFixed(1)).join(" / ");
}

function chatTable(result: ChatResult): readonly (readonly [string, string])[] {
  return [
    ["sent", `${result.sent}`],
    ["acknowledged", `${result.acked}`],
    ["refused", `${result.refused}`],
    ["delivered", `${result.delivered}`],
    ["lost", `${result.lost}`],
    ["doubled", `${result.doubled}`],
    ["out of order", `${result.outOfOrder}`],
    ["messages/s", result.messagesPerSecond.toFixed(0)],
    ["ack ms, p50 / p95 / p99 / max", milliseconds(result.ackLatency)],
    ["delivery ms, p50 / p95 / p99 / max", milliseconds(result.deliveryLatency)],
    ...cpuRows(result),
  ];
}

function loginTable(result: LoginResult): readonly (readonly [string, string])[] {
  return [
    ["logins", `${result.logins}`],
    ["logins/s", result.loginsPerSecond.toFixed(0)],
    ["login ms, p50 / p95 / p99 / max", milliseconds(result.latency)],
    ...cpuRows(result),
  ];
}

function cpuRows({ cpu, ownCpu }: { cpu: readonly Cost[]; ownCpu: number }): (readonly [string, string])[] {
  const rows = cpu.map(({ name, pid, perMillion }) => [`${name} ${pid}`, perMillion] as const);
  const all = cpu.reduce((sum, { perMillion }) => sum + perMillion, 0);
  return [...rows, ...(cpu.length > 1 ? [["all of these", all] as const] : []), ["own", ownCpu] as const]
    .map(([who, value]) => [`CPU s per million, ${who}`, value.toFixed(1)]);
}

function idleTable(result: IdleResult): readonly (readonly [string, string])[] {
  const mebibytes = (bytes: number) => (bytes / 1_048_576).toFixed(1);
  return [
    ["connections", `${result.connections}`],
    ["server's memory before, MiB", mebibytes(result.before)],
    ["server's memory after, MiB", mebibytes(result.after)],
    ["per connection, KiB", (result.perConnection / 1_024).toFixed(2)],
  ];
}

function stormTable(result: StormResult): readonly (readonly [string, string])[] {
  return [
    ["clients", `${result.clients}`],
    ["back", `${result.back}`],
    ["back after ms, p50 / p95 / p99 / max", milliseconds(result.backAfter)],
    ["login ms, p50 / p95 / p99 / max", milliseconds(result.loginLatency)],
    ...Object.entries(result.failures).map(([why, count]) => [`failed: ${why}`, `${count}`] as const),
    ["messages sent", `${result.sent}`],
    ["unanswered when the server died", `${result.unanswered}`],
    ["acknowledged", `${result.acked}`],
    ["lost", `${result.lost}`],
    ["doubled", `${result.doubled}`],
    ...cpuRows(result),
  ];
}

async function main(args: readonly string[]): Promise<number> {
  const parsed = parseArgs(args, {
    string: ["pairs", "window", "seconds", "size", "pid", "idle", "logins", "storm", "kill"],
    boolean: ["json", "help"],
    unknown: (arg, key) => {
      if (key !== undefined) throw new UsageError(`unknown option: ${arg}`);
      return true;
    },
  });
  if (parsed.help) {
    write(Deno.stdout, HELP);
    return 0;
  }
  const number = (name: string, fallback?: number): number => {
    const given = parsed[name];
    const value = given === undefined ? fallback : Number(given);
    if (value === undefined || !Number.isInteger(value) || value < 1) {
      throw new UsageError(`--${name} must be a positive whole number`);
    }
    return value;
  };
  const servers = parsed._.map((text) => {
    const [, host, port] = /^([^:]+):(\d+)$/.exec(`${text}`) ?? [];
    if (host === undefined) throw new UsageError(`not HOST:PORT: ${text}`);
    return { host, port: Number(port) };
  });
  const [server] = servers;
  if (!server) throw new UsageError("HOST:PORT is needed; see --help");
  const pids = String(parsed.pid ?? "").split(",").filter((pid) => pid !== "").map((pid) => {
    if (!/^[1-9]\d*$/.test(pid)) throw new UsageError(`not a process's number: ${pid}`);
    return Number(pid);
  });
  const print = (result: object, rows: readonly (readonly [string, string])[]) => {
    const table = () => rows.map(([name, value]) => `${name.padEnd(36)}${value.padStart(28)}\n`).join("");
    write(Deno.stdout, parsed.json ? `${JSON.stringify(result)}\n` : table());
  };

  if (parsed.idle !== undefined) {
    if (pids.length !== 1) throw new UsageError("--idle needs the server's --pid");
    const result = await idle(server, number("idle"), pids[0]!);
    print(result, idleTable(result));
    return 0;
  }
  if (parsed.logins !== undefined) {
    const by = parsed.logins;
    if (by !== "password" && by !== "token") throw new UsageError("--logins must be password or token");
    const plan = { by, window: number("window", 1), seconds: number("seconds", 10), pids } as const;
    const result = await logins(servers, plan);
    print(result, loginTable(result));
    return 0;
  }
  if (parsed.storm !== undefined) {
    if (servers.length < 2) throw new UsageError("--storm needs another server besides the one that dies");
    const kill = parsed.kill === undefined ? undefined : number("kill");
    const ready = () => void (kill ?? write(Deno.stderr, "end the first server now\n"));
    const result = await storm(servers, { clients: number("storm"), kill, ready, pids });
    print(result, stormTable(result));
    return result.back < result.clients || result.lost + result.doubled > 0 ? 1 : 0;
  }
  const result = await chat(servers, {
    pairs: number("pairs", 50),
    window: number("window", 1),
    seconds: number("seconds", 10),
    size: number("size", 100),
    pids,
  });
  print(result, chatTable(result));
  return result.lost + result.doubled + result.outOfOrder > 0 ? 1 : 0;
}

try {
  Deno.exit(await main(Deno.args));
} catch (error) {
  write(Deno.stderr, `load: ${(error as Error).message}\n`);
  Deno.exit(error instanceof UsageError ? 2 : 1);
}
