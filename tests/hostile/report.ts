/** What is printed of a run, and whether the server has stood it. */
import type { Latency } from "../load/latency.ts";
import type { Result } from "./run.ts";

/** What the server must keep; 0 is not judged. */
export interface Bounds {
  /** How many times slower, in 99 of 100 messages, the honest may be served. */
  readonly ratio: number;
  /** MiB of the server's memory at the most. */
  readonly rss: number;
}

const MEBIBYTE = 1_048_576;
const KINDS_OF_TIME = ["ack", "delivery", "own"] as const;
const PARTS = ["p50", "p95", "p99", "max"] as const;
const NAMES = { ack: "ack", delivery: "delivery", own: "late here" };

/** What the server has not kept, in words; nothing if all is well. */
export function failures(result: Result, bounds: Bounds): string[] {
  const found: string[] = [];
  const { balance, memory } = result;
  for (const count of ["lost", "doubled", "refused", "unanswered", "cutOff"] as const) {
    if (balance[count] > 0) {
      found.push(
        `honest ${count === "cutOff" ? "connections cut off" : `messages ${count}`}: ${balance[count]}`,
      );
    }
  }
  for (const kind of ["ack", "delivery"] as const) {
    const ratio = result.attacked[kind].p99 / result.alone[kind].p99;
    if (bounds.ratio > 0 && !(ratio <= bounds.ratio)) {
      found.push(`${kind} p99 is ${ratio.toFixed(1)} times that without the attack, over ${bounds.ratio}`);
    }
  }
  const peak = memory.peak / MEBIBYTE;
  if (bounds.rss > 0 && peak > bounds.rss) {
    found.push(`the server held ${peak.toFixed(0)} MiB, over ${bounds.rss}`);
  }
  return found;
}

/** The result as tables. */
export function report(result: Result): string {
  return [times(result), costs(result), counts(result), memory(result), achieved(result)].map(table).join(
    "\n",
  );
}

type Row = readonly (string | number)[];

function times({ alone, attacked }: Result): Row[] {
  const row = (kind: keyof typeof NAMES, part: keyof Latency): Row => {
    const [before, during] = [alone[kind][part], attacked[kind][part]];
    return [`${NAMES[kind]} ${part}`, before.toFixed(1), during.toFixed(1), (during / before).toFixed(1)];
  };
  return [
    ["honest messages, ms", "alone", "attacked", "ratio"],
    ...KINDS_OF_TIME.flatMap((kind) => PARTS.map((part) => row(kind, part))),
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
  const { sent, lost, doubled, refused, unanswered, cutOff } = balance;
  return [
    ["honest messages", "sent", "lost", "doubled", "refused", "unanswered", "cut off"],
    ["", sent, lost, doubled, refused, unanswered, cutOff],
  ];
}

function memory({ memory: { before, peak, after } }: Result): Row[] {
  const mebibytes = [before, peak, after].map((bytes) => (bytes / MEBIBYTE).toFixed(0));
  return [["server's memory, MiB", "before", "peak", "after"], ["", ...mebibytes]];
}

function achieved({ squads }: Result): Row[] {
  return [
    ["hostile kind", "each", "made", "not made", "closed", "MB out", "MB in", "pushed", "replies by errno"],
    ...squads.map((squad) => [
      squad.kind,
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

/** The first column is aligned left, the others right, and each is as wide as its widest cell. */
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
