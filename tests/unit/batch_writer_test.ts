/** Background tasks and batch writers: retries, warnings and batches. */
import { assert, assertEquals } from "@std/assert";
import { Log } from "../../lib/log.ts";
import { BackgroundTask } from "../../lib/server/scheduling/background_task.ts";
import { type BatchEntry, BatchWriter } from "../../lib/server/scheduling/batch_writer.ts";
import { pause, until } from "../harness/wait.ts";

const quiet = new Log("error", "text", () => {});

/** Returns a log, and the level and event of each line in it. */
function recordingLog(): { log: Log; events: string[] } {
  const events: string[] = [];
  const log = new Log("info", "json", (line) => {
    const { level, event } = JSON.parse(line);
    events.push(`${level} ${event}`);
  });
  return { log, events };
}

interface Setup {
  readonly log?: Log;
  readonly delayMs?: number;
  readonly flushThreshold?: number;
}

function newWriter(
  write: (entries: readonly BatchEntry[]) => Promise<void>,
  { log = quiet, delayMs = 0, flushThreshold = Infinity }: Setup = {},
): BatchWriter {
  return new BatchWriter({
    name: "storing entries",
    log,
    write,
    delayMs,
    flushThreshold,
    maxPending: 10_000,
  });
}

Deno.test("batch writer: writes at most 1,000 entries per call, in the order in which they were added", async () => {
  const writes: (readonly BatchEntry[])[] = [];
  const writer = newWriter((entries) => Promise.resolve(void writes.push(entries)));
  for (let user = 1; user <= 2_001; user++) writer.put(user, 0, 1);
  await writer.flush();
  assertEquals(writes.map(({ length }) => length), [1_000, 1_000, 1]);
  assertEquals(writes.flat().map(({ user }) => user), Array.from({ length: 2_001 }, (_, at) => at + 1));
});

Deno.test("batch writer: retries after a second, with one warning when writes begin to fail", async () => {
  const { log, events } = recordingLog();
  const times: number[] = [];
  const writer = newWriter(() => {
    times.push(performance.now());
    return times.length < 3 ? Promise.reject(new Error("refused")) : Promise.resolve();
  }, { log });
  writer.put(1, 0, 1);
  await until(() => times.length === 1, "the first write");
  await pause(0);
  writer.put(2, 0, 1); // does not hasten the retry
  await until(() => times.length === 3, "the third write");
  await until(() => events.length > 1, "the second event");
  await writer.flush();
  assert(times[1]! - times[0]! > 900 && times[2]! - times[1]! > 900, times.join());
  assertEquals(events, [
    "warn storing entries failed and is retried",
    "info storing entries succeeded after a retry",
  ]);
});

Deno.test("batch writer: writes without delay when the flush threshold is reached", async () => {
  const writes: number[] = [];
  const writer = newWriter(
    (entries) => Promise.resolve(void writes.push(entries.length)),
    { delayMs: 60_000, flushThreshold: 3 },
  );
  for (const user of [1, 2]) writer.put(user, 0, 1);
  await pause(10);
  assertEquals(writes, []);
  writer.put(3, 0, 1);
  await until(() => writes.length === 1, "the write");
  assertEquals(writes, [3]);
});

Deno.test("background task: a run that is scheduled for later does not start early when a run ends", async () => {
  let runs = 0;
  const gate = Promise.withResolvers<void>();
  const task = new BackgroundTask("testing", () => {
    runs++;
    return gate.promise;
  }, quiet);
  task.schedule();
  task.schedule(200);
  gate.resolve();
  await pause(50);
  assertEquals(runs, 1);
  await until(() => runs === 2, "the scheduled run");
  await task.stop();
});

Deno.test("background task: a run that is due while another is in progress follows it", async () => {
  let runs = 0;
  const gate = Promise.withResolvers<void>();
  const task = new BackgroundTask("testing", () => {
    runs++;
    return gate.promise;
  }, quiet);
  task.schedule();
  task.schedule();
  task.schedule();
  assertEquals(runs, 1);
  gate.resolve();
  await until(() => runs === 2, "the second run");
  await task.finished();
  await pause(10);
  assertEquals(runs, 2);
  await task.stop();
});
