/** The measurements as a Markdown table. */
import type { StormResult } from "../load/storm.ts";
import type { Measurement } from "./measure.ts";
import type { Spread } from "./statistics.ts";

const BYTES_PER_KIB = 1_024;
const MS_PER_SECOND = 1_000;

const COLUMNS = [
  "scenario",
  "per second",
  "CPU s per million",
  "by process",
  "load program's",
  "ack p50, ms",
  "ack p99, ms",
  "delivery p99, ms",
  "lost, duplicated, out of order",
];

/** Returns a table with one row for each measurement. */
export function table(measurements: readonly Measurement[]): string {
  const rows = measurements.map((measured) => [
    measured.title,
    `${range(measured.rate)} ${measured.unit}`,
    range(measured.cpu),
    measured.cpuOf.length > 1
      ? measured.cpuOf.map(([name, value]) => `${name} ${figure(value)}`).join(", ")
      : "",
    range(measured.ownCpu),
    range(measured.ackP50),
    range(measured.ackP99),
    range(measured.deliveryP99),
    `${measured.wrong}`,
  ]);
  return [COLUMNS, COLUMNS.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |\n`).join("");
}

/** Returns the sentence about the memory of idle connections. */
export function idleLine(connections: number, bytesEach: number): string {
  const kibibytes = figure(bytesEach / BYTES_PER_KIB);
  return `${
    figure(connections)
  } idle connections on an embedded server take ${kibibytes} KiB of its memory each.\n`;
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

/** Formats a number with three significant digits, or as a whole number if it has more. */
function figure(value: number): string {
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
