/** The measurements as a Markdown table. */
import type { Balance } from "../load/delivery_check.ts";
import type { IdleResult } from "../load/idle.ts";
import type { StormResult } from "../load/storm.ts";
import type { Measurement, Percentiles } from "./measure.ts";
import type { Spread } from "./statistics.ts";

const BYTES_PER_KIB = 1_024;
const MS_PER_SECOND = 1_000;
const PERCENT = 100;

const COLUMNS = [
  "scenario",
  "per second",
  "refused per second",
  "CPU s per million",
  "by process",
  "load program's",
  "ack p50 / p99, ms",
  "delivery p50 / p99, ms",
  "lost, duplicated, out of order",
];

/** Returns a table with one row for each measurement. */
export function table(measurements: readonly Measurement[]): string {
  const rows = measurements.map((measured) => [
    measured.title,
    `${range(measured.rate)} ${measured.unit}`,
    measured.refused ? figure(measured.refused.median) : "",
    range(measured.cpu),
    measured.cpuOf.length > 1
      ? measured.cpuOf.map(([name, value]) => `${name} ${figure(value)}`).join(", ")
      : "",
    range(measured.ownCpu),
    percentiles(measured.ack),
    percentiles(measured.delivery),
    faults(measured.balance),
  ]);
  return [COLUMNS, COLUMNS.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |\n`).join("");
}

/** Returns the number of messages that were lost, duplicated or out of order. */
export function wrong({ lost, duplicated, outOfOrder }: Balance): number {
  return lost + duplicated + outOfOrder;
}

/** Returns the sentences about the memory of idle connections on the setup with this title. */
export function idleLine(setup: string, { connections, after }: IdleResult): string {
  const memory = after.map(({ seconds, perConnection }) =>
    `${figure(perConnection / BYTES_PER_KIB)} KiB after ${seconds} s`
  );
  return `${setup}: ${figure(connections)} users log in at once, and are idle from then on. ` +
    `Each takes so much of the server's memory: ${memory.join(", ")}.\n`;
}

/** Returns the sentence about the reconnects after a node was killed. */
export function stormLine({ clients, back, backAfter, lost, duplicated }: StormResult): string {
  const after = (milliseconds: number) => `${figure(milliseconds / MS_PER_SECOND)} s`;
  return `Of two nodes one is killed, which ${figure(clients)} clients are logged in on: ${
    figure(back)
  } are back on the ` +
    `other by token, half of them after ${after(backAfter.p50)}, the last after ${
      after(backAfter.max)
    }, with ` +
    `${lost} messages lost and ${duplicated} duplicated.\n`;
}

/** Formats the median, with the range in brackets. */
function range(values: Spread | undefined): string {
  if (values === undefined) return "";
  const { median, least, most } = values;
  return `${figure(median)} (${figure(least)} to ${figure(most)})`;
}

/** Formats the medians of two percentiles. */
function percentiles(times: Percentiles | undefined): string {
  return times ? `${figure(times.p50)} / ${figure(times.p99)}` : "";
}

/** Formats what went wrong, or 0. */
function faults(balance: Balance): string {
  if (wrong(balance) === 0) return "0";
  const { delivered, lost, duplicated, outOfOrder } = balance;
  const part = Math.round(PERCENT * lost / (delivered + lost));
  return `${count(lost)} (${part} %), ${count(duplicated)}, ${count(outOfOrder)}`;
}

function count(value: number): string {
  return value.toLocaleString("en-US");
}

/** Formats a number with three significant digits, or as a whole number if it has more; NaN as "none". */
function figure(value: number): string {
  if (Number.isNaN(value)) return "none";
  const digits = value >= 100 || value === 0 ? 0 : value >= 10 ? 1 : 2;
  return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
