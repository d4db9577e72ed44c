/** Options under their former names: accepted for one release, with a warning that names the new one. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { ConfigError, defaults, parseCommand } from "../../lib/config/config.ts";
import type { Environment } from "../../lib/config/environment.ts";
import { formerFlagOf, formerVariableOf, renamedOptions } from "../../lib/config/former_names.ts";
import { flagOf, options, variableOf } from "../../lib/config/options.ts";

/** The renamed options, as the release notes list them. */
const RENAMED = {
  "login-within": "login-timeout",
  "pong-within": "pong-timeout",
  "proxy-within": "proxy-header-timeout",
  "read-within": "write-stall-timeout",
  "ping-after": "ping-interval",
  "drain-seconds": "drain-timeout",
  "attempts-within": "attempts-window",
  "account-attempts": "max-failed-logins",
  "address-attempts": "max-logins-per-address",
  "address-registrations": "max-registrations-per-address",
  "max-depth": "max-json-depth",
  "max-values": "max-json-values",
  "classic-gap": "classic-write-interval",
  "max-pending": "max-in-flight",
  "outbox-bytes": "write-buffer-bytes",
  "spare-rate": "shared-rate",
  "stranger-rate": "unauthenticated-rate",
  "unlimited-addresses": "exempt-addresses",
};

/** A value of a renamed option that is not its default: its text, and its form in the configuration. */
function sample(name: typeof renamedOptions[number]): [text: string, value: string | number] {
  const { placeholder } = options[name];
  if (placeholder === "NETWORKS") return ["10.0.0.0/8", "10.0.0.0/8"];
  if (placeholder === "BYTES") return ["8192", 8_192];
  return placeholder === "TIME" ? ["7s", 7_000] : ["29", 29];
}

function parsed(args: string[], variables: Record<string, string> = {}) {
  const env: Environment = { get: (name) => variables[name], names: () => Object.keys(variables) };
  const command = parseCommand(args, env);
  assert("run" in command);
  return command;
}

function rejected(args: string[], variables: Record<string, string> = {}): string {
  return assertThrows(() => parsed(args, variables), ConfigError).message;
}

function warning(former: string, current: string) {
  return {
    event: "an option has a new name",
    fields: { option: former, hint: `use ${current}; the next release will not accept ${former}` },
  };
}

Deno.test("former names: are those of the release notes, and none is an option's name", () => {
  const pairs = renamedOptions.map((name) => [formerFlagOf(name), flagOf(name)]);
  assertEquals(Object.fromEntries(pairs), RENAMED);
  const flags = Object.keys(options).map(flagOf);
  for (const former of Object.keys(RENAMED)) assert(!flags.includes(former), former);
});

for (const name of renamedOptions) {
  const [flag, former] = [`--${flagOf(name)}`, `--${formerFlagOf(name)}`];
  const [variable, formerVariable] = [variableOf(name), formerVariableOf(name)!];
  const [text, value] = sample(name);

  Deno.test(`former names: ${former} and ${formerVariable} set ${flag}, with a warning`, () => {
    const run = { ...defaults(), [name]: value };
    assertEquals(parsed([former, text]), { run, warnings: [warning(former, flag)] });
    assertEquals(parsed([`${former}=${text}`]).run, run);
    assertEquals(parsed([], { [formerVariable]: text }), {
      run,
      warnings: [warning(formerVariable, variable)],
    });
    assertEquals(parsed([flag, text], { [variable]: text }), { run, warnings: [] });
  });

  Deno.test(`former names: ${former} beside ${flag} is an error, as are both variables`, () => {
    assertEquals(
      rejected([former, text, flag, text]),
      `${former} is the former name of ${flag}, and both are given: remove ${former}`,
    );
    assertEquals(
      rejected([], { [variable]: text, [formerVariable]: text }),
      `${formerVariable} is the former name of ${variable}, and both are given: remove ${formerVariable}`,
    );
  });

  Deno.test(`former names: an invalid value of ${former} is an error that names ${former}`, () => {
    assert(rejected([former, "x y"]).startsWith(`${former} must be `));
    assert(rejected([], { [formerVariable]: "x y" }).startsWith(`${formerVariable} must be `));
  });
}

Deno.test("former names: a flag overrides the variables of both names", () => {
  for (const flag of ["--login-timeout", "--login-within"]) {
    const { run, warnings } = parsed([flag, "7s"], { CHAT_LOGIN_TIMEOUT: "x", CHAT_LOGIN_WITHIN: "x" });
    assertEquals(run.loginTimeout, 7_000);
    assertEquals(warnings.length, flag === "--login-within" ? 1 : 0);
  }
});

Deno.test("former names: an empty variable of a former name counts as not set", () => {
  for (const variables of [{}, { CHAT_LOGIN_TIMEOUT: "7s" }]) {
    const { run, warnings } = parsed([], { ...variables, CHAT_LOGIN_WITHIN: "" });
    assertEquals(run.loginTimeout, "CHAT_LOGIN_TIMEOUT" in variables ? 7_000 : defaults().loginTimeout);
    assertEquals(warnings, [{
      event: "empty environment variables count as not set",
      fields: { variables: "CHAT_LOGIN_WITHIN" },
    }]);
  }
});
