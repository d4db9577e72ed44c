import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { ConfigError, defaults, help, optionsTable, parseCommand } from "../lib/config/config.ts";
import { type Config, flagOf, options, variableOf } from "../lib/config/options.ts";

function configured(args: string[], env: Record<string, string> = {}): Config {
  const command = parseCommand(args, (name) => env[name]);
  assert("run" in command, "expected a configuration to run with");
  return command.run;
}

function refused(args: string[], env: Record<string, string> = {}): string {
  const { message } = assertThrows(() => parseCommand(args, (name) => env[name]), ConfigError);
  assert(!message.includes("\n"), "one line");
  return message;
}

Deno.test("config: nothing said gives the defaults, and each default is a value that could be said", () => {
  assertEquals(configured([]), defaults());
  for (const [name, option] of Object.entries(options)) {
    assertEquals(option.parse(option.format(option.default as never)), option.default, name);
  }
});

Deno.test("config: a port, and a host with a port, as the C++ servers took them", () => {
  assertEquals(configured(["6001"]).port, 6001);
  const { host, port } = configured(["127.0.0.1", "6001"]);
  assertEquals([host, port], ["127.0.0.1", 6001]);
});

Deno.test("config: flags beat arguments, arguments beat the environment, and that beats the defaults", () => {
  const env = { CHAT_PORT: "1", CHAT_LOGIN_WITHIN: "5s" };
  assertEquals(configured([], env).port, 1);
  assertEquals(configured(["2"], env).port, 2);
  assertEquals(configured(["2", "--port", "3"], env).port, 3);
  assertEquals(configured(["--login-within=500ms"], env).loginWithin, 500);
  assertEquals(configured([], env).loginWithin, 5_000);
});

Deno.test("config: what is so or not can be said without a value, before an argument too", () => {
  const mysql = ["--mysql", "mysql://ann@host/chat"];
  assertEquals(configured([...mysql], {}).singleWriter, "no");
  const bare = configured(["--single-writer", "7000", ...mysql], {});
  assertEquals([bare.singleWriter, bare.port], ["yes", 7000]);
  assertEquals(
    configured(["--single-writer=no", ...mysql], { CHAT_SINGLE_WRITER: "yes" }).singleWriter,
    "no",
  );
});

Deno.test("config: numbers are taken at their bounds and refused beyond them", () => {
  assertEquals(configured(["--port", "0"]).port, 0);
  assertEquals(configured(["--port", "65535"]).port, 65_535);
  assertStringIncludes(refused(["--port", "65536"]), "--port must be a whole number from 0 to 65535");
  assertEquals(configured(["--max-frame", "524288"]).maxFrame, 524_288);
  refused(["--max-frame", "524289"]);
  refused(["--max-frame", "1023"]);
  for (const port of ["", "x", "1.5", "-1", "1e3"]) refused([`--port=${port}`]);
});

Deno.test("config: times have units, plain numbers are seconds, and bounds hold", () => {
  const times = {
    "250ms": 250,
    "30s": 30_000,
    "1.5": 1_500,
    "2m": 120_000,
    "1h": 3_600_000,
    "1d": 86_400_000,
  };
  for (const [text, ms] of Object.entries(times)) {
    assertEquals(configured(["--ping-after", text]).pingAfter, ms);
  }
  assertEquals(configured(["--ping-after", "100ms"]).pingAfter, 100);
  assertEquals(configured(["--ping-after", "1d"]).pingAfter, 86_400_000);
  assertEquals(configured(["--token-ttl", "365d"]).tokenTtl, 365 * 86_400_000);
  refused(["--token-ttl", "366d"]);
  assertEquals(["0", "512"].map((bytes) => configured(["--classic-bytes", bytes]).classicBytes), [0, 512]);
  refused(["--classic-bytes", "511"]);
  for (const text of ["99ms", "25h", "5 s", "s", "-1s", "1y"]) refused([`--ping-after=${text}`]);
});

Deno.test("config: a switch stands alone, takes no argument after it, and a variable says yes or no", () => {
  const { acceptPlainPasswords, port } = configured(["--accept-plain-passwords", "6001"]);
  assertEquals([acceptPlainPasswords, port], ["yes", 6001]);
  assertEquals(configured([]).acceptPlainPasswords, "no");
  const env = (value: string) => ({ CHAT_ACCEPT_PLAIN_PASSWORDS: value });
  assertEquals(["yes", "no"].map((value) => configured([], env(value)).acceptPlainPasswords), ["yes", "no"]);
  assertStringIncludes(refused([], env("")), "CHAT_ACCEPT_PLAIN_PASSWORDS must be one of yes, no");
});

Deno.test("config: what is unknown, too much or empty is one clear line", () => {
  assertEquals(refused(["--nonsense=1"]), "unknown option --nonsense; --help lists them");
  assertStringIncludes(refused(["a", "b", "c"]), "too many arguments");
  assertStringIncludes(refused(["--db", ""]), "--db must not be empty");
  assertStringIncludes(refused([], { CHAT_LOG_LEVEL: "loud" }), "CHAT_LOG_LEVEL must be one of debug, info");
});

Deno.test("config: an empty environment variable is a value like any other, and one line where it is none", () => {
  for (const [name, option] of Object.entries(options)) {
    const variable = variableOf(name);
    let value: unknown;
    try {
      value = option.parse("");
    } catch {
      assertStringIncludes(refused([], { [variable]: "" }), `${variable} must`);
      continue;
    }
    assertEquals(configured([], { [variable]: "" })[name as keyof Config], value, variable);
  }
  assertStringIncludes(refused([], { CHAT_DB: "" }), "CHAT_DB must not be empty");
  assertStringIncludes(refused([], { CHAT_PORT: "" }), "CHAT_PORT must be a whole number");
});

Deno.test("config: a variable that the command line overrides may hold anything", () => {
  const env = { CHAT_PORT: "tcp://10.0.0.1:6000" };
  assertEquals(configured(["6001"], env).port, 6001);
  assertEquals(configured(["--port", "6001"], env).port, 6001);
  assertStringIncludes(refused([], env), "CHAT_PORT must be a whole number");
});

Deno.test("config: help, version and the table name every option", () => {
  assertEquals(parseCommand(["--help"], () => undefined), { help: true });
  assertEquals(parseCommand(["-h"], () => undefined), { help: true });
  assertEquals(parseCommand(["--version"], () => undefined), { version: true });
  for (const name of Object.keys(options)) {
    assertStringIncludes(help(), `--${flagOf(name)} `);
    assertStringIncludes(optionsTable(), `\`${variableOf(name)}\``);
  }
});
