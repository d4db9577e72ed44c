/**
 * The README is short, its badges are true, and its cluster in five commands runs as it is written. The
 * commands name fixed ports. So they run in a network and process namespace of their own, which ends with the
 * test.
 */
import { assert, assertEquals, assertLessOrEqual, assertStringIncludes } from "@std/assert";
import { cleanEnv, ROOT } from "../harness/program.ts";
import { needTool } from "../harness/tools.ts";
import { within } from "../harness/wait.ts";

const TIMEOUT_MS = 60_000; // the commands take some seconds
const MAX_LINES = 120; // a README is read in one go; the rest is in docs/

/** A measured figure: thousands, or a share that is not none. */
const FIGURE = /\b(?:\d+,\d{3}|[1-9]\d* %)/g;

function figuresIn(cell: string): string[] {
  return cell.match(FIGURE) ?? [];
}

/** Returns the cells of the first table that has a column of this name. The first row is the head. */
function tableWith(markdown: string, column: string): string[][] {
  const tables = markdown.split(/\n(?!\|)/).map((part) =>
    part.split("\n").filter((line) => line.startsWith("| "))
      .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()))
      .filter((cells) => cells[0] !== "---")
  );
  return tables.find(([head]) => head?.includes(column))!;
}

/** Returns the five commands of a README. */
async function commands(readme: string): Promise<readonly string[]> {
  const text = await Deno.readTextFile(new URL(readme, ROOT));
  const block = /<!-- cluster: .*-->\n```sh\n([^]*?)```/.exec(text)?.[1] ?? "";
  return block.trimEnd().split("\n");
}

/** Starts MySQL and Redis as a system would, runs the commands, and lets two users chat. */
const SCRIPT = `
set -eu
ip link set lo up
mkdir -p /run/mysqld && mount -t tmpfs none /run/mysqld
mariadb-install-db --no-defaults --datadir="$TMP/data" --auth-root-authentication-method=normal $ROOT_USER >"$TMP/db.log" 2>&1
mariadbd --no-defaults --datadir="$TMP/data" $ROOT_USER --socket=/run/mysqld/mysqld.sock --bind-address=127.0.0.1 \\
  >>"$TMP/db.log" 2>&1 &
redis-server --port 6379 --save "" --dir "$TMP" >"$TMP/redis.log" &

await() { for i in $(seq 600); do if "$@" >/dev/null 2>&1; then return; fi; sleep 0.1; done; echo "in vain: $*"; exit 1; }
await mysql -e "SELECT 1"
await redis-cli ping

bash -eu "$TMP/commands" >"$TMP/nodes.log" 2>&1 || { cat "$TMP/nodes.log"; exit 1; }
await sh -c "test \\$(grep -c listening $TMP/nodes.log) = 2" || { cat "$TMP/nodes.log"; exit 1; }

chat() { CHAT_PASSWORD="correct horse" deno run -A client.ts 127.0.0.1 8000 "$@"; }
chat --user alice --register </dev/null
chat --user bob --register --json --follow </dev/null >"$TMP/bob" &
await grep -q '"friends"' "$TMP/bob"
echo "chat:2:hello bob" | chat --user alice
await grep -q "hello bob" "$TMP/bob"
cat "$TMP/bob"
mysql chat -e "SELECT name, state FROM User"
cat "$TMP/nodes.log"
`;

Deno.test("README: has at most 120 lines, and badges that name the workflow, the licence and the runtime", async () => {
  const text = await Deno.readTextFile(new URL("README.md", ROOT));
  assertLessOrEqual(text.split("\n").length - 1, MAX_LINES);
  const badges = [...text.matchAll(/^\[!\[(.*?)\]\((.*?)\)\]\((.*?)\)$/gm)].map(([, ...parts]) => parts);
  const workflow = "../../actions/workflows/ci.yml";
  const runtime = /^ARG DENO_VERSION=(.*)$/m.exec(
    await Deno.readTextFile(new URL("deploy/Dockerfile", ROOT)),
  )![1]!;
  assertEquals(badges, [
    ["licence: MIT", "https://img.shields.io/badge/licence-MIT-blue", "LICENSE"],
    [`Deno ${runtime}`, `https://img.shields.io/badge/Deno-${runtime}-black`, "deploy/Dockerfile"],
  ]);
  assertStringIncludes(text, `<a href="${workflow}"><img alt="ci" src="${workflow}/badge.svg"></a>`);
  const file = await Deno.readTextFile(new URL(".github/workflows/ci.yml", ROOT)); // as the badge names it
  assertStringIncludes(file, "name: ci\n");
  assertStringIncludes(await Deno.readTextFile(new URL("LICENSE", ROOT)), "MIT License");
});

Deno.test("README: the measured rows of the comparison have the figures of PERFORMANCE.md", async () => {
  const ours = tableWith(await Deno.readTextFile(new URL("README.md", ROOT)), "Tinode");
  const measured = tableWith(await Deno.readTextFile(new URL("docs/PERFORMANCE.md", ROOT)), "Tinode");
  const rows = ours.slice(1).filter((cells) => figuresIn(cells.slice(1).join()).length > 0);
  assert(rows.length > 0);
  for (const [label, ...cells] of rows) {
    const isSource = (source: readonly string[]) =>
      cells.every((cell, at) => {
        const [product] = ours[0]![at + 1]!.split(" ");
        const columns = source.filter((_, column) => measured[0]![column]!.split(" ")[0] === product);
        const known = new Set(columns.flatMap(figuresIn));
        return figuresIn(cell).every((figure) => known.has(figure));
      });
    assert(measured.slice(1).some(isSource), `PERFORMANCE.md has no row with the figures of: ${label}`);
  }
});

Deno.test("README: starts a cluster in five commands, on which two users chat", async () => {
  const [install = "", ...rest] = await commands("README.md");
  assertEquals(rest.length, 4);
  assertEquals(await commands("README.zh-CN.md"), [install, ...rest]);
  assertEquals(install, "apt-get install -y mariadb-server redis-server nginx libnginx-mod-stream");
  await needTool("mariadbd", "mariadb-server");
  await needTool("redis-server", "redis-server");
  await needTool("nginx", "libnginx-mod-stream", "-v");
  await needTool("ip", "iproute2", "-V");

  const folder = await Deno.makeTempDir({ prefix: "chat-readme-" });
  const isRoot = Deno.uid() === 0;
  const alone = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
  try {
    await Deno.writeTextFile(`${folder}/commands`, rest.join("\n"));
    const deno = Deno.execPath();
    const child = new Deno.Command("unshare", {
      args: [...alone, ...(isRoot ? [] : ["--map-root-user"]), "bash", "-c", SCRIPT],
      cwd: ROOT,
      clearEnv: true,
      env: cleanEnv({
        TMP: folder,
        XDG_STATE_HOME: folder,
        ROOT_USER: "--user=root",
        PATH: `${deno.slice(0, deno.lastIndexOf("/"))}:/usr/sbin:/sbin:${Deno.env.get("PATH") ?? ""}`,
        CHAT_LOG_FORMAT: "json",
      }),
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const output = child.output();
    let ended;
    try {
      ended = await within(output, "the end of the README's commands", TIMEOUT_MS);
    } catch (error) {
      child.kill("SIGKILL");
      await output;
      throw error;
    }
    const text = new TextDecoder().decode(ended.stdout) + new TextDecoder().decode(ended.stderr);
    assertEquals(ended.code, 0, text);
    assertStringIncludes(text, '"msg":"hello bob"');
    assertStringIncludes(text, "bob\tonline");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
