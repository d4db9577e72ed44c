/** Password hashes: test vectors of their methods, the PHC form, and the work that makes up for a smaller cost. */
import { assertEquals } from "@std/assert";
import {
  type Argon2idCost,
  deriveKey,
  formatHash,
  hasCost,
  missingWork,
  parseHash,
  type ScryptCost,
} from "../../lib/passwords/stored_hash.ts";

function argon2id(memory: number, passes: number, lanes = 1): Argon2idCost {
  return { method: "argon2id", memory, passes, lanes };
}

function scrypt(ln: number, r: number, p: number): ScryptCost {
  return { method: "scrypt", ln, r, p };
}

Deno.test("hashes: match a test vector of scrypt (RFC 7914, section 12)", async () => {
  const salt = new TextEncoder().encode("NaCl");
  const key = await deriveKey({ password: "password", salt, length: 64, cost: scrypt(10, 8, 16) });
  assertEquals(
    key.toHex(),
    "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b3731622eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640",
  );
});

// From the reference implementation (github.com/P-H-C/phc-winner-argon2, src/test.c, version 0x13).
Deno.test("hashes: match test vectors of Argon2id's reference implementation", async () => {
  const vectors = [
    [2, 65_536, 1, "password", "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"],
    [2, 256, 1, "password", "9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe"],
    [2, 256, 2, "password", "6d093c501fd5999645e0ea3bf620d7b8be7fd2db59c20d9fff9539da2bf57037"],
    [2, 65_536, 1, "differentpassword", "0b84d652cf6b0c4beaef0dfe278ba6a80df6696281d7e0d2891b817d8c458fde"],
  ] as const;
  for (const [passes, memory, lanes, password, expected] of vectors) {
    const salt = new TextEncoder().encode("somesalt");
    const cost = argon2id(memory, passes, lanes);
    assertEquals((await deriveKey({ password, salt, length: 32, cost })).toHex(), expected);
  }
});

const SALT = "c29tZXNhbHQ";
const KEY = "A".repeat(43);

Deno.test("hashes: read their own form, and no other", () => {
  const read = (text: string) => parseHash(text)?.cost;
  assertEquals(read(`$argon2id$v=19$m=19456,t=2,p=1$${SALT}$${KEY}`), argon2id(19_456, 2));
  assertEquals(read(`$argon2id$v=19$m=32,t=1,p=4$${SALT}$${KEY}`), argon2id(32, 1, 4));
  assertEquals(read(`$scrypt$ln=15,r=8,p=3$${SALT}$${KEY}`), scrypt(15, 8, 3));
  for (
    const other of [
      "",
      "*",
      `$argon2i$v=19$m=19456,t=2,p=1$${SALT}$${KEY}`,
      `$argon2d$v=19$m=19456,t=2,p=1$${SALT}$${KEY}`,
      `$argon2id$v=16$m=19456,t=2,p=1$${SALT}$${KEY}`,
      `$argon2id$m=19456,t=2,p=1$${SALT}$${KEY}`,
      `$argon2id$v=19$m=19456,t=2,p=1,keyid=AA$${SALT}$${KEY}`,
      `$argon2id$v=19$m=19456,t=2,p=1$${SALT}$${KEY}\n`,
      `$argon2id$v=19$m=31,t=1,p=4$${SALT}$${KEY}`, // less than 8 KiB per lane
      `$argon2id$v=19$m=8,t=0,p=1$${SALT}$${KEY}`,
      `$argon2id$v=19$m=8,t=1,p=0$${SALT}$${KEY}`,
      `$argon2id$v=19$m=8,t=1,p=1$c2FsdA$${KEY}`, // a salt of 4 bytes
      `$scrypt$ln=0,r=8,p=1$${SALT}$${KEY}`,
    ]
  ) assertEquals(read(other), undefined, other);
});

Deno.test("hashes: read what they write, and tell whether it has a cost", () => {
  const [salt, key] = [new Uint8Array(16).fill(7), new Uint8Array(32).fill(9)];
  const cost = argon2id(19_456, 2);
  const text = formatHash(cost, salt, key);
  const hash = parseHash(text)!;
  assertEquals([hash.cost, hash.salt.toHex(), hash.key.toHex()], [cost, salt.toHex(), key.toHex()]);
  assertEquals(hasCost(text, cost), true);
  for (const other of [argon2id(19_456, 1), argon2id(1_945, 2), argon2id(19_456, 2, 2)]) {
    assertEquals(hasCost(text, other), false);
  }
});

Deno.test("hashes: make up for a smaller cost with no more than the difference", () => {
  const today = argon2id(1_000, 3);
  assertEquals(missingWork(argon2id(1_000, 2), today), [argon2id(1_000, 1)]);
  assertEquals(missingWork(argon2id(700, 1), today), [argon2id(1_000, 2), argon2id(300, 1)]);
  assertEquals(missingWork(argon2id(996, 3), today), [argon2id(12, 1)]);
  assertEquals(missingWork(argon2id(999, 3), today), [], "less than the least memory");
  for (const none of [today, argon2id(3_000, 1), argon2id(9_000, 1), argon2id(3_500, 1)]) {
    assertEquals(missingWork(none, today), [], "nothing can be removed");
  }
  assertEquals(missingWork(scrypt(14, 8, 3), scrypt(15, 8, 3)), [scrypt(15, 8, 1), scrypt(14, 8, 1)]);
  assertEquals(missingWork(scrypt(15, 8, 3), scrypt(15, 8, 3)), []);
  assertEquals(missingWork(scrypt(16, 8, 3), scrypt(15, 8, 3)), [], "nothing can be removed");
  assertEquals(missingWork(scrypt(15, 8, 3), today), [today], "another method");
});
