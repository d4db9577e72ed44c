/** What can be fuzzed, and the inputs that are always tried first. */
import { Random } from "../harness/random.ts";
import { ROOT } from "../harness/program.ts";

/** Something that takes bytes of any kind, and what must hold for it. */
export interface Target {
  /** Also the name of its folder in the corpus. */
  readonly name: string;
  /** An input; the same numbers give the same one. */
  generate(random: Random): Uint8Array;
  /** Throws, or rejects, if what must hold doesn't hold for the input. */
  check(input: Uint8Array): void | Promise<void>;
}

/** Where an input comes from. */
export type Origin = { readonly seed: number } | { readonly file: string };

/** What must hold doesn't, for an input. */
export class Finding extends Error {
  override readonly name = "Finding";
  /** The target's name. */
  readonly target: string;
  /** The options that lead to the input. */
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

/** Checks the inputs of a target's folder in the corpus and gives their number. Rejects with a {@link Finding}. */
export async function checkCorpus(target: Target): Promise<number> {
  const folder = `tests/fuzz/corpus/${target.name}/`;
  const files = await Array.fromAsync(Deno.readDir(new URL(folder, ROOT)));
  for (const name of files.map(({ name }) => name).sort()) {
    const file = `${folder}${name}`;
    await check(target, { file }, await Deno.readFile(new URL(file, ROOT)));
  }
  return files.length;
}

/** Checks the input that belongs to a seed. Rejects with a {@link Finding}. */
export async function checkSeed(target: Target, seed: number): Promise<void> {
  await check(target, { seed }, target.generate(new Random(seed)));
}

/** Checks an input. Rejects with a {@link Finding}. */
export async function check(target: Target, origin: Origin, input: Uint8Array): Promise<void> {
  try {
    await target.check(input.slice()); // a copy: it is shown whole, whatever is done to it
  } catch (error) {
    throw new Finding(target, origin, input, error);
  }
}

/** Random numbers that follow from the input, for cutting it into pieces: a failure repeats itself. */
export function randomOf(input: Uint8Array): Random {
  return new Random(input.reduce((hash, byte) => Math.imul(hash ^ byte, 0x01000193), 0x811c9dc5)); // FNV-1a
}

/** Bytes as text with a character for each. */
export function latin1(bytes: Uint8Array): string {
  return new TextDecoder("latin1").decode(bytes);
}

/** The inverse of {@link latin1}, as far as the characters are bytes. */
export function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}
