import { assert, assertEquals } from "@std/assert";
import { describe, type Level, Log, Seldom } from "../lib/log.ts";

function lines(level: Level, format: "text" | "json", write: (log: Log) => void): string[] {
  const written: string[] = [];
  write(new Log(level, format, (line) => written.push(line)));
  return written;
}

Deno.test("log: only events of the level and above", () => {
  const written = lines("warn", "json", (log) => {
    log.debug("a");
    log.info("b");
    log.warn("c");
    log.error("d");
  });
  assertEquals(written.map((line) => JSON.parse(line).event), ["c", "d"]);
});

Deno.test("log: one JSON object a line, whatever is in it", () => {
  const [line] = lines(
    "info",
    "json",
    (log) => log.info("x", { why: 'a "b"\nc', count: 2, none: undefined }),
  );
  const { time, ...rest } = JSON.parse(line!);
  assertEquals(rest, { level: "info", event: "x", why: 'a "b"\nc', count: 2 });
  assertEquals(new Date(time).toISOString(), time);
  assertEquals(line!.indexOf("\n"), line!.length - 1);
});

Deno.test("log: text for people stays on one line too", () => {
  const [line] = lines("info", "text", (log) => log.info("listening", { host: "127.0.0.1", why: "a\nb" }));
  assertEquals(line!.slice(8), ' info  listening host=127.0.0.1 why="a\\nb"\n');
});

Deno.test("log: an error is told with its causes", () => {
  assertEquals(
    describe(new Error("outer", { cause: new Error("inner", { cause: "root" }) })),
    "outer: inner: root",
  );
});

Deno.test("log: what happens again and again is said once a second, with how often", () => {
  const seldom = new Seldom();
  const said: number[] = [];
  const began = performance.now();
  let times = 0;
  for (; performance.now() - began < 1_100; times++) seldom.say((count) => said.push(count));
  assertEquals(said[0], 1);
  assertEquals(said.length, 2);
  assert(said[1]! > 1 && said[1]! < times);
});
