/**
 * Argon2id (RFC 9106) by the runtime's WebCrypto, which derives keys in threads of its own. The event loop goes
 * on meanwhile.
 */

/** The cost of Argon2id. */
export interface Argon2idCost {
  readonly method: "argon2id";
  /** Memory in KiB, at least {@link MIN_MEMORY_KIB} per lane. */
  readonly memory: number;
  readonly passes: number;
  /** Parts of the memory that several threads could fill. One thread fills them here. */
  readonly lanes: number;
}

/** The least memory per lane, in KiB (RFC 9106, section 3.1). */
export const MIN_MEMORY_KIB = 8;

/** The least length of a salt, in bytes: Argon2 has no shorter one. */
export const MIN_SALT_BYTES = 8;

/**
 * The part of WebCrypto that TypeScript's library does not declare yet
 * (https://wicg.github.io/webcrypto-modern-algos/).
 */
interface Argon2Crypto {
  importKey(
    format: "raw-secret",
    secret: Uint8Array,
    algorithm: "Argon2id",
    extractable: false,
    usages: readonly ["deriveBits"],
  ): Promise<CryptoKey>;
  deriveBits(
    parameters: {
      readonly name: "Argon2id";
      readonly nonce: Uint8Array;
      readonly memory: number;
      readonly passes: number;
      readonly parallelism: number;
    },
    key: CryptoKey,
    bits: number,
  ): Promise<ArrayBuffer>;
}

const subtle = crypto.subtle as unknown as Argon2Crypto;
const encoder = new TextEncoder();

/** Derives a key of `length` bytes. Rejects if the memory cannot be had. */
export async function deriveArgon2id(
  password: string,
  nonce: Uint8Array,
  length: number,
  { memory, passes, lanes }: Argon2idCost,
): Promise<Uint8Array> {
  const key = await subtle.importKey("raw-secret", encoder.encode(password), "Argon2id", false, [
    "deriveBits",
  ]);
  const parameters = { name: "Argon2id", nonce, memory, passes, parallelism: lanes } as const;
  return new Uint8Array(await subtle.deriveBits(parameters, key, length * 8));
}

/** Returns whether Argon2id has such a cost. */
export function isArgon2idCost({ memory, passes, lanes }: Argon2idCost): boolean {
  return lanes >= 1 && passes >= 1 && memory >= MIN_MEMORY_KIB * lanes;
}

/** Returns the work of a hash: the KiB that it fills. */
export function argon2idWork({ memory, passes }: Argon2idCost): number {
  return memory * passes;
}

/** Returns the costs of further hashes whose work is about `missing`, with no more memory than `wanted`. */
export function argon2idParts(missing: number, wanted: Argon2idCost): Argon2idCost[] {
  const passes = Math.floor(missing / wanted.memory);
  const rest = missing - passes * wanted.memory;
  return [{ ...wanted, passes }, { ...wanted, lanes: 1, memory: rest, passes: 1 }].filter(isArgon2idCost);
}
