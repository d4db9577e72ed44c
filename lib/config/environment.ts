/** The environment's part of the configuration: which variables say something, and which deserve a warning. */
import { options, variableOf } from "./options.ts";

/** Something that the operator should know although the server starts, in the form of an event of the log. */
export interface Warning {
  readonly event: string;
  readonly fields: Readonly<Record<string, string>>;
}

/** The variables of a process. */
export interface Environment {
  get(name: string): string | undefined;
  /** Returns the names of all variables; none where only some may be read. */
  names(): readonly string[];
}

const PREFIX = "CHAT_";

/** The client's variables: it may be given the same environment. */
const CLIENT_VARIABLES: readonly string[] = ["CHAT_PASSWORD"];

/** An address as Kubernetes writes it: it sets CHAT_PORT to one where a Service is named `chat`. No option is like that. */
const SERVICE_ADDRESS = /^(?:tcp|udp|sctp):\/\//;

/** The names of the other variables that Kubernetes sets for a Service named `chat` or `chat-…`. */
const SERVICE_VARIABLE =
  /^CHAT(?:_\w+)?_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP|SCTP)_(?:ADDR|PORT|PROTO))$/;

/** The variables of this process. */
export const processEnvironment: Environment = {
  get: (name) => Deno.env.get(name),
  names() {
    // Deno would ask the terminal's user for all variables where it was allowed some of them.
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
 * Returns the values of the variables in `wanted`, and the warnings that the environment deserves. An empty variable
 * counts as not set: env files and Docker Compose make them of values that were not given.
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
      fields: { variables: unknown.join(", "), hint: "--help lists the options" },
    });
  }
  return { values, warnings };
}

function addressIgnored(variable: string): Warning {
  return {
    event: "an environment variable is ignored",
    fields: {
      variable,
      reason: "its value is an address, as Kubernetes sets it for a Service of that name; " +
        "enableServiceLinks: false in the pod's spec keeps it away",
    },
  };
}

/** Returns the names that look like an option's but are none: most often they are misspelled. */
function unknownVariables(env: Environment): string[] {
  const known = new Set([...Object.keys(options).map(variableOf), ...CLIENT_VARIABLES]);
  return env.names().filter((name) =>
    name.startsWith(PREFIX) && !known.has(name) && !SERVICE_VARIABLE.test(name) &&
    !SERVICE_ADDRESS.test(env.get(name) ?? "")
  ).toSorted();
}
