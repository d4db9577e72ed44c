/** The form of a fuzz target, and its corpus of inputs that are tried first. */
import { Random } from "../harness/random.ts";
import { ROOT } from "../harness/program.ts";

/** A target: its inputs, and the check of each. */
export interface Target {
  /** The name, also of its folder in the corpus. */
  readonly name: string;
  /** Returns an input, which depends on the random numbers only. */
  generate(random: Random): Uint8Array;
  /** Throws or rejects when the input violates a property. */
  check(input: Uint8Array): void | Promise<void>;
}

/** The source of an input. */
export type Origin = { readonly seed: number } | { readonly file: string };

/** The violation of a property by an input. */
export class Finding extends Error {
  override readonly name = "Finding";
  /** The name of the target. */
  readonly target: string;
  /** The options that repeat the input. */
  readonly how: string;

  constructor(target: Target, origin: Origin, input: Uint8Array, cause: unknown) {
    const how = "seed" in origin ? `--seed ${origin.seed} --minutes 0` : `--input ${origin.file}`;
    const why = cause instanceof Error ? cause.stack ?? cause.message : String(cause);
    const shown = JSON.stringify(latin1(input));
    super(`${target.name}, ${how}: ${why}\nThe input, each byte a character: ${shown}`, { cause });
    this.target = target.name;
    this.how = how;
  }
}

/** Checks the corpus of a target and returns the number of its inputs. Rejects with a {@link Finding}. */
export async function checkCorpus(target: Target): Promise<number> {
  const folder = `tests/fuzz/corpus/${target.name}/`;
  const files = await Array.fromAsync(Deno.readDir(new URL(folder, ROOT)));
  for (const name of files.map(({ name }) => name).sort()) {
    const file = `${folder}${name}`;
    await check(target, { file }, await Deno.readFile(new URL(file, ROOT)));
  }
  return files.length;
}

/** Checks the input of a seed. Rejects with a {@link Finding}. */
export async function checkSeed(target: Target, seed: number): Promise<void> {
  await check(target, { seed }, target.generate(new Random(seed)));
}

/** Checks an input. Rejects with a {@link Finding}. */
export async function check(target: Target, origin: Origin, input: Uint8Array): Promise<void> {
  try {
    await target.check(input.slice()); // a copy, as the check may change its bytes
  } catch (error) {
    throw new Finding(target, origin, input, error);
  }
}

/** Returns random numbers that depend on the input, to split it into the same parts in each run. */
export function randomOf(input: Uint8Array): Random {
  return new Random(input.reduce((hash, byte) => Math.imul(hash ^ byte, 0x01000193), 0x811c9dc5)); // FNV-1a
}

/** Decodes bytes as text with a character for each. */
export function latin1(bytes: Uint8Array): string {
  return new TextDecoder("latin1").decode(bytes);
}

/** Encodes a text of {@link latin1} as bytes. */
export function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}
