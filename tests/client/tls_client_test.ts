/** The command-line client with TLS: trusted certificates, and errors about others. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { ClientProcess } from "../harness/client_process.ts";
import { runClient } from "../harness/program.ts";
import { type Server, startServer } from "../harness/server.ts";
import { Authority, tlsArgs } from "../harness/tls.ts";

const HOST = "127.0.0.1";
const env = { CHAT_PASSWORD: "correct horse" };

let authority: Authority;

Deno.test.beforeAll(async () => {
  authority = await Authority.make();
});

Deno.test.afterAll(async () => {
  await authority[Symbol.asyncDispose]();
});

Deno.test("client TLS: connects with --ca, and reconnects after a server restart", async () => {
  await using server = await startServer({ args: tlsArgs(await authority.issue(HOST)) });
  const args = [HOST, `${server.port}`, "--ca", authority.caFile, "--register"];
  await using bob = new ClientProcess([...args, "--user", "bob", "--follow", "--json"], { env });
  await bob.until(({ lines }) => lines.length > 1, "the answers to his registration and login");
  await server.restart();
  const stdin = "chat:1:hello over TLS\n";
  const alice = await runClient([...args, "--user", "alice", "--wait", "30"], { env, stdin });
  assertEquals([alice.code, alice.stderr], [0, ""]);
  await bob.until(({ stdout }) => stdout.includes("hello over TLS"), "the message");
});

Deno.test("client TLS: reports an invalid certificate or a fault of TLS in one line", async () => {
  await using server = await startServer({ args: tlsArgs(await authority.issue(HOST)) });
  await using elsewhere = await startServer({ args: tlsArgs(await authority.issue("chat.example.org")) });
  await using plain = await startServer();
  const wrong: readonly (readonly [Server, readonly string[], number, string])[] = [
    [server, ["--tls"], 1, "no known authority issued the server's certificate; --ca names"],
    [elsewhere, ["--ca", authority.caFile], 1, `not valid for name "${HOST}"`],
    [plain, ["--tls"], 1, "does not speak TLS"],
    [server, [], 1, "the server closed the connection"],
    [server, ["--ca", `${authority.caFile}.not`], 2, "--ca: No such file"],
    [server, ["--ca", "deno.json"], 2, "--ca: deno.json contains no certificate"],
  ];
  await Promise.all(wrong.map(async ([{ port }, args, code, words]) => {
    const outcome = await runClient([HOST, `${port}`, ...args, "--user", "carol", "--register"], { env });
    assertEquals([outcome.code, outcome.stderr.trim().split("\n").length], [code, 1], outcome.stderr);
    assertStringIncludes(outcome.stderr, words);
  }));
});
