/**
 * SipHash-2-4 by J.-P. Aumasson and D. J. Bernstein (2012), which RFC 9018 also uses. It is a message
 * authentication code for short messages, with a key of 128 bits and a tag of 64 bits. signer.ts has the
 * reason for its use.
 *
 * It is a WebAssembly function, as WebAssembly adds and rotates 64-bit numbers in one instruction each. It is
 * three to four times as fast as pairs of 32-bit numbers in JavaScript. The code below assembles the
 * function, so that it can be reviewed.
 */

/** Addresses in the memory of the function. */
const [KEY_AT, TAG_AT, MESSAGE_AT] = [0, 16, 24];

const BLOCK_BYTES = 8;
const PAGE_BYTES = 65_536;

/** Bytes of a key. */
export const KEY_BYTES = 16;

/** The function. Its parameters are the addresses of the first block and of the end of the last. */
type Run = (from: number, to: number) => void;

/** Computes tags with one key at a time. The message must be in {@link SipHash.bytes}. */
export class SipHash {
  readonly #memory = new WebAssembly.Memory({ initial: 1 });
  readonly #run: Run;
  #bytes = this.#view();
  #words = new Int32Array(this.#memory.buffer);
  #numbers = new Float64Array(this.#memory.buffer);

  constructor() {
    const { exports } = new WebAssembly.Instance(MODULE, { env: { memory: this.#memory } });
    this.#run = exports.run as Run;
  }

  /** Sets the key, of {@link KEY_BYTES} bytes. */
  setKey(key: Uint8Array): void {
    new Uint8Array(this.#memory.buffer, KEY_AT, KEY_BYTES).set(key);
  }

  /** The buffer of the message, which may be longer than the message. {@link grow} may replace it. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** Makes room for a message of `byteLength` bytes. Returns whether `bytes` is another array now. */
  grow(byteLength: number): boolean {
    const lacking = MESSAGE_AT + byteLength + BLOCK_BYTES - this.#memory.buffer.byteLength;
    if (lacking <= 0) return false;
    this.#memory.grow(Math.ceil(lacking / PAGE_BYTES));
    this.#bytes = this.#view();
    this.#words = new Int32Array(this.#memory.buffer);
    this.#numbers = new Float64Array(this.#memory.buffer);
    return true;
  }

  /** Writes a number into the first 8 bytes of the message, in IEEE 754 format. */
  writeNumber(value: number): void {
    this.#numbers[MESSAGE_AT / 8] = value;
  }

  /**
   * Returns the tag of the first `byteLength` bytes as two little-endian halves, and overwrites the bytes
   * after them.
   */
  digest(byteLength: number): { readonly low: number; readonly high: number } {
    const end = MESSAGE_AT + BLOCK_BYTES * (Math.floor(byteLength / BLOCK_BYTES) + 1);
    // The last block is padded with zeros, and its last byte is the length modulo 256.
    const [last, at] = [end / 4 - 1, (MESSAGE_AT + byteLength) >>> 2];
    const rest = this.#words[at]! & ((1 << ((byteLength & 3) << 3)) - 1);
    if (at < last) this.#words[at] = rest;
    this.#words[last] = (at < last ? 0 : rest) | byteLength << 24;
    this.#run(MESSAGE_AT, end);
    return { low: this.#words[TAG_AT / 4]!, high: this.#words[TAG_AT / 4 + 1]! };
  }

  #view(): Uint8Array {
    return new Uint8Array(this.#memory.buffer, MESSAGE_AT);
  }
}

/** The numbers of types, sections and instructions, from the WebAssembly specification. */
const [I32, I64, FUNCTION, EMPTY] = [0x7f, 0x7e, 0x60, 0x40];
const [TYPES, IMPORTS, FUNCTIONS, EXPORTS, CODE] = [1, 2, 3, 7, 10];
const [LOOP, END, BRANCH_IF] = [0x03, 0x0b, 0x0d];
const [GET, SET, TEE, I64_LOAD, I64_STORE, I32_CONST, I64_CONST] = [0x20, 0x21, 0x22, 0x29, 0x37, 0x41, 0x42];
const [I32_LESS, I32_ADD, I64_ADD, I64_XOR, I64_ROTL] = [0x49, 0x6a, 0x7c, 0x85, 0x89];
const ALIGNED_8 = 3;

/** The function's parameters, which are the begin and the end of the blocks, and its variables. */
const [FROM, TO, V0, V1, V2, V3, BLOCK] = [0, 1, 2, 3, 4, 5, 6];

const MODULE = new WebAssembly.Module(
  Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0], // "\0asm", version 1
    ...section(TYPES, [1, FUNCTION, 2, I32, I32, 0]),
    ...section(IMPORTS, [1, ...text("env"), ...text("memory"), 2, 0, 1]),
    ...section(FUNCTIONS, [1, 0]),
    ...section(EXPORTS, [1, ...text("run"), 0, 0]),
    ...section(CODE, [1, ...sized([1, 5, I64, ...functionBody(), END])]),
  ]),
);

function functionBody(): number[] {
  return [
    ...initialize(V0, KEY_AT, 0x736f6d6570736575n), // "somepseudorandomlygeneratedbytes"
    ...initialize(V1, KEY_AT + 8, 0x646f72616e646f6dn),
    ...initialize(V2, KEY_AT, 0x6c7967656e657261n),
    ...initialize(V3, KEY_AT + 8, 0x7465646279746573n),
    ...[LOOP, EMPTY],
    ...[GET, FROM, I64_LOAD, ALIGNED_8, 0, TEE, BLOCK, GET, V3, I64_XOR, SET, V3],
    ...rounds(2),
    ...[GET, V0, GET, BLOCK, I64_XOR, SET, V0],
    ...[GET, FROM, I32_CONST, BLOCK_BYTES, I32_ADD, TEE, FROM, GET, TO, I32_LESS, BRANCH_IF, 0],
    END,
    ...[GET, V2, ...i64(0xffn), I64_XOR, SET, V2],
    ...rounds(4),
    ...[I32_CONST, 0, GET, V0, GET, V1, I64_XOR, GET, V2, I64_XOR, GET, V3, I64_XOR],
    ...[I64_STORE, ALIGNED_8, TAG_AT],
  ];
}

/** `variable = key ^ constant` */
function initialize(variable: number, keyAt: number, constant: bigint): number[] {
  return [I32_CONST, 0, I64_LOAD, ALIGNED_8, keyAt, ...i64(constant), I64_XOR, SET, variable];
}

function rounds(count: number): number[] {
  const round = [
    ...[...mix(V0, V1, 13n), ...rotate(V0, 32n), ...mix(V2, V3, 16n)],
    ...[...mix(V0, V3, 21n), ...mix(V2, V1, 17n), ...rotate(V2, 32n)],
  ];
  return Array.from({ length: count }, () => round).flat();
}

/** `a += b; b = (b <<< by) ^ a` */
function mix(a: number, b: number, by: bigint): number[] {
  return [GET, a, GET, b, I64_ADD, TEE, a, GET, b, ...i64(by), I64_ROTL, I64_XOR, SET, b];
}

/** `a <<<= by` */
function rotate(a: number, by: bigint): number[] {
  return [GET, a, ...i64(by), I64_ROTL, SET, a];
}

function i64(constant: bigint): number[] {
  return [I64_CONST, ...signedLeb128(constant)];
}

function section(id: number, content: readonly number[]): number[] {
  return [id, ...sized(content)];
}

function text(characters: string): number[] {
  return sized([...new TextEncoder().encode(characters)]);
}

/** Returns the content after its length in LEB128. */
function sized(content: readonly number[]): number[] {
  const length: number[] = [];
  for (let rest = content.length; rest > 0 || length.length === 0; rest >>>= 7) {
    length.push(rest > 0x7f ? rest & 0x7f | 0x80 : rest);
  }
  return [...length, ...content];
}

function signedLeb128(value: bigint): number[] {
  for (const bytes: number[] = [];; value >>= 7n) {
    const low = Number(value & 0x7fn);
    const isLast = value >> 6n === 0n || value >> 6n === -1n;
    bytes.push(isLast ? low : low | 0x80);
    if (isLast) return bytes;
  }
}
