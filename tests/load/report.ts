/** The rows that the load program prints: a name and a value each. */
import type { AbsentResult } from "./offline_messages.ts";
import type { ChatResult } from "./chat.ts";
import type { Costs } from "./cpu.ts";
import type { GroupResult } from "./group.ts";
import type { IdleResult } from "./idle.ts";
import type { Balance } from "./delivery_check.ts";
import type { Latency } from "./latency.ts";
import type { LoginResult } from "./logins.ts";
import type { StormResult } from "./storm.ts";

/** A line of a table. */
export type Row = readonly [name: string, value: string];

/** The counts of messages. In the classic dialect there are no replies. */
type Counts = Balance & Pick<ChatResult, "sent" | "acked" | "refused">;

const NAME_WIDTH = 46; // characters; the longest name is that of a percentile's row
const VALUE_WIDTH = 30; // characters; four times of up to a minute each

/** Formats rows as text. */
export function table(rows: readonly Row[]): string {
  return rows.map(([name, value]) => `${name.padEnd(NAME_WIDTH)}${value.padStart(VALUE_WIDTH)}\n`).join("");
}

/** Returns the rows of a run with pairs. */
export function chatRows(result: ChatResult): readonly Row[] {
  return [
    ...countRows(result),
    ["messages/s", result.messagesPerSecond.toFixed(0)],
    ...timeRows("ack", result.ackLatency),
    timeRow("delivery", result.deliveryLatency),
    ...timeRows("send delay", result.lateness),
    ...costRows(result),
  ];
}

/** Returns the rows of a run with a group. */
export function groupRows(result: GroupResult): readonly Row[] {
  return [
    ["members", `${result.members}`],
    ["members who send", `${result.senders}`],
    ...countRows(result),
    ["messages/s", result.messagesPerSecond.toFixed(0)],
    ["deliveries/s", result.deliveriesPerSecond.toFixed(0)],
    timeRow("ack", result.ackLatency),
    timeRow("delivery", result.deliveryLatency),
    ...timeRows("send delay", result.lateness),
    ...costRows(result, "million deliveries"),
  ];
}

/** Returns the rows of a run with offline recipients. */
export function absentRows({ store, drain, ...counts }: AbsentResult): readonly Row[] {
  return [
    ...countRows(counts),
    ["stored messages/s", store.messagesPerSecond.toFixed(0)],
    timeRow("ack", store.ackLatency),
    ...costRows(store, "million stored"),
    ["fetching took, s", drain.seconds.toFixed(1)],
    ["fetched messages/s", drain.messagesPerSecond.toFixed(0)],
    ...costRows(drain, "million fetched"),
  ];
}

/** Returns the rows of a run of logins. */
export function loginRows(result: LoginResult): readonly Row[] {
  return [
    ["logins", `${result.logins}`],
    ["logins/s", result.loginsPerSecond.toFixed(0)],
    timeRow("login", result.latency),
    ...costRows(result),
  ];
}

/** Returns the rows of a run with idle connections. */
export function idleRows(result: IdleResult): readonly Row[] {
  return [
    ["connections", `${result.connections}`],
    ["server's memory before, MiB", mebibytes(result.before)],
    ...result.after.flatMap(({ seconds, bytes, perConnection }): readonly Row[] => [
      [`server's memory ${seconds} s after the logins, MiB`, mebibytes(bytes)],
      ["per connection, KiB", (perConnection / 1_024).toFixed(2)],
    ]),
  ];
}

/** Returns the rows of a reconnect storm. */
export function stormRows(result: StormResult): readonly Row[] {
  return [
    ["clients", `${result.clients}`],
    ["reconnected", `${result.back}`],
    timeRow("reconnected after", result.backAfter),
    timeRow("login", result.loginLatency),
    ...Object.entries(result.failures).map(([reason, count]): Row => [`failed: ${reason}`, `${count}`]),
    ["messages sent", `${result.sent}`],
    ["unanswered when the server died", `${result.unanswered}`],
    ["acknowledged", `${result.acked}`],
    ["lost", `${result.lost}`],
    ["duplicated", `${result.duplicated}`],
    ...costRows(result),
  ];
}

function countRows(counts: Counts): readonly Row[] {
  const replies: Row[] = counts.acked === undefined
    ? []
    : [["acknowledged", `${counts.acked}`], ["refused", `${counts.refused}`]];
  return [
    ["sent", `${counts.sent}`],
    ...replies,
    ["delivered", `${counts.delivered}`],
    ["lost", `${counts.lost}`],
    ["duplicated", `${counts.duplicated}`],
    ["out of order", `${counts.outOfOrder}`],
  ];
}

function timeRow(what: string, { p50, p95, p99, max }: Latency): Row {
  const values = [p50, p95, p99, max].map((value) => value.toFixed(1));
  return [`${what} ms, p50 / p95 / p99 / max`, values.join(" / ")];
}

function timeRows(what: string, times: Latency | undefined): readonly Row[] {
  return times === undefined ? [] : [timeRow(what, times)];
}

function costRows({ cpu, ownCpu }: Costs, unit = "million"): readonly Row[] {
  const each = cpu.map(({ name, pid, perMillion }) => [`${name} ${pid}`, perMillion] as const);
  const all = cpu.reduce((sum, { perMillion }) => sum + perMillion, 0);
  return [
    ...[...each, ...(cpu.length > 1 ? [["all of these", all] as const] : []), ["own", ownCpu] as const]
      .map(([who, value]): Row => [`CPU s per ${unit}, ${who}`, value.toFixed(1)]),
    ...cpu.map(({ name, pid, resident }): Row => [`memory, MiB, ${name} ${pid}`, mebibytes(resident)]),
  ];
}

function mebibytes(bytes: number): string {
  return (bytes / 1_048_576).toFixed(1);
}
