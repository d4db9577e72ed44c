/** The server's command line, as a process: help, version, faults, and options under their former names. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { VERSION } from "../../lib/version.ts";
import { runProgram } from "../harness/program.ts";
import { withServer } from "../harness/server.ts";

Deno.test("command line: --help and --help=all print lines of at most 80 columns", async () => {
  const [common, all] = await Promise.all(
    ["--help", "--help=all"].map((arg) => runProgram("main.ts", [arg])),
  );
  for (const { code, stdout, stderr } of [common!, all!]) {
    assertEquals([code, stderr], [0, ""]);
    assertStringIncludes(stdout, "main.ts restore --from COPY");
    assertEquals(stdout.split("\n").filter((line) => line.length > 80), []);
  }
  assertEquals([common!, all!].map(({ stdout }) => stdout.includes("--argon2-memory")), [false, true]);
});

Deno.test("command line: --version prints the version, and a fault ends with exit code 2", async () => {
  const { code, stdout } = await runProgram("main.ts", ["--version"]);
  assertEquals([code, stdout], [0, `${VERSION}\n`]);
  const fault = await runProgram("main.ts", ["--login-within", "1s", "--login-timeout", "1s"]);
  assertEquals([fault.code, fault.stdout], [2, ""]);
  assertStringIncludes(fault.stderr, "--login-within is the former name of --login-timeout");
});

Deno.test("command line: a server with an option's former name logs the new name", async () => {
  await withServer({ args: ["--max-pending", "12"] }, (server) => {
    assert(/warn.*an option has a new name.*--max-pending.*--max-in-flight/.test(server.log()), server.log());
    return Promise.resolve();
  });
});
