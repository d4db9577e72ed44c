/** SipHash-2-4 by its authors' test vectors, and by a plain implementation. */
import { assertEquals } from "@std/assert";
import { createHmac } from "node:crypto";
import { Signer } from "../../lib/bus/redis/signer.ts";
import { SipHash } from "../../lib/bus/redis/siphash.ts";
import { Random } from "../harness/random.ts";

/** The first tags of the reference implementation: messages 00, 00 01, … with the key 00 01 … 0f. */
const VECTORS = [
  ...["310e0edd47db6f72", "fd67dc93c539f874", "5a4fa9d909806c0d", "2d7efbd796666785"],
  ...["b7877127e09427cf", "8da699cd64557618", "cee3fe586e46c9cb", "37d1018bf50002ab"],
  ...["6224939a79f5f593", "b0e4a90bdf82009e", "f3b9dd94c5bb5d7a", "a7ad6b22462fb3f4"],
  ...["fbe50e86bc8f1e75", "903d84c02756ea14", "eef27a8e90ca23f7", "e545be4961ca29a1"],
];

/** A signed message, byte for byte: nodes of all releases must agree on it. */
const SECRET = "5e".repeat(32);
const [HEADING, ARRAY, CHANNEL, EPOCH] = ["0123456789abcdef1", '["p",7]', -5, "an epoch"];

const MASK = (1n << 64n) - 1n;

/** The algorithm of the paper, with numbers of 64 bits. */
function plain(message: Uint8Array, key: Uint8Array): bigint {
  const numbers = (bytes: Uint8Array) => new BigUint64Array(Uint8Array.from(bytes).buffer);
  const padded = new Uint8Array(8 * (Math.floor(message.length / 8) + 1));
  padded.set(message);
  padded[padded.length - 1] = message.length;
  const rotate = (x: bigint, by: bigint) => (x << by | x >> (64n - by)) & MASK;
  const [k0, k1] = numbers(key) as unknown as [bigint, bigint];
  let [v0, v1, v2, v3] = [
    k0 ^ 0x736f6d6570736575n,
    k1 ^ 0x646f72616e646f6dn,
    k0 ^ 0x6c7967656e657261n,
    k1 ^ 0x7465646279746573n,
  ];
  const rounds = (count: number) => {
    for (let i = 0; i < count; i++) {
      v0 = (v0 + v1) & MASK;
      v1 = rotate(v1, 13n) ^ v0;
      v0 = rotate(v0, 32n);
      v2 = (v2 + v3) & MASK;
      v3 = rotate(v3, 16n) ^ v2;
      v0 = (v0 + v3) & MASK;
      v3 = rotate(v3, 21n) ^ v0;
      v2 = (v2 + v1) & MASK;
      v1 = rotate(v1, 17n) ^ v2;
      v2 = rotate(v2, 32n);
    }
  };
  for (const block of numbers(padded)) {
    v3 ^= block;
    rounds(2);
    v0 ^= block;
  }
  v2 ^= 0xffn;
  rounds(4);
  return v0 ^ v1 ^ v2 ^ v3;
}

const hash = new SipHash(); // one for all messages, so that each finds the bytes of its predecessor

function tagOf(message: Uint8Array, key: Uint8Array): Uint8Array {
  hash.grow(message.length);
  hash.setKey(key);
  hash.bytes.fill(0xff, 0, message.length + 8).set(message);
  const { low, high } = hash.digest(message.length);
  return new Uint8Array(Int32Array.of(low, high).buffer);
}

Deno.test("siphash: computes the tags of its authors' test vectors", () => {
  const key = Uint8Array.from({ length: 16 }, (_, i) => i);
  for (const [length, expected] of VECTORS.entries()) {
    const message = Uint8Array.from({ length }, (_, i) => i);
    assertEquals(tagOf(message, key).toHex(), expected, `${length} bytes`);
  }
});

Deno.test("siphash: equals plain arithmetic for messages of any length and content", () => {
  const random = new Random(7);
  for (let length = 0; length <= 600; length++) {
    const [message, key] = [random.bytes(length), random.bytes(16)];
    const [tag] = new BigUint64Array(tagOf(message, key).buffer);
    assertEquals(tag, plain(message, key), `${length} bytes`);
  }
});

Deno.test("siphash: makes room for a message that fills the memory, and for a longer one", () => {
  const key = new Uint8Array(16);
  const page = 65_536;
  for (const length of [page - 33, page - 32, page - 31, page - 24, page, 3 * page + 1]) {
    const message = new Uint8Array(length).fill(7);
    const [tag] = new BigUint64Array(tagOf(message, key).buffer);
    assertEquals(tag, plain(message, key), `${length} bytes`);
  }
});

Deno.test("signer: the tag covers channel and text, with the key of the epoch", () => {
  const signer = new Signer(SECRET);
  signer.adopt(EPOCH);
  const signed = signer.sign(CHANNEL, HEADING, ARRAY);
  const text = HEADING + ARRAY.slice(0, -1);
  assertEquals([signed.slice(0, -20), signed.slice(-2)], [`${text}`, '"]']);
  const key = createHmac("sha256", Uint8Array.fromHex(SECRET)).update(`chat bus, epoch ${EPOCH}`).digest();
  const message = new Uint8Array([
    ...new Uint8Array(Float64Array.of(CHANNEL).buffer),
    ...new TextEncoder().encode(text),
  ]);
  const tag = plain(message, key.subarray(0, 16));
  const halves = [tag & 0xffffffffn, tag >> 32n].map((half) => half.toString(16).padStart(8, "0"));
  assertEquals(signed.slice(-20), `,"${halves.join("")}"]`);
});
