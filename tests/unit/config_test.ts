/** The server's configuration: how flags, arguments, variables and defaults become one. */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { ConfigError, defaults, parseCommand } from "../../lib/config/config.ts";
import type { Environment } from "../../lib/config/environment.ts";
import { help, optionsTables } from "../../lib/config/help.ts";
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

Deno.test("config: has the defaults without arguments, and each default's text is a valid value", () => {
  assertEquals(configured([]), defaults());
  for (const [name, option] of Object.entries(options)) {
    const value = name === "db" ? DEFAULT_DB : option.default; // found at the start, without --db
    assertEquals(option.parse(option.format(option.default as never)), value, name);
  }
});

Deno.test("config: takes a port, or a host and a port, as the C++ servers do", () => {
  assertEquals(configured(["6001"]).port, 6001);
  const { host, port } = configured(["127.0.0.1", "6001"]);
  assertEquals([host, port], ["127.0.0.1", 6001]);
});

Deno.test("config: flags beat arguments, which beat the environment, which beats the defaults", () => {
  const env = { CHAT_PORT: "1", CHAT_LOGIN_TIMEOUT: "5s" };
  assertEquals(configured([], env).port, 1);
  assertEquals(configured(["2"], env).port, 2);
  assertEquals(configured(["2", "--port", "3"], env).port, 3);
  assertEquals(configured(["--login-timeout=500ms"], env).loginTimeout, 500);
  assertEquals(configured([], env).loginTimeout, 5_000);
});

Deno.test("config: takes the cost of earlier releases' hashes, and warns that new ones do not have it", () => {
  const warning = (option: string) => ({
    event: "an option has no effect on new password hashes, which are Argon2id",
    fields: {
      option,
      hint:
        "use --argon2-memory and --argon2-passes; it is only for hashes of earlier releases that cost more " +
        "than the default",
    },
  });
  const { run, warnings } = parsed(["--scrypt-ln", "17", "--scrypt-p=1"], { CHAT_SCRYPT_R: "16" });
  assertEquals([run.scryptLn, run.scryptR, run.scryptP], [17, 16, 1]);
  assertEquals(warnings, ["--scrypt-ln", "CHAT_SCRYPT_R", "--scrypt-p"].map(warning));
  assertEquals(parsed(["--argon2-memory", "65536", "--argon2-passes", "3"]), {
    run: { ...defaults(), argon2Memory: 65_536, argon2Passes: 3 },
    warnings: [],
  });
});

Deno.test("config: takes a switch without a value, also before an argument", () => {
  const mysql = ["--mysql", "mysql://ann@host/chat"];
  assertEquals(configured([...mysql], {}).singleWriter, "no");
  const bare = configured(["--single-writer", "7000", ...mysql], {});
  assertEquals([bare.singleWriter, bare.port], ["yes", 7000]);
  assertEquals(
    configured(["--single-writer=no", ...mysql], { CHAT_SINGLE_WRITER: "yes" }).singleWriter,
    "no",
  );
  // With a space in place of "=", "no" would be an argument.
  assertStringIncludes(help("all", 80, ""), "  --single-writer[=yes|no] ");
});

Deno.test("config: takes 0 besides the bounds of a number that may be none", () => {
  for (const [name, least] of [["dailyBytes", 1_048_576], ["minFreeSpace", 1_048_576]] as const) {
    const flag = `--${flagOf(name)}`;
    assertEquals(configured([flag, `${least}`])[name], least);
    assertEquals(configured([flag, "0"])[name], 0);
    assertEquals(
      refused([flag, `${least - 1}`]),
      `${flag} must be a whole number from ${least} to 1099511627776, or 0, not "${least - 1}"`,
    );
    const row = optionsTables().split("\n").find((row) => row.includes(flag))!;
    assertStringIncludes(row, `At least ${least}, or 0: `);
  }
});

Deno.test("config: accepts numbers at their bounds and rejects numbers beyond them", () => {
  assertEquals(configured(["--port", "0"]).port, 0);
  assertEquals(configured(["--port", "65535"]).port, 65_535);
  assertStringIncludes(refused(["--port", "65536"]), "--port must be a whole number from 0 to 65535");
  assertEquals(configured(["--max-frame", "524288"]).maxFrame, 524_288);
  refused(["--max-frame", "524289"]);
  refused(["--max-frame", "1023"]);
  for (const port of ["", "x", "1.5", "-1", "1e3"]) refused([`--port=${port}`]);
});

Deno.test("config: reads times with a unit or in seconds, within their bounds", () => {
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

Deno.test("config: takes a switch alone and no argument after it, and its variable as yes or no", () => {
  const { acceptPlainPasswords, port } = configured(["--accept-plain-passwords", "6001"]);
  assertEquals([acceptPlainPasswords, port], ["yes", 6001]);
  assertEquals(configured([]).acceptPlainPasswords, "no");
  const env = (value: string) => ({ CHAT_ACCEPT_PLAIN_PASSWORDS: value });
  assertEquals(["yes", "no"].map((value) => configured([], env(value)).acceptPlainPasswords), ["yes", "no"]);
  assertStringIncludes(refused([], env("on")), "CHAT_ACCEPT_PLAIN_PASSWORDS must be one of yes, no");
});

Deno.test("config: reports an unknown option, a surplus argument or an empty value in one line", () => {
  assertEquals(refused(["--nonsense=1"]), "unknown option --nonsense; --help=all lists the options");
  assertStringIncludes(refused(["a", "b", "c"]), "too many arguments");
  assertStringIncludes(refused(["--db", ""]), "--db must not be empty");
  assertStringIncludes(refused([], { CHAT_LOG_LEVEL: "loud" }), "CHAT_LOG_LEVEL must be one of debug, info");
});

Deno.test("config: counts an empty variable of any option as not set, with a warning", () => {
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

Deno.test("config: takes a variable that is not empty as a value for every option, also 0 and blanks", () => {
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

Deno.test("config: ignores a Kubernetes Service's address in any option's variable, with a warning", () => {
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

Deno.test("config: reads no variable that the command line overrides, and so gives no warning", () => {
  for (const value of ["tcp://10.0.0.1:6000", "", "many"]) {
    const env = { CHAT_PORT: value, CHAT_HOST: "" };
    for (const args of [["::1", "6001"], ["--port", "6001", "--host", "::1"]]) {
      const { run, warnings } = parsed(args, env);
      assertEquals([run.port, run.host, warnings], [6001, "::1", []]);
    }
  }
});

Deno.test("config: ignores unknown variables, with a warning unless Kubernetes sets them", () => {
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

Deno.test("config: rejects an option without another one that it needs", () => {
  assertEquals(
    refused(["--proxy-required", "yes"]),
    "--proxy-required needs --trusted-proxies: the server reads headers from these alone",
  );
  assertEquals(configured(["--proxy-required", "yes", "--trusted-proxies", "::1"]).proxyRequired, "yes");
  assertEquals(configured(["--proxy-required", "no"]).proxyRequired, "no");
  assertEquals(refused(["--health-host", "127.0.0.1"]), "--health-host needs --health-port");
  for (const service of ["mysql", "redis"]) {
    const file = `--${service}-password-file`;
    assertEquals(refused([file, "f"]), `${file} needs --${service}`);
    const urls = ["--mysql", "mysql://h/d", "--redis", "redis://h"];
    const withPassword = urls.map((word) => word.replace(`${service}://h`, `${service}://u:secret@h`));
    assertEquals(
      refused([...withPassword, file, "f"]),
      `both the URL of --${service} and ${file} give a password: remove one of them`,
    );
  }
  assertEquals(refused(["--mysql-ca", "f"]), "--mysql-ca needs --mysql");
  assertEquals(configured(["--health-host", "::1", "--health-port", "1"]).healthHost, "::1");
});

Deno.test("config: --help, --help=all and --version need no valid configuration", () => {
  const command = (...args: string[]) => parseCommand(args, environment({ CHAT_PORT: "x" }));
  for (const flag of ["--help", "-h"]) assertEquals(command(flag, "--db", ""), { help: "common" });
  assertEquals(command("--help=all"), { help: "all" });
  assertEquals(command("--version"), { version: true });
  assertEquals(refused(["--help=me"]), '--help must be all or have no value, not "me"');
});
