/** The files of saved logins: complete, bounded in number, and private. Also the warning about clear text. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { clearTextWarning } from "../../lib/client/clear_text.ts";
import { PrivateFolder, UnsafeFileError } from "../../lib/client/private_folder.ts";
import { MAX_SAVED_LOGINS, SavedLogins } from "../../lib/client/saved_logins.ts";
import type { Address } from "../../lib/client/transport.ts";
import { runClient } from "../harness/program.ts";

const uid = Deno.uid()!;
const MODULE = new URL("../../lib/client/private_folder.ts", import.meta.url);

async function withRoot(body: (root: string) => void | Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "state-" });
  try {
    await body(`${folder}/chat-client`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const quiet = (text: string) => {
  throw new Error(`unexpected warning: ${text}`);
};

Deno.test("private folder: uses no folder of another user", async () => {
  await withRoot((root) => {
    new PrivateFolder(root, "here", uid).write("a.json", "mine");
    const strange = new PrivateFolder(root, "here", uid + 1); // all files belong to another user
    for (
      const use of [() => strange.read("a.json"), () => strange.write("a.json", "x"), () => strange.list("")]
    ) {
      assertThrows(use, UnsafeFileError, `belongs to user ${uid}, not to user ${uid + 1}`);
    }
    assertEquals(new PrivateFolder(root, "here", uid).read("a.json"), "mine");
  });
});

Deno.test({
  name: "private folder: reads no file of another user",
  ignore: uid !== 0, // only root can change the owner of a file
  fn: () =>
    withRoot((root) => {
      const folder = new PrivateFolder(root, "here", uid);
      folder.write("a.json", "planted");
      Deno.chownSync(`${root}/here/a.json`, 12_345, null);
      assertThrows(() => folder.read("a.json"), UnsafeFileError, "belongs to user 12345");
    }),
});

Deno.test("private folder: rejects a link and a folder that others can write to", async () => {
  await withRoot((root) => {
    Deno.mkdirSync(`${root}/real`, { recursive: true, mode: 0o700 });
    Deno.symlinkSync(`${root}/real`, `${root}/link`);
    assertThrows(
      () => new PrivateFolder(root, "link", uid).write("a", ""),
      UnsafeFileError,
      "is not a folder",
    );
    Deno.chmodSync(root, 0o722);
    const folder = new PrivateFolder(root, "real", uid);
    assertThrows(() => folder.write("a", ""), UnsafeFileError, "is open to other users (mode 0722)");
    assertEquals([...Deno.readDirSync(`${root}/real`)], []);
  });
});

Deno.test("private folder: replaces a file in one step while two programs write it", async () => {
  await withRoot(async (root) => {
    const folder = new PrivateFolder(root, "here", uid);
    const code = (letter: string) => `
      const { PrivateFolder } = await import(${JSON.stringify(MODULE.href)});
      const folder = new PrivateFolder(${JSON.stringify(root)}, "here", ${uid});
      for (let count = 0; count < 300; count++) folder.write("a.json", "${letter}".repeat(4_000));`;
    let running = 2;
    const writers = ["a", "b"].map(async (letter) => {
      const { code: exit, stderr } = await new Deno.Command(Deno.execPath(), { args: ["eval", code(letter)] })
        .output();
      running--;
      assertEquals(exit, 0, new TextDecoder().decode(stderr));
    });
    let [reads, others] = [0, 0];
    while (running > 0) {
      const text = folder.read("a.json");
      if (text !== undefined && /^(?:a{4000}|b{4000})$/.test(text)) reads++;
      else if (text !== undefined) others++;
      await new Promise((resolve) => setTimeout(resolve));
    }
    await Promise.all(writers);
    assert(reads > 10, `${reads}`);
    assertEquals([others, folder.list("")], [0, ["a.json"]]);
  });
});

Deno.test("private folder: removes the temporary files of killed programs at a later write", async () => {
  await withRoot((root) => {
    const folder = new PrivateFolder(root, "here", uid);
    folder.write("a.json", "");
    for (const [name, age] of [["old.tmp", 61], ["new.tmp", 0]] as const) {
      Deno.writeTextFileSync(`${root}/here/${name}`, "half a tok");
      const time = Date.now() / 1_000 - age;
      Deno.utimeSync(`${root}/here/${name}`, time, time);
    }
    folder.write("a.json", "");
    assertEquals(folder.list("").toSorted(), ["a.json", "new.tmp"]);
  });
});

Deno.test("private folder: gives a lock to one holder, also while lock files are removed", async () => {
  await withRoot(async (root) => {
    new PrivateFolder(root, "here", uid).write("a.json", "x"); // creates the folder
    const code = `
      const { PrivateFolder } = await import(${JSON.stringify(MODULE.href)});
      const folder = new PrivateFolder(${JSON.stringify(root)}, "here", ${uid});
      const marker = ${JSON.stringify(`${root}/held`)};
      let count = 0;
      for (const end = performance.now() + 2_000; performance.now() < end || count === 0;) {
        const lock = folder.tryLock("a.lock");
        if (!lock) continue;
        count++;
        Deno.mkdirSync(marker); // fails if another program has the lock
        Deno.removeSync(marker);
        lock.release(true);
      }`;
    const programs = Array.from({ length: 3 }, async () => {
      const { code: exit, stderr } = await new Deno.Command(Deno.execPath(), { args: ["eval", code] })
        .output();
      assertEquals(exit, 0, new TextDecoder().decode(stderr));
    });
    await Promise.all(programs);
    assertEquals([...Deno.readDirSync(`${root}/here`)].map(({ name }) => name), ["a.json"]);
  });
});

Deno.test("saved logins: finds a token only for the host, the port and the TLS of its login", async () => {
  await withRoot((root) => {
    const hostname = "chat.example";
    const tls = { caCerts: [] };
    using stack = new DisposableStack();
    const savedAt = (...servers: Address[]) => {
      const saved = new SavedLogins(root, servers, uid, quiet);
      stack.defer(() => saved.release());
      return saved;
    };
    savedAt({ hostname, port: 1, tls }).save({ id: 1, name: "ann", token: "1.x" });
    assertEquals(savedAt({ hostname: "CHAT.example", port: 1, tls }).find()?.token, "1.x");
    for (
      const other of [
        { hostname, port: 1 },
        { hostname, port: 2, tls },
        { hostname: "other.example", port: 1, tls },
      ]
    ) assertEquals(savedAt(other).find(), undefined, JSON.stringify(other));
  });
});

Deno.test("saved logins: replaces the oldest login at the limit", async () => {
  await withRoot((root) => {
    const servers = [{ hostname: "127.0.0.1", port: 1 }];
    const saved = new SavedLogins(root, servers, uid, quiet);
    const folder = `${root}/tcp-127.0.0.1-1`;
    const keep = (id: number) => {
      saved.save({ id, name: `n${id}`, token: `${id}.x` });
      Deno.utimeSync(`${folder}/${id}.json`, id, id); // the seconds of 1970
    };
    for (let id = 1; id <= MAX_SAVED_LOGINS; id++) keep(id);
    assertEquals([saved.find({ id: 1 })?.token, saved.find({ name: "n2" })?.id], ["1.x", 2]);
    keep(MAX_SAVED_LOGINS + 1);
    assertEquals([saved.find({ id: 1 }), saved.find({ id: 2 })?.id], [undefined, 2]);
    assertEquals(saved.find({ id: MAX_SAVED_LOGINS + 1 })?.id, MAX_SAVED_LOGINS + 1);
    saved.release();
    assertEquals([...Deno.readDirSync(folder)].length, 2 * MAX_SAVED_LOGINS); // with the locks
  });
});

Deno.test("saved logins: uses the newest login of several servers, and removes a token for all", async () => {
  await withRoot((root) => {
    const [one, two] = [{ hostname: "a.example", port: 1 }, { hostname: "b.example", port: 1 }];
    const of = (...servers: (typeof one)[]) => new SavedLogins(root, servers, uid, quiet);
    const [first, second, both, reversed] = [of(one), of(two), of(one, two), of(two, one)];
    both.save({ id: 1, name: "a", token: "1.old" });
    both.release();
    const until = Date.now() + 1;
    while (Date.now() < until);
    second.save({ id: 1, name: "a", token: "1.new" });
    second.release();
    assertEquals([first.find()?.token, both.find()?.token, reversed.find()?.token], [
      "1.old",
      "1.new",
      "1.new",
    ]);
    both.remove("1.old"); // the newer token stays
    assertEquals([first.find(), both.find()?.token], [undefined, "1.new"]);
    both.remove("1.new");
    assertEquals(both.find(), undefined);
  });
});

Deno.test("saved logins: stays in its folder with any server name", async () => {
  await withRoot((root) => {
    for (const hostname of ["../../x", "/etc", "..", "a/b\\c", "[::1]", "%2f..", "\0"]) {
      const saved = new SavedLogins(root, [{ hostname, port: 1 }], uid, quiet);
      saved.save({ id: 1, name: "a", token: "1.x" });
      saved.release();
      assertEquals(saved.find()?.token, "1.x");
    }
    assertEquals([...Deno.readDirSync(root)].length, 7);
    assertEquals([...Deno.readDirSync(`${root}/..`)].map(({ name }) => name), ["chat-client"]);
  });
});

Deno.test("clear text: warns about servers on other machines without TLS", () => {
  const at = (hostname: string, tls?: { caCerts: string[] }) => ({ hostname, port: 6000, tls });
  const local = [
    "127.0.0.1",
    "127.255.0.9",
    "::1",
    "::ffff:127.0.0.1",
    "localhost",
    "LOCALHOST",
    "a.localhost",
  ];
  for (const hostname of local) assertEquals(clearTextWarning([at(hostname)]), undefined, hostname);
  const other = [
    "10.0.0.1",
    "chat.example.org",
    "127.0.0.1.example.org",
    "notlocalhost",
    "fe80::1",
    "1127.0.0.1",
  ];
  for (const hostname of other) {
    assert(clearTextWarning([at(hostname)])?.includes(hostname), hostname);
    assertEquals(clearTextWarning([at(hostname, { caCerts: [] })]), undefined);
  }
  const mixed = clearTextWarning([at("127.0.0.1"), at("fe80::1"), at("b.example", { caCerts: [] })])!;
  assert(mixed.includes(" [fe80::1]:6000 ") && !mixed.includes("127") && !mixed.includes("b.example"), mixed);
});

Deno.test("clear text: warns before the client sends a password to another machine", async () => {
  const args = ["chat.invalid:6000", "--user", "alice"]; // a name without an address
  const env = { CHAT_PASSWORD: "secret" };
  const open = await runClient(args, { env });
  const [warning, failure] = open.stderr.split("\n");
  assert(warning!.startsWith("warning: without --tls, passwords"), open.stderr);
  assert(failure!.startsWith("Cannot log in: "), open.stderr);
  const encrypted = await runClient([...args, "--tls"], { env });
  assertEquals([encrypted.code, encrypted.stderr.includes("warning")], [1, false]);
});
