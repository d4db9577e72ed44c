import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { ConfigError, defaults, help, optionsTable, parseCommand } from "../../lib/config/config.ts";
import type { Environment } from "../../lib/config/environment.ts";
import { type Config, DEFAULT_DB, flagOf, options, variableOf } from "../../lib/config/options.ts";

function environment(variables: Record<string, string>): Environment {
  return { get: (name) => variables[name], names: () => Object.keys(variables) };
}

function parsed(args: string[], env: Record<string, string> = {}) {
  const command = parseCommand(args, environment(env));
  assert("run" in command, "expected a configuration to run with");
  return command;
}

function configured(args: string[], env: Record<string, string> = {}): Config {
  return parsed(args, env).run;
}

function refused(args: string[], env: Record<string, string> = {}): string {
  const { message } = assertThrows(() => parseCommand(args, environment(env)), ConfigError);
  assert(!message.includes("\n"), "one line");
  return message;
}

Deno.test("config: nothing said gives the defaults, and each default is a value that could be said", () => {
  assertEquals(configured([]), defaults());
  for (const [name, option] of Object.entries(options)) {
    const value = name === "db" ? DEFAULT_DB : option.default; // which is looked for while nothing is said
    assertEquals(option.parse(option.format(option.default as never)), value, name);
  }
});

Deno.test("config: a port, and a host with a port, as the C++ servers took them", () => {
  assertEquals(configured(["6001"]).port, 6001);
  const { host, port } = configured(["127.0.0.1", "6001"]);
  assertEquals([host, port], ["127.0.0.1", 6001]);
});

Deno.test("config: flags beat arguments, arguments beat the environment, and that beats the defaults", () => {
  const env = { CHAT_PORT: "1", CHAT_LOGIN_TIMEOUT: "5s" };
  assertEquals(configured([], env).port, 1);
  assertEquals(configured(["2"], env).port, 2);
  assertEquals(configured(["2", "--port", "3"], env).port, 3);
  assertEquals(configured(["--login-timeout=500ms"], env).loginTimeout, 500);
  assertEquals(configured([], env).loginTimeout, 5_000);
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
  assertStringIncludes(help(), "  --single-writer[=yes|no] "); // with a space, "no" would be an argument
});

Deno.test("config: what is a number or none has its bounds, 0 beside them, and the least value in its words", () => {
  for (const [name, least] of [["dailyBytes", 1_048_576], ["minFreeSpace", 1_048_576]] as const) {
    const flag = `--${flagOf(name)}`;
    assertEquals(configured([flag, `${least}`])[name], least);
    assertEquals(configured([flag, "0"])[name], 0);
    assertEquals(
      refused([flag, `${least - 1}`]),
      `${flag} must be a whole number from ${least} to 1099511627776, or 0, not "${least - 1}"`,
    );
    const row = optionsTable().split("\n").find((row) => row.includes(flag))!;
    assertStringIncludes(row, `${least} at least, or 0: `);
  }
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
    assertEquals(configured(["--ping-interval", text]).pingInterval, ms);
  }
  assertEquals(configured(["--ping-interval", "100ms"]).pingInterval, 100);
  assertEquals(configured(["--ping-interval", "1d"]).pingInterval, 86_400_000);
  assertEquals(configured(["--token-ttl", "365d"]).tokenTtl, 365 * 86_400_000);
  refused(["--token-ttl", "366d"]);
  assertEquals(["0", "512"].map((bytes) => configured(["--classic-bytes", bytes]).classicBytes), [0, 512]);
  refused(["--classic-bytes", "511"]);
  for (const text of ["99ms", "25h", "5 s", "s", "-1s", "1y"]) refused([`--ping-interval=${text}`]);
});

Deno.test("config: a switch stands alone, takes no argument after it, and a variable says yes or no", () => {
  const { acceptPlainPasswords, port } = configured(["--accept-plain-passwords", "6001"]);
  assertEquals([acceptPlainPasswords, port], ["yes", 6001]);
  assertEquals(configured([]).acceptPlainPasswords, "no");
  const env = (value: string) => ({ CHAT_ACCEPT_PLAIN_PASSWORDS: value });
  assertEquals(["yes", "no"].map((value) => configured([], env(value)).acceptPlainPasswords), ["yes", "no"]);
  assertStringIncludes(refused([], env("on")), "CHAT_ACCEPT_PLAIN_PASSWORDS must be one of yes, no");
});

Deno.test("config: what is unknown, too much or empty is one clear line", () => {
  assertEquals(refused(["--nonsense=1"]), "unknown option --nonsense; --help lists them");
  assertStringIncludes(refused(["a", "b", "c"]), "too many arguments");
  assertStringIncludes(refused(["--db", ""]), "--db must not be empty");
  assertStringIncludes(refused([], { CHAT_LOG_LEVEL: "loud" }), "CHAT_LOG_LEVEL must be one of debug, info");
});

Deno.test("config: an empty environment variable counts as not set, with a warning, for every option", () => {
  const variables = Object.keys(options).map(variableOf);
  for (const variable of variables) {
    const { run, warnings } = parsed([], { [variable]: "" });
    assertEquals(run, defaults(), variable);
    assertEquals(warnings, [{
      event: "empty environment variables count as not set",
      fields: { variables: variable },
    }]);
  }
  const { run, warnings } = parsed([], Object.fromEntries(variables.map((variable) => [variable, ""])));
  assertEquals(run, defaults());
  assertEquals(warnings.map(({ fields }) => fields.variables), [variables.join(", ")], "one line for all");
});

Deno.test("config: an environment variable that isn't empty is a value for every option, 0 and blanks too", () => {
  for (const [name, option] of Object.entries(options)) {
    const variable = variableOf(name);
    const said = option.format(option.default as never);
    const run = name === "db" ? { ...defaults(), db: DEFAULT_DB } : defaults();
    assertEquals(parsed([], { [variable]: said }), { run, warnings: [] }, variable);
    if (option.placeholder === "ADDRESS" || option.placeholder === "FILE") continue; // any text is one
    assertStringIncludes(refused([], { [variable]: " " }), `${variable} must`);
  }
  assertEquals(configured([], { CHAT_PORT: "0" }).port, 0);
  assertEquals(configured([], { CHAT_CLASSIC_WRITE_INTERVAL: "0" }).classicWriteInterval, 0);
  assertEquals(configured([], { CHAT_DB: " " }).db, " ");
  assertEquals(configured([], { CHAT_EXEMPT_ADDRESSES: "none" }).exemptAddresses, "");
});

Deno.test("config: an address as Kubernetes sets it for a Service is ignored with a warning, for every option", () => {
  const addresses = ["tcp://10.0.0.1:6000", "udp://10.0.0.1:53", "sctp://10.0.0.1:7", "tcp://[fd00::1]:6000"];
  for (const variable of Object.keys(options).map(variableOf)) {
    for (const address of addresses) {
      const { run, warnings } = parsed([], { [variable]: address });
      assertEquals(run, defaults(), variable);
      assertEquals(warnings.map(({ fields }) => fields.variable), [variable]);
      assertStringIncludes(warnings[0]!.fields.reason!, "Kubernetes");
    }
  }
  const { warnings } = parsed([], { CHAT_MYSQL: "tcp://ann:secret@host" });
  assert(!JSON.stringify(warnings).includes("secret"));
  assertStringIncludes(
    refused([], { CHAT_PORT: "http://10.0.0.1:6000" }),
    "CHAT_PORT must be a whole number",
  );
});

Deno.test("config: a variable that the command line overrides may hold anything, and deserves no warning", () => {
  for (const value of ["tcp://10.0.0.1:6000", "", "many"]) {
    const env = { CHAT_PORT: value, CHAT_HOST: "" };
    for (const args of [["::1", "6001"], ["--port", "6001", "--host", "::1"]]) {
      const { run, warnings } = parsed(args, env);
      assertEquals([run.port, run.host, warnings], [6001, "::1", []]);
    }
  }
});

Deno.test("config: unknown variables are ignored; misspelled ones with a warning, those of Kubernetes without", () => {
  const ofKubernetes = {
    CHAT_SERVICE_HOST: "10.0.0.1",
    CHAT_SERVICE_PORT: "6000",
    CHAT_SERVICE_PORT_CLIENTS: "6000",
    CHAT_PORT_6000_TCP: "tcp://10.0.0.1:6000",
    CHAT_PORT_6000_TCP_ADDR: "10.0.0.1",
    CHAT_PORT_6000_TCP_PORT: "6000",
    CHAT_PORT_6000_TCP_PROTO: "tcp",
    CHAT_REDIS_PORT: "tcp://10.0.0.2:6379", // of a Service named chat-redis
    CHAT_REDIS_SERVICE_HOST: "10.0.0.2",
    CHAT_REDIS_PORT_6379_TCP_ADDR: "10.0.0.2",
  };
  const others = { PATH: "/bin", CHATTY: "yes", CHAT_PASSWORD: "secret" };
  assertEquals(parsed([], { ...ofKubernetes, ...others }), { run: defaults(), warnings: [] });
  const { run, warnings } = parsed([], { CHAT_LOGIN_WITHN: "5s", CHAT_DATABASE: "", ...ofKubernetes });
  assertEquals(run, defaults());
  assertEquals(warnings.map(({ event, fields }) => [event, fields.variables]), [
    ["unknown environment variables are ignored", "CHAT_DATABASE, CHAT_LOGIN_WITHN"],
  ]);
});

Deno.test("config: help, version and the table name every option", () => {
  assertEquals(parseCommand(["--help"], environment({})), { help: true });
  assertEquals(parseCommand(["-h"], environment({})), { help: true });
  assertEquals(parseCommand(["--version"], environment({})), { version: true });
  for (const name of Object.keys(options)) {
    assertMatch(help(), new RegExp(`  --${flagOf(name)}(?: |\\[=)`));
    assertStringIncludes(optionsTable(), `\`${variableOf(name)}\``);
  }
});

Deno.test("config: what needs another option is refused without it", () => {
  assertEquals(
    refused(["--proxy-required", "yes"]),
    "--proxy-required needs --trusted-proxies: a header is taken from these alone",
  );
  assertEquals(configured(["--proxy-required", "yes", "--trusted-proxies", "::1"]).proxyRequired, "yes");
  assertEquals(configured(["--proxy-required", "no"]).proxyRequired, "no");
  assertEquals(refused(["--health-host", "127.0.0.1"]), "--health-host needs --health-port");
  assertEquals(configured(["--health-host", "::1", "--health-port", "1"]).healthHost, "::1");
});
