/** The environment's part of the configuration: the values of variables, and warnings about variables. */
import { formerVariableOf, renamedOptions } from "./former_names.ts";
import { options, variableOf } from "./options.ts";

/** An event of the log about a configuration with which the server can start. */
export interface Warning {
  readonly event: string;
  readonly fields: Readonly<Record<string, string>>;
}

/** The variables of a process. */
export interface Environment {
  get(name: string): string | undefined;
  /** Returns the names of all variables, or none if the process may read only some. */
  names(): readonly string[];
}

const PREFIX = "CHAT_";

/** The client's variables. Server and client may share an environment. */
const CLIENT_VARIABLES: readonly string[] = ["CHAT_PASSWORD"];

/**
 * An address in the form of Kubernetes, which sets CHAT_PORT to one if a Service is named `chat`. No option's
 * value has this form.
 */
const SERVICE_ADDRESS = /^(?:tcp|udp|sctp):\/\//;

/** The other variables that Kubernetes sets for a Service named `chat` or `chat-…`. */
const SERVICE_VARIABLE =
  /^CHAT(?:_\w+)?_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP|SCTP)_(?:ADDR|PORT|PROTO))$/;

/** The variables of this process. */
export const processEnvironment: Environment = {
  get: (name) => Deno.env.get(name),
  names() {
    // With permission for some variables, Deno would ask for all others at the terminal.
    if (Deno.permissions.querySync({ name: "env" }).state === "prompt") return [];
    try {
      return Object.keys(Deno.env.toObject());
    } catch (error) {
      if (error instanceof Deno.errors.NotCapable) return [];
      throw error;
    }
  },
};

/**
 * Returns the values of the variables in `wanted`, and warnings about the environment. An empty variable
 * counts as not set: env files and Docker Compose create one for each missing value.
 */
export function readVariables(
  env: Environment,
  wanted: readonly string[],
): { values: ReadonlyMap<string, string>; warnings: readonly Warning[] } {
  const values = new Map<string, string>();
  const warnings: Warning[] = [];
  const empty: string[] = [];
  for (const variable of wanted) {
    const value = env.get(variable);
    if (value === undefined) continue;
    if (value === "") empty.push(variable);
    else if (SERVICE_ADDRESS.test(value)) warnings.push(addressIgnored(variable));
    else values.set(variable, value);
  }
  if (empty.length > 0) {
    warnings.push({
      event: "empty environment variables count as not set",
      fields: { variables: empty.join(", ") },
    });
  }
  const unknown = unknownVariables(env);
  if (unknown.length > 0) {
    warnings.push({
      event: "unknown environment variables are ignored",
      fields: { variables: unknown.join(", "), hint: "--help=all lists the options" },
    });
  }
  return { values, warnings };
}

function addressIgnored(variable: string): Warning {
  return {
    event: "an environment variable is ignored",
    fields: {
      variable,
      reason: "its value is an address, which Kubernetes sets for a Service of that name; " +
        "enableServiceLinks: false in the pod's spec prevents it",
    },
  };
}

/** Returns the variables with the prefix that belong to no option, such as misspelled ones. */
function unknownVariables(env: Environment): string[] {
  const known = new Set([
    ...Object.keys(options).map(variableOf),
    ...renamedOptions.map(formerVariableOf),
    ...CLIENT_VARIABLES,
  ]);
  return env.names().filter((name) =>
    name.startsWith(PREFIX) && !known.has(name) && !SERVICE_VARIABLE.test(name) &&
    !SERVICE_ADDRESS.test(env.get(name) ?? "")
  ).toSorted();
}
