/**
 * The attack program: every attack type works, and the baseline loses nothing. Latencies are not checked
 * here.
 */
import { assert, assertEquals } from "@std/assert";
import { attackTypes } from "./attack_types.ts";
import type { Result } from "./run.ts";
import { ROOT } from "../harness/program.ts";
import { serverTest } from "../harness/server.ts";

const EACH = 2; // connections of each attack type

serverTest("hostile: serves the baseline pairs during all attack types", {}, async ({ host, port, pid }) => {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "tests/hostile/main.ts", `${host}:${port}`, "--pid", `${pid}`, "--json"],
      ...["--connections", `${EACH * attackTypes.length}`, "--pairs", "5"],
      ...["--seconds", "2", "--alone", "1", "--settle", "1", "--ratio", "0", "--rss", "0"],
    ],
    cwd: ROOT,
  }).output();
  const decoder = new TextDecoder();
  assertEquals([code, decoder.decode(stderr)], [0, ""]);
  const { balance, squads } = JSON.parse(decoder.decode(stdout)) as Result;
  assert(balance.sent > 0);
  assertEquals(balance, {
    sent: balance.sent,
    lost: 0,
    duplicated: 0,
    refused: 0,
    unanswered: 0,
    disconnected: 0,
  });
  assertEquals(squads.map(({ attackType }) => attackType), attackTypes.map(({ name }) => name));
  for (const [at, { connections, connected, replies }] of squads.entries()) {
    const { name, isAuthenticated } = attackTypes[at]!;
    assertEquals(connections, EACH);
    assert(connected > 0, `${name} has connected`);
    if (isAuthenticated) assert(replies["0"]! > 0, `${name} has logged in`);
  }
});
