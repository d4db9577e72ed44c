/** The kinds of configuration values: their syntax, their checks and their descriptions. */
import { CidrList } from "../wire/networks.ts";

/** One option of the server. */
export interface Option<T> {
  readonly default: T;
  /** Sentences about the option, and about the reason of its default. `--help` prints only the first. */
  readonly description: string;
  /**
   * The name of the value in a usage line, such as `FILE`. That of a `bare` option begins with `=` in
   * brackets.
   */
  readonly placeholder: string;
  /**
   * Returns the value of a text. Throws an Error whose message goes on after the option's name: "must be …".
   */
  parse(text: string): T;
  /** Returns the text of a value, as on a command line. */
  format(value: T): string;
  /** Whether the text may contain a password. Errors then must not repeat it. */
  readonly secret?: true;
  /** Whether the flag may stand without a value, which means `yes`. */
  readonly bare?: true;
}

/** Declares an option of any text that is not empty. */
export function text(value: string, placeholder: string, description: string): Option<string> {
  return {
    default: value,
    description,
    placeholder,
    parse: (text) => text === "" ? fail("must not be empty") : text,
    format: String,
  };
}

/**
 * Declares an option of any text that is not empty. Without a text its value is empty, and the program uses
 * `fallback`, or finds another value.
 */
export function textOrDefault(fallback: string, placeholder: string, description: string): Option<string> {
  return { ...text("", placeholder, description), format: (value) => value || fallback };
}

/**
 * Declares an option of a service's URL, none by default. The URL matches `pattern`, and may contain a
 * password.
 */
export function url(pattern: RegExp, example: string, description: string): Option<string> {
  return {
    default: "",
    description,
    placeholder: "URL",
    secret: true,
    parse(text) {
      if (text === "none") return "";
      const isValid = pattern.test(text) && text.split(",").every((one) => URL.canParse(one));
      return isValid ? text : fail(`must be like ${example}, or none`);
    },
    format: (value) => value || "none",
  };
}

/** Declares an option of a file's path, none by default. */
export function file(description: string): Option<string> {
  return textOrNone("FILE", description);
}

/** Declares an option of an address to listen on, none by default. */
export function address(description: string): Option<string> {
  return textOrNone("ADDRESS", description);
}

function textOrNone(placeholder: string, description: string): Option<string> {
  return {
    default: "",
    description,
    placeholder,
    parse: (text) => text === "" ? fail("must not be empty") : text === "none" ? "" : text,
    format: (value) => value || "none",
  };
}

/** Declares an option of IP addresses and networks with commas between them. */
export function networks(description: string, value = ""): Option<string> {
  return {
    default: value,
    description,
    placeholder: "NETWORKS",
    parse(text) {
      const value = text === "none" ? "" : text;
      CidrList.parse(value);
      return value;
    },
    format: (value) => value || "none",
  };
}

/** Declares an option that is one of `choices`. */
export function choice<T extends string>(value: T, choices: readonly T[], description: string): Option<T> {
  return {
    default: value,
    description,
    placeholder: choices.join("|"),
    parse: (text) =>
      choices.find((choice) => choice === text) ?? fail(`must be one of ${choices.join(", ")}`),
    format: String,
  };
}

/** Declares an option that is yes or no, and no by default. The flag alone, without a value, means yes. */
export function flag(description: string): Option<"yes" | "no"> & { readonly bare: true } {
  return { ...choice<"yes" | "no">("no", ["yes", "no"], description), placeholder: "[=yes|no]", bare: true };
}

/** Returns the option with 0 as a further value. */
export function orNone(option: Option<number>): Option<number> {
  return {
    ...option,
    parse(text) {
      if (text === "0") return 0;
      try {
        return option.parse(text);
      } catch (error) {
        throw new Error(`${(error as Error).message}, or 0`, { cause: error });
      }
    },
  };
}

/** Declares an option of a whole number from `min` to `max`, both included. */
export function integer(
  value: number,
  min: number,
  max: number,
  unit: string,
  description: string,
): Option<number> {
  return {
    default: value,
    description,
    placeholder: unit.toUpperCase(),
    parse(text) {
      const number = /^\d+$/.test(text) ? Number(text) : NaN;
      return number >= min && number <= max ? number : fail(`must be a whole number from ${min} to ${max}`);
    },
    format: String,
  };
}

const UNIT_MS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const MAX_DURATION_MS = 86_400_000; // a day is long for a connection; timers count at most 24 days

/**
 * Declares an option of a time from `min` to `max`, in milliseconds. Its text has a unit (`500ms`, `30s`,
 * `5m`, `2h`, `30d`) or is in seconds.
 */
export function duration(
  value: number,
  min: number,
  description: string,
  max = MAX_DURATION_MS,
): Option<number> {
  const format = (ms: number) => {
    if (ms === 0) return "0";
    const [unit, size] = Object.entries(UNIT_MS).findLast(([, size]) => ms % size === 0)!;
    return `${ms / size}${unit}`;
  };
  return {
    default: value,
    description,
    placeholder: "TIME",
    parse(text) {
      const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)?$/.exec(text);
      const ms = match ? Math.round(Number(match[1]) * UNIT_MS[match[2] ?? "s"]!) : NaN;
      return ms >= min && ms <= max ? ms : fail(
        `must be a time such as 500ms, 30s, 5m, 2h or 30d, or plain seconds, from ${format(min)} to ${
          format(max)
        }`,
      );
    },
    format,
  };
}

function fail(reason: string): never {
  throw new Error(reason);
}
