/** The kinds of configuration values: how each is written, checked and described. */
import { CidrList } from "../wire/networks.ts";

/** One configurable thing. `parse` throws an Error that says what the value must be. */
export interface Option<T> {
  readonly default: T;
  /** What it is, why its default is what it is. */
  readonly description: string;
  /** What stands for the value in a usage line, such as `FILE`; of a `bare` option with the `=` before it. */
  readonly placeholder: string;
  parse(text: string): T;
  /** The value as one would write it. */
  format(value: T): string;
  /** Whether what was given may hold a password, and so must not be repeated in an error. */
  readonly secret?: true;
  /** Whether it can stand without a value, which means `yes`. */
  readonly bare?: true;
}

/** Any text that is not empty. */
export function text(value: string, placeholder: string, description: string): Option<string> {
  return {
    default: value,
    description,
    placeholder,
    parse: (text) => text === "" ? fail("must not be empty") : text,
    format: String,
  };
}

/** Any text that is not empty. Its value is empty while nothing is said: the program then uses `usual`, or finds another. */
export function textOrDefault(fallback: string, placeholder: string, description: string): Option<string> {
  return { ...text("", placeholder, description), format: (value) => value || fallback };
}

/** The url of a service, none unless said; it may hold a password. `pattern` is what it must be like, in one example. */
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

/** A file's path, none unless said. */
export function file(description: string): Option<string> {
  return textOrNone("FILE", description);
}

/** An address to listen on, none unless said. */
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

/** Addresses and networks with commas between, none unless said. */
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

/** One of a few words. */
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

/** Something that is so or not; the option alone, without a value, says that it is. */
export function flag(description: string): Option<"yes" | "no"> & { readonly bare: true } {
  return { ...choice<"yes" | "no">("no", ["yes", "no"], description), placeholder: "[=yes|no]", bare: true };
}

/** An option that may also be 0, for none. */
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

/** A whole number from `min` to `max`, both included. */
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
const MAX_DURATION_MS = 86_400_000; // ms: a day is long for a connection, and timers can't count more than 24 of them

/** A time from `min` to `max`, in milliseconds; written with its unit (`500ms`, `30s`, `5m`, `2h`, `30d`) or in plain seconds. */
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
