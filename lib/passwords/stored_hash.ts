/**
 * Password hashes in PHC string form. The form contains method and cost, so old hashes stay valid when the
 * configured cost is raised.
 */
import { Buffer } from "node:buffer";
import {
  type Argon2idCost,
  argon2idParts,
  argon2idWork,
  deriveArgon2id,
  isArgon2idCost,
  MIN_SALT_BYTES,
} from "./argon2id.ts";
import {
  deriveScrypt,
  isScryptCost,
  type ScryptCost,
  scryptMemory,
  scryptParts,
  scryptWork,
} from "./scrypt.ts";

export type { Argon2idCost } from "./argon2id.ts";
export type { ScryptCost } from "./scrypt.ts";

/** A method and its cost. */
export type Cost = Argon2idCost | ScryptCost;

/** A hash of a password. */
export interface StoredHash {
  readonly cost: Cost;
  readonly salt: Uint8Array;
  readonly key: Uint8Array;
}

const ARGON2ID = /^\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/;
const SCRYPT = /^\$scrypt\$ln=(\d+),r=(\d+),p=(\d+)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/;

/** Returns the hash of a text; undefined if it is no hash of these methods, or has an impossible cost. */
export function parseHash(text: string): StoredHash | undefined {
  const match = ARGON2ID.exec(text) ?? SCRYPT.exec(text);
  if (!match) return undefined;
  const [first, second, third] = match.slice(1, 4).map(Number) as [number, number, number];
  const [salt, key] = match.slice(4, 6).map((digits) => Buffer.from(digits, "base64")) as [Buffer, Buffer];
  if (text.startsWith("$argon2id$")) {
    const cost: Argon2idCost = { method: "argon2id", memory: first, passes: second, lanes: third };
    return isArgon2idCost(cost) && salt.length >= MIN_SALT_BYTES ? { cost, salt, key } : undefined;
  }
  const cost: ScryptCost = { method: "scrypt", ln: first, r: second, p: third };
  return isScryptCost(cost) ? { cost, salt, key } : undefined;
}

/** Returns the text of a new hash. */
export function formatHash(cost: Argon2idCost, salt: Uint8Array, key: Uint8Array): string {
  return `${prefixOf(cost)}${base64(salt)}$${base64(key)}`;
}

/** Returns whether the text of a hash has that method and cost. */
export function hasCost(text: string, cost: Argon2idCost): boolean {
  return text.startsWith(prefixOf(cost));
}

function prefixOf({ memory, passes, lanes }: Argon2idCost): string {
  return `$argon2id$v=19$m=${memory},t=${passes},p=${lanes}$`;
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64").replace(/=+$/, "");
}

/** A key to derive. */
export interface KeyRequest {
  readonly password: string;
  readonly salt: Uint8Array;
  /** The length of the key in bytes. */
  readonly length: number;
  readonly cost: Cost;
}

/** Derives a key, in a thread of the runtime. */
export function deriveKey({ password, salt, length, cost }: KeyRequest): Promise<Uint8Array> {
  return cost.method === "argon2id"
    ? deriveArgon2id(password, salt, length, cost)
    : deriveScrypt(password, salt, length, cost);
}

/** Returns the memory of a hash in bytes. */
export function memoryOf(cost: Cost): number {
  return cost.method === "argon2id" ? cost.memory * 1_024 : scryptMemory(cost);
}

/** Returns the work of a hash, in a unit of its method. */
export function workOf(cost: Cost): number {
  return cost.method === "argon2id" ? argon2idWork(cost) : scryptWork(cost);
}

/**
 * Returns the costs of further hashes that make up for a hash of cost `actual` where one of `wanted` is due:
 * the difference of their work, or all of it if the methods differ.
 */
export function missingWork(actual: Cost, wanted: Cost): Cost[] {
  if (actual.method !== wanted.method) return [wanted];
  const missing = Math.max(0, workOf(wanted) - workOf(actual));
  return wanted.method === "argon2id" ? argon2idParts(missing, wanted) : scryptParts(missing, wanted);
}
