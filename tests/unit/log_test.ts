import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { describeError, type Level, Log, LogThrottle } from "../../lib/log.ts";

function lines(level: Level, format: "text" | "json", write: (log: Log) => void): string[] {
  const written: string[] = [];
  write(new Log(level, format, (line) => written.push(line)));
  return written;
}

Deno.test("log: writes only events of its level and above", () => {
  const written = lines("warn", "json", (log) => {
    log.debug("a");
    log.info("b");
    log.warn("c");
    log.error("d");
  });
  assertEquals(written.map((line) => JSON.parse(line).event), ["c", "d"]);
});

Deno.test("log: writes one JSON object per line, whatever the fields contain", () => {
  const [line] = lines(
    "info",
    "json",
    (log) => log.info("x", { error: 'a "b"\nc', count: 2, none: undefined }),
  );
  const { time, ...rest } = JSON.parse(line!);
  assertEquals(rest, { level: "info", event: "x", error: 'a "b"\nc', count: 2 });
  assertEquals(new Date(time).toISOString(), time);
  assertEquals(line!.indexOf("\n"), line!.length - 1);
});

Deno.test("log: writes one line per event as text", () => {
  const [line] = lines("info", "text", (log) => log.info("listening", { host: "127.0.0.1", error: "a\nb" }));
  assertEquals(line!.slice(8), ' info  listening host=127.0.0.1 error="a\\nb"\n');
});

Deno.test("log: escapes characters that a terminal obeys or does not show, in both formats", () => {
  const name = "\u202eevil\u2028\u009b31m\u007f\u200b\ufe0f\u061c\u{e0041}\ue000 é李😀";
  const escaped = "\\u202eevil\\u2028\\u009b31m\\u007f\\u200b\\ufe0f\\u061c\\udb40\\udc41\\ue000 é李😀";
  const [text] = lines("info", "text", (log) => log.info("x", { name }));
  assertEquals(text!.slice(8), ` info  x name="${escaped}"\n`);
  const [json] = lines("info", "json", (log) => log.info("x", { name }));
  assertStringIncludes(json!, `"${escaped}"`);
  assertEquals(JSON.parse(json!).name, name);
  // The event itself may be an error's message.
  const [event] = lines("info", "text", (log) => log.error("can't\n\u001b[2J"));
  assertEquals(event!.slice(8), " error can't\\u000a\\u001b[2J\n");
});

Deno.test("log: writes an error with its causes", () => {
  assertEquals(
    describeError(new Error("outer", { cause: new Error("inner", { cause: "root" }) })),
    "outer: inner: root",
  );
});

Deno.test("log throttle: writes a repeated line once a second, with its count", () => {
  const seldom = new LogThrottle();
  const said: number[] = [];
  const began = performance.now();
  let times = 0;
  for (; performance.now() - began < 1_100; times++) seldom.log((count) => said.push(count));
  assertEquals(said[0], 1);
  assertEquals(said.length, 2);
  assert(said[1]! > 1 && said[1]! < times);
});
