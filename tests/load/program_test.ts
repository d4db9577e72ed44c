/** The load program: its counts, its output and its command line. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { ROOT } from "../harness/program.ts";
import { type Server, sharedServer } from "../harness/server.ts";
import type { AbsentResult } from "./offline_messages.ts";
import type { ChatResult } from "./chat.ts";
import type { GroupResult } from "./group.ts";
import { checkDelivery } from "./delivery_check.ts";
import { latency } from "./latency.ts";

const USAGE = 2; // the exit code for an invalid command line

async function load(...args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "tests/load/main.ts", ...args],
    cwd: ROOT,
  }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** Runs one second of a scenario and asserts its success. */
async function resultOf({ host, port, pid }: Server, ...work: readonly string[]): Promise<unknown> {
  const { code, stdout, stderr } = await load(
    ...[`${host}:${port}`, "--pid", `${pid}`, "--seconds", "1", "--json", ...work],
  );
  assertEquals([code, stderr], [0, ""]);
  return JSON.parse(stdout);
}

const test = sharedServer();

test("load: delivers each group message once to every other member", async (server) => {
  const result = await resultOf(server, "--group", "10", "--senders", "2") as GroupResult;
  const { sent, acked, refused, delivered, lost, duplicated, outOfOrder } = result;
  assert(sent > 0);
  assertEquals([acked, refused, delivered], [sent, 0, sent * 9]);
  assertEquals([lost, duplicated, outOfOrder], [0, 0, 0]);
  assert(result.deliveriesPerSecond > result.messagesPerSecond);
  assert(result.deliveryLatency.p50 > 0);
  assertEquals(result.lateness, undefined);
  assertEquals(result.cpu.map(({ pid }) => pid), [server.pid]);
  assert(result.cpu[0]!.resident > 0);
});

test("load: delivers everything to offline recipients at their login", async (server) => {
  const result = await resultOf(server, "--absent", "5", "--window", "4") as AbsentResult;
  const { sent, acked, refused, delivered, lost, duplicated, outOfOrder, store, drain } = result;
  assert(sent > 0);
  assertEquals([acked, refused, delivered], [sent, 0, sent]);
  assertEquals([lost, duplicated, outOfOrder], [0, 0, 0]);
  assert(store.messagesPerSecond > 0 && drain.messagesPerSecond > 0);
  assert(store.cpu[0]!.perMillion > 0 && store.ownCpu > 0);
});

test("load: sends messages at fixed times", async (server) => {
  const result = await resultOf(server, "--pairs", "3", "--rate", "100") as ChatResult;
  const { sent, acked, delivered, lost, duplicated, outOfOrder, messagesPerSecond, lateness } = result;
  assert(sent >= 200, `${sent} messages in the second before the measured part and in that`);
  assertEquals([acked, delivered], [sent, sent]);
  assertEquals([lost, duplicated, outOfOrder], [0, 0, 0]);
  assert(messagesPerSecond > 50, `${messagesPerSecond} a second`);
  assert(lateness!.p99 >= 0);
});

test("load: delivers each message in the classic dialect", async (server) => {
  const result = await resultOf(
    server,
    "--pairs",
    "2",
    "--window",
    "3",
    "--dialect",
    "classic",
  ) as ChatResult;
  const { sent, acked, delivered, lost, duplicated, outOfOrder, messagesPerSecond } = result;
  assert(sent > 2 * 3, "deliveries make room");
  assertEquals([acked, delivered], [undefined, sent]);
  assertEquals([lost, duplicated, outOfOrder], [0, 0, 0]);
  assert(messagesPerSecond > 0 && result.deliveryLatency.p50 > 0);
  assertEquals([result.ackLatency, result.lateness], [undefined, undefined]);
});

test("load: prints the same figures as a table", async ({ host, port, pid }) => {
  const { code, stdout } = await load(
    ...[`${host}:${port}`, "--pid", `${pid}`, "--seconds", "1", "--pairs", "1", "--rate", "20"],
  );
  assertEquals(code, 0);
  for (const row of ["lost", "send delay ms", "CPU s per million", "memory, MiB"]) {
    assertStringIncludes(stdout, row);
  }
});

for (
  const [what, args, says] of [
    ["no server", [], "HOST:PORT"],
    ["an unknown option", ["localhost:1", "--haste"], "--haste"],
    ["two scenarios", ["localhost:1", "--group", "5", "--pairs", "5"], "cannot be combined"],
    ["a rate and a window", ["localhost:1", "--rate", "5", "--window", "5"], "--window"],
    ["a rate of logins", ["localhost:1", "--logins", "token", "--rate", "5"], "--rate"],
    ["an unknown dialect", ["localhost:1", "--dialect", "morse"], "--dialect"],
    ["a dialect of groups", ["localhost:1", "--group", "5", "--dialect", "classic"], "--dialect"],
    ["a group of one", ["localhost:1", "--group", "1"], "two members"],
    ["more senders than members", ["localhost:1", "--group", "2", "--senders", "3"], "--senders"],
    ["not a number", ["localhost:1", "--absent", "many"], "--absent"],
  ] as const
) {
  Deno.test(`load: reports ${what} on the command line`, async () => {
    const { code, stdout, stderr } = await load(...args);
    assertEquals([code, stdout], [USAGE, ""]);
    assertStringIncludes(stderr, says);
  });
}

Deno.test("load: the check finds messages that are lost, duplicated or out of order", () => {
  const fine = { lost: 0, duplicated: 0, outOfOrder: 0 };
  assertEquals(checkDelivery([1, 2, 3], [1, 3, 2]), { ...fine, delivered: 3 });
  assertEquals(checkDelivery([2, 5], [1, 2, 3, 4, 5], new Set([1, 3, 4])), { ...fine, delivered: 2 });
  assertEquals(checkDelivery([1, 2, 2, 3], [1, 2, 3]), { ...fine, delivered: 3, duplicated: 1 });
  assertEquals(checkDelivery([1, 2], [1, 2, 3, 4]), { ...fine, delivered: 2, lost: 2 });
  assertEquals(checkDelivery([1, 3], [1, 3]), { ...fine, delivered: 2, outOfOrder: 1 });
  assertEquals(checkDelivery([2, 1], [1, 2]).outOfOrder, 2);
  assertEquals(checkDelivery([], []), { ...fine, delivered: 0 });
});

Deno.test("load: computes percentiles", () => {
  const times = Array.from({ length: 100 }, (_, at) => 100 - at);
  assertEquals(latency(times), { p50: 51, p95: 96, p99: 100, max: 100 });
});
