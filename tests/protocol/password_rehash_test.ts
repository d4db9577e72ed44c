/** Plaintext passwords of an earlier server, hashed at a login and in the background. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Log } from "../../lib/log.ts";
import { PasswordHasher } from "../../lib/passwords/password_hasher.ts";
import { type Argon2idCost, deriveKey } from "../../lib/passwords/stored_hash.ts";
import { defaults } from "../../lib/config/config.ts";
import type { Config } from "../../lib/config/options.ts";
import { rehashAll } from "../../lib/server/recovery/password_rehash.ts";
import { StoredPasswords } from "../../lib/server/sessions/stored_passwords.ts";
import { IN_MEMORY, SqliteStore } from "../../lib/store/sqlite/sqlite_store.ts";
import { PLAINTEXT_PREFIX, type Store } from "../../lib/store/store.ts";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { FramedClient } from "../harness/framed_client.ts";
import type { Address } from "../harness/server.ts";
import { withNodes, wrapped } from "../harness/nodes.ts";
import { idOf, ROOMY } from "../store/store_fixture.ts";

const CHEAP: Argon2idCost = { method: "argon2id", memory: 8, passes: 1, lanes: 1 };
const HASHED = "$argon2id$v=19$m=8,t=1,p=1$";
/** The beginning of hashes by {@link withNodes}. */
const NODE_HASHED = "$argon2id$v=19$m=8,";

Deno.test("rehash: hashes an old password at its login, and refuses a wrong one", async () => {
  let store: Store | undefined;
  await withNodes(1, async (node) => {
    const id = idOf(await store!.createUser("old", `${PLAINTEXT_PREFIX}123456`));
    await using client = await FramedClient.connect(node!);
    for (const password of ["12345", "1234567", `${PLAINTEXT_PREFIX}123456`, PLAINTEXT_PREFIX]) {
      assertEquals((await client.request({ msgid: Msg.LOGIN, id, password })).errno, Errno.FAILED, password);
    }
    assertEquals((await store!.findUser({ id }))!.password, `${PLAINTEXT_PREFIX}123456`);
    await client.succeed({ msgid: Msg.LOGIN, id, password: "123456" });
    assertStringIncludes((await store!.findUser({ id }))!.password, NODE_HASHED);
    await client.succeed({ msgid: Msg.LOGOUT });
    await client.succeed({ msgid: Msg.LOGIN, id, password: "123456" });
  }, { store: (real) => store = real });
});

const WRITTEN = "set by sql";

/** Runs `work` on a node whose store contains a plaintext password, and returns the log. */
async function withWritten(
  written: string,
  acceptPlainPasswords: "yes" | "no",
  work: (node: Address, id: number, store: Store) => Promise<void>,
): Promise<string> {
  let store: Store | undefined;
  const lines: string[] = [];
  await withNodes(1, async (node) => {
    const id = idOf(await store!.createUser("old", `${HASHED}AAAA$AAAA`));
    await store!.setPassword(id, written, `${HASHED}AAAA$AAAA`);
    await work(node!, id, store!);
  }, {
    store: (real) => store = real,
    log: new Log("warn", "text", (line) => lines.push(line)),
    config: { acceptPlainPasswords },
  });
  return lines.join("");
}

Deno.test("rehash: reports a plaintext password with the user's id, and refuses it", async () => {
  const log = await withWritten(WRITTEN, "no", async (node, id, store) => {
    await using client = await FramedClient.connect(node);
    for (const password of [WRITTEN, "wrong", WRITTEN]) {
      const reply = await client.request({ msgid: Msg.LOGIN, id, password });
      assertEquals([reply.errno, reply.errmsg], [Errno.FAILED, "unknown user or wrong password"]);
    }
    assertEquals((await store.findUser({ id }))!.password, WRITTEN);
  });
  assertEquals(log.match(/stored password is not a hash/g)?.length, 1, log);
  assertMatch(log, /user=1 help=.*--accept-plain-passwords/);
  assert(!log.includes(WRITTEN) && !log.includes("wrong"), log);
});

Deno.test("rehash: takes a plaintext password with --accept-plain-passwords, no foreign hash", async () => {
  const log = await withWritten(WRITTEN, "yes", async (node, id, store) => {
    await using client = await FramedClient.connect(node);
    for (const password of ["wrong", `${PLAINTEXT_PREFIX}${WRITTEN}`]) {
      assertEquals((await client.request({ msgid: Msg.LOGIN, id, password })).errno, Errno.FAILED);
    }
    await client.succeed({ msgid: Msg.LOGIN, id, password: WRITTEN });
    assertStringIncludes((await store.findUser({ id }))!.password, NODE_HASHED);
    await client.succeed({ msgid: Msg.LOGOUT });
    await client.succeed({ msgid: Msg.LOGIN, id, password: WRITTEN });
  });
  assert(log.includes("user=1") && !log.includes(WRITTEN), log);
  for (
    const hash of [
      "0123456789abcdef".repeat(2),
      "$2b$12$abcdefghijkl",
      "$2b$12$abc\ndef",
      "$scrypt$ln=1",
      "$argon2id$v=19$m=8",
    ]
  ) {
    const log = await withWritten(hash, "yes", async (node, id) => {
      await using client = await FramedClient.connect(node);
      assertEquals(
        (await client.request({ msgid: Msg.LOGIN, id, password: hash })).errno,
        Errno.FAILED,
        hash,
      );
    });
    assertStringIncludes(log, "another program's hash");
    assert(!log.includes(hash), log);
  }
});

const SALT = "c2FsdHNhbHRzYWx0c2FsdA";
const KEY = "A".repeat(43);

Deno.test("rehash: refuses a hash of excessive cost in time, and reports it with the user's id", async () => {
  const cases: readonly (readonly [stored: string, help: string])[] = [
    [`$scrypt$ln=40,r=8,p=1$${SALT}$${KEY}`, "far above"],
    [`$scrypt$ln=20,r=8,p=1$${SALT}$${KEY}`, "far above"],
    [`$scrypt$ln=1,r=8,p=99999999$${SALT}$${KEY}`, "far above"],
    [`$scrypt$ln=${"9".repeat(60)},r=${"9".repeat(60)},p=1$${SALT}$${KEY}`, "far above"],
    [`$scrypt$ln=17,r=1,p=1$${SALT}$${KEY}`, "another program's hash"], // no valid cost of scrypt
    [`$scrypt$ln=0,r=8,p=1$${SALT}$${KEY}`, "another program's hash"],
    [`$scrypt$ln=4,r=0,p=1$${SALT}$${KEY}`, "another program's hash"],
    [`$scrypt$ln=4,r=8,p=0$${SALT}$${KEY}`, "another program's hash"],
    [`$scrypt$ln=4,r=8,p=1$${SALT}$AA`, "another program's hash"], // one password in 256 would match
    [`$scrypt$ln=4,r=8,p=1$${SALT}$${"A".repeat(255)}`, "another program's hash"],
    [`$argon2id$v=19$m=155656,t=1,p=1$${SALT}$${KEY}`, "far above .*--argon2-memory"],
    [`$argon2id$v=19$m=8,t=99999999,p=1$${SALT}$${KEY}`, "far above"],
    [`$argon2id$v=19$m=${"9".repeat(60)},t=1,p=1$${SALT}$${KEY}`, "far above"],
    [`$argon2i$v=19$m=19456,t=2,p=1$${SALT}$${KEY}`, "another program's hash"],
    [`$argon2id$v=16$m=19456,t=2,p=1$${SALT}$${KEY}`, "another program's hash"],
    [`$argon2id$v=19$m=8,t=1,p=2$${SALT}$${KEY}`, "another program's hash"], // no valid cost
    [`$argon2id$v=19$m=8,t=1,p=1$c2FsdA$${KEY}`, "another program's hash"], // nor a valid salt
    [`$argon2id$v=19$m=8,t=1,p=1$${SALT}$AAAAAA`, "another program's hash"],
    ["", "1 to 128 characters"],
    ["p".repeat(129), "1 to 128 characters"],
    ["😀".repeat(129), "1 to 128 characters"],
  ];
  for (const accepts of ["yes", "no"] as const) {
    for (const [stored, help] of cases) {
      const log = await withWritten(stored, accepts, async (node, id) => {
        await using client = await FramedClient.connect(node);
        const reply = await client.request({ msgid: Msg.LOGIN, id, password: stored.slice(0, 128) || "x" });
        assertEquals([reply.errno, reply.errmsg], [Errno.FAILED, "unknown user or wrong password"], stored);
      });
      assertMatch(log, new RegExp(`user=1 help=.*${help}`), stored);
      assert(!log.includes("--accept-plain-passwords"), log);
      assertEquals(log.trim().split("\n").length, 1, log);
    }
  }
});

Deno.test("rehash: checks a hash of the greatest permitted cost, and refuses one step more", () => {
  const account = { id: 1, name: "old", online: false };
  const low = { argon2Memory: 8, argon2Passes: 1, scryptLn: 1, scryptR: 1, scryptP: 1 };
  const refuses = (cost: string, configured: Partial<Config> = low) => {
    const lines: string[] = [];
    const log = new Log("warn", "text", (line) => lines.push(line));
    const password = `$${cost}$${SALT}$${KEY}`;
    const stored = new StoredPasswords(log, { ...defaults(), ...configured })
      .credentialOf({ ...account, password });
    assertEquals(lines.length, stored === password ? 0 : 1);
    return stored !== password;
  };
  const argon2id = (cost: string, configured?: Partial<Config>) =>
    refuses(`argon2id$v=19$${cost}`, configured);
  assertEquals([argon2id("m=19456,t=16,p=1"), argon2id("m=19456,t=17,p=1")], [false, true], "work");
  assertEquals([argon2id("m=155648,t=2,p=1"), argon2id("m=155649,t=1,p=1")], [false, true], "memory");
  const large = { argon2Memory: 65_536, argon2Passes: 3 };
  assertEquals([argon2id("m=524288,t=3,p=4", large), argon2id("m=524288,t=4,p=4", large)], [false, true]);
  const scrypt = (cost: string, configured?: Partial<Config>) => refuses(`scrypt$${cost}`, configured);
  assertEquals([scrypt("ln=17,r=8,p=3"), scrypt("ln=18,r=8,p=4")], [false, true], "time");
  assertEquals([scrypt("ln=17,r=15,p=1"), scrypt("ln=18,r=9,p=1")], [false, true], "memory");
  assertEquals([scrypt("ln=15,r=8,p=24"), scrypt("ln=15,r=8,p=25")], [false, true], "time by p");
  const high = { scryptLn: 20, scryptR: 8, scryptP: 1 };
  assertEquals(["ln=20", "ln=22", "ln=24"].map((ln) => scrypt(`${ln},r=8,p=1`, high)), [false, false, true]);
});

Deno.test("rehash: replaces a hash of scrypt at a login by password, and the token goes on working", async () => {
  let store: Store | undefined;
  await withNodes(1, async (node) => {
    const salt = new TextEncoder().encode("saltsaltsaltsalt");
    const cost = { method: "scrypt", ln: 4, r: 8, p: 1 } as const;
    const key = await deriveKey({ password: "sesame", salt, length: 32, cost });
    const digits = key.toBase64({ omitPadding: true });
    const old = `$scrypt$ln=4,r=8,p=1$${salt.toBase64({ omitPadding: true })}$${digits}`;
    const id = idOf(await store!.createUser("old", old));
    await using client = await FramedClient.connect(node!);
    assertEquals((await client.request({ msgid: Msg.LOGIN, id, password: "open" })).errno, Errno.FAILED);
    assertEquals((await store!.findUser({ id }))!.password, old);
    const { token } = await client.succeed({ msgid: Msg.LOGIN, id, password: "sesame" });
    const stored = (await store!.findUser({ id }))!.password;
    assertStringIncludes(stored, NODE_HASHED);
    await client.close();
    await using again = await FramedClient.connect(node!);
    await again.succeed({ msgid: Msg.LOGIN, token });
    await again.succeed({ msgid: Msg.LOGOUT });
    await again.succeed({ msgid: Msg.LOGIN, id, password: "sesame" });
    assertEquals((await store!.findUser({ id }))!.password, stored, "once");
  }, { store: (real) => store = real });
});

Deno.test("rehash: takes the longest plaintext password with --accept-plain-passwords", async () => {
  const longest = "😀".repeat(128);
  await withWritten(longest, "yes", async (node, id) => {
    await using client = await FramedClient.connect(node);
    await client.succeed({ msgid: Msg.LOGIN, id, password: longest });
  });
  const log = await withWritten(longest, "no", async (node, id) => {
    await using client = await FramedClient.connect(node);
    assertEquals((await client.request({ msgid: Msg.LOGIN, id, password: longest })).errno, Errno.FAILED);
  });
  assertStringIncludes(log, "--accept-plain-passwords");
});

Deno.test("rehash: takes names of earlier versions unchanged", async () => {
  let store: Store | undefined;
  await withNodes(1, async (node) => {
    const names = [
      "al\u200bice",
      " \u0430lice ",
      "re\u0301ne\u0301",
      "a\tb",
      "a\nb",
      "a\u007f",
      "\u200b",
      "so\u0338ren",
    ];
    for (const name of names) {
      const id = idOf(await store!.createUser(name, `${PLAINTEXT_PREFIX}123456`));
      await using client = await FramedClient.connect(node!);
      assertEquals((await client.succeed({ msgid: Msg.LOGIN, name, password: "123456" })).id, id);
    }
    await using client = await FramedClient.connect(node!);
    const reply = await client.request({
      msgid: Msg.REGISTER,
      name: "r\u00e9n\u00e9",
      password: "correct horse",
    });
    assertEquals(reply.errno, Errno.FAILED, "the same name in another form");
  }, { store: (real) => store = real });
});

Deno.test("rehash: hashes all plaintext passwords in the background, and touches no other", async () => {
  const store = await SqliteStore.open(IN_MEMORY, ROOMY);
  try {
    using passwords = new PasswordHasher(CHEAP, 1, 100);
    const kept = await passwords.hash("hashed before");
    const hashed = idOf(await store.createUser("hashed", kept));
    const old: number[] = [];
    for (let i = 0; i < 1_500; i++) {
      old.push(idOf(await store.createUser(`u${i}`, `${PLAINTEXT_PREFIX}pw ${i}`)));
    }
    const lines: string[] = [];
    const log = new Log("info", "text", (line) => lines.push(line));
    await rehashAll({ store, passwords, log }, () => false);
    assertEquals(await store.plaintextAccounts(0, 10), []);
    assertEquals((await store.findUser({ id: hashed }))!.password, kept);
    for (const at of [0, 999, 1_000, 1_499]) {
      const { password } = (await store.findUser({ id: old[at]! }))!;
      assertStringIncludes(password, HASHED);
      assert((await passwords.verify(`pw ${at}`, password)).valid);
    }
    assertStringIncludes(lines.join(""), "count=1500");
    assert(!lines.join("").includes("pw "));
  } finally {
    await store.close();
  }
});

Deno.test("rehash: leaves a password that changes meanwhile, and stops on request", async () => {
  const real = await SqliteStore.open(IN_MEMORY, ROOMY);
  try {
    using passwords = new PasswordHasher(CHEAP, 1, 100);
    const log = new Log("error", "text", () => {});
    const id = idOf(await real.createUser("old", `${PLAINTEXT_PREFIX}old`));
    idOf(await real.createUser("other", `${PLAINTEXT_PREFIX}other`));
    const store = wrapped<Store>(real, async (name, go, args) => {
      // Another node does the same between the read and the write.
      if (name === "setPassword" && args[0] === id) {
        await real.setPassword(id, "another hash", `${PLAINTEXT_PREFIX}old`);
      }
      return await go();
    });
    await rehashAll({ store, passwords, log }, () => true);
    assertEquals((await real.plaintextAccounts(0, 10)).length, 2);
    await rehashAll({ store, passwords, log }, () => false);
    assertEquals((await real.findUser({ id }))!.password, "another hash");
    assertEquals(await real.plaintextAccounts(0, 10), []);
  } finally {
    await real.close();
  }
});
