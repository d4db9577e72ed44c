/** The tables of a run, and the check of its limits. */
import type { Latency } from "../load/latency.ts";
import type { Result } from "./run.ts";

/** Limits of a run; 0 means that a limit is not checked. */
export interface Bounds {
  /** The largest permitted ratio of the baseline's p99 latencies during the attack and before. */
  readonly ratio: number;
  /** The largest permitted memory of the server in MiB. */
  readonly rss: number;
}

const MEBIBYTE = 1_048_576;
const LATENCIES = ["ack", "delivery", "sendDelay"] as const;
const STATISTICS = ["p50", "p95", "p99", "max"] as const;
const NAMES = { ack: "ack", delivery: "delivery", sendDelay: "send delay" };

/** Returns one line for each limit that was exceeded and each kind of lost message. */
export function failures(result: Result, bounds: Bounds): string[] {
  const found: string[] = [];
  const { balance, memory } = result;
  for (const count of ["lost", "duplicated", "refused", "unanswered", "disconnected"] as const) {
    if (balance[count] > 0) {
      found.push(
        `baseline ${count === "disconnected" ? "connections closed" : `messages ${count}`}: ${
          balance[count]
        }`,
      );
    }
  }
  for (const latency of ["ack", "delivery"] as const) {
    const ratio = result.attacked[latency].p99 / result.alone[latency].p99;
    if (bounds.ratio > 0 && !(ratio <= bounds.ratio)) {
      found.push(`${latency} p99 is ${ratio.toFixed(1)} times that without the attack, over ${bounds.ratio}`);
    }
  }
  const peak = memory.peak / MEBIBYTE;
  if (bounds.rss > 0 && peak > bounds.rss) {
    found.push(`the server used ${peak.toFixed(0)} MiB, over ${bounds.rss}`);
  }
  return found;
}

/** Returns the result as text tables. */
export function report(result: Result): string {
  return [times(result), costs(result), counts(result), memory(result), achieved(result)].map(table).join(
    "\n",
  );
}

type Row = readonly (string | number)[];

function times({ alone, attacked }: Result): Row[] {
  const row = (latency: keyof typeof NAMES, part: keyof Latency): Row => {
    const [before, during] = [alone[latency][part], attacked[latency][part]];
    return [`${NAMES[latency]} ${part}`, before.toFixed(1), during.toFixed(1), (during / before).toFixed(1)];
  };
  return [
    ["baseline messages, ms", "alone", "attacked", "ratio"],
    ...LATENCIES.flatMap((latency) => STATISTICS.map((part) => row(latency, part))),
  ];
}

function costs({ alone, attacked }: Result): Row[] {
  return [
    ["CPU, % of a core", "alone", "attacked"],
    ...Object.keys(alone.cpu).map((name) => [
      name,
      alone.cpu[name]!.toFixed(0),
      attacked.cpu[name]!.toFixed(0),
    ]),
  ];
}

function counts({ balance }: Result): Row[] {
  const { sent, lost, duplicated, refused, unanswered, disconnected } = balance;
  return [
    ["baseline messages", "sent", "lost", "duplicated", "refused", "unanswered", "disconnected"],
    ["", sent, lost, duplicated, refused, unanswered, disconnected],
  ];
}

function memory({ memory: { before, peak, after } }: Result): Row[] {
  const mebibytes = [before, peak, after].map((bytes) => (bytes / MEBIBYTE).toFixed(0));
  return [["server's memory, MiB", "before", "peak", "after"], ["", ...mebibytes]];
}

function achieved({ squads }: Result): Row[] {
  return [
    [
      "attack type",
      "connections",
      "opened",
      "not opened",
      "closed",
      "MB out",
      "MB in",
      "pushed",
      "replies by errno",
    ],
    ...squads.map((squad) => [
      squad.attackType,
      squad.connections,
      squad.connected,
      squad.unconnected,
      squad.closed,
      (squad.sentBytes / 1e6).toFixed(1),
      (squad.receivedBytes / 1e6).toFixed(1),
      squad.pushed,
      Object.entries(squad.replies).map(([errno, count]) => `${errno}: ${count}`).join(", "),
    ]),
  ];
}

/** Formats rows as columns. The first column is aligned left, the others right. */
function table(rows: readonly Row[]): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [at, cell] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, `${cell}`.length);
  }
  const line = (row: Row) =>
    row.map((cell, at) => at === 0 ? `${cell}`.padEnd(widths[at]!) : `${cell}`.padStart(widths[at]!)).join(
      "  ",
    );
  return rows.map((row) => `${line(row).trimEnd()}\n`).join("");
}
