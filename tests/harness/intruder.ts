/**
 * A preload of a server's process that stands for a malicious package. On SIGUSR2 it tries actions that the
 * sandbox must refuse, and prints the result of each, `done` or the error, as one line of JSON. The process
 * runs in a checkout with a folder `home` beside it, see tests/repository/permissions_test.ts.
 */
import { spawnSync } from "node:child_process";
import { openSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";

const OUTSIDE = [
  "deno.json",
  "deno.lock",
  "main.ts",
  "lib/node/run_node.ts",
  ".git/hooks/pre-commit",
  "../home/.profile",
];

/** Opens a file for writing without changing it. */
function append(path: string): void {
  Deno.openSync(path, { append: true, create: true }).close();
}

function withDatabase(file: string, use: (db: DatabaseSync) => void): void {
  const db = new DatabaseSync(file);
  try {
    use(db);
  } finally {
    db.close();
  }
}

/** Throws when the value is undefined, as it is for a variable that the process may not read. */
function mustBeSet(value: string | undefined): void {
  if (value === undefined) throw new Deno.errors.NotCapable("not set");
}

const tries: Readonly<Record<string, () => unknown>> = {
  "write in the data folder": () => append("data/own"),
  "write a secret": () => append("secrets/key.pem"),
  ...Object.fromEntries(OUTSIDE.map((path) => [`write ${path}`, () => append(path)])),
  "write a new file": () => append("new.ts"),
  "write by way of the data folder": () => append("data/../deno.json"),
  "write by node:fs": () => writeFileSync("main.ts", "", { flag: "a" }),
  "write to a descriptor of node:fs": () => openSync("main.ts", "a"),
  "write a temporary file": () => Deno.makeTempFileSync({ dir: "../home" }),
  "make a folder": () => Deno.mkdirSync("../home/folder"),
  "move a file out": () => Deno.renameSync("data/file", "moved.ts"),
  "copy a file out": () => Deno.copyFileSync("data/database", "copied.ts"),
  "make a link": () => Deno.symlinkSync("../main.ts", "data/made"),
  "make a link by node:fs": () => symlinkSync("..", "data/node", "dir"),
  "make a link to the data folder": () => Deno.symlinkSync("file", "data/inside"),
  "make a hard link": () => Deno.linkSync("main.ts", "data/hard"),
  "change a mode": () => Deno.chmodSync("main.ts", 0o644),
  "open a database": () => withDatabase("new.db", (db) => db.exec("CREATE TABLE T (t)")),
  "attach a database": () =>
    withDatabase(":memory:", (db) => db.exec("ATTACH 'attached.db' AS a; CREATE TABLE a.T (t)")),
  "copy a database out": () => withDatabase(":memory:", (db) => db.exec("VACUUM INTO 'vacuumed.db'")),

  "read the code": () => Deno.readTextFileSync("lib/node/run_node.ts"),
  "read a secret": () => Deno.readTextFileSync("secrets/key.pem"),
  "read the data folder": () => Deno.readTextFileSync("data/database"),
  "read deno.json": () => Deno.readTextFileSync("deno.json"),
  "read main.ts": () => Deno.readTextFileSync("main.ts"),
  "read a hook": () => Deno.readTextFileSync(".git/config"),
  "read /etc/passwd": () => Deno.readTextFileSync("/etc/passwd"),
  "read by node:fs": () => readFileSync("/etc/passwd"),
  "read the environment's file": () => Deno.readTextFileSync("/proc/self/environ"),
  "read at home": () => Deno.readTextFileSync("../home/.profile"),
  "list the folder": () => [...Deno.readDirSync(".")],
  "list the home": () => [...Deno.readDirSync("../home")],
  "read another's database": () => withDatabase("../home/other.db", (db) => db.exec("SELECT 1")),
  "load code": () => import(new URL("../home/evil.ts", `file://${Deno.cwd()}/`).href),

  "run a program": () => new Deno.Command("true").outputSync(),
  "run a program by node:child_process": () => {
    const { status } = spawnSync("true"); // it neither throws nor returns an error
    if (status !== 0) throw new Deno.errors.NotCapable("not run");
  },
  "run the runtime": () => new Deno.Command(Deno.execPath(), { args: ["--version"] }).outputSync(),
  "signal a process": () => Deno.kill(Deno.ppid, "SIGCONT"),
  "load a library": () => Deno.dlopen("libc.so.6", { getpid: { parameters: [], result: "i32" } }).close(),
  "read a variable": () => mustBeSet(Deno.env.get("HOME")),
  "read a variable by node:process": () => mustBeSet(process.env.HOME),
  "read all variables": () => mustBeSet(Deno.env.toObject().HOME),
  "ask for the machine's name": () => hostname(),
  "ask for its networks": () => Deno.networkInterfaces(),
};

async function tryAll(): Promise<void> {
  const results: Record<string, string> = {};
  for (const [name, attempt] of Object.entries(tries)) {
    try {
      await attempt();
      results[name] = "done";
    } catch (error) {
      results[name] = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    }
  }
  Deno.stdout.writeSync(new TextEncoder().encode(`intruder: ${JSON.stringify(results)}\n`));
}

Deno.addSignalListener("SIGUSR2", () => void tryAll());
