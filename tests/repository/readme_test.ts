/**
 * The README's cluster in five commands, run as they are written. They name fixed ports, so they run in a network, and
 * among processes, of their own; all of it ends with the test.
 */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { cleanEnv, ROOT } from "../harness/program.ts";
import { needTool } from "../harness/tools.ts";
import { within } from "../harness/wait.ts";

const MINUTE = 60_000; // milliseconds; it takes some seconds

/** The README's five commands. */
async function commands(readme: string): Promise<readonly string[]> {
  const text = await Deno.readTextFile(new URL(readme, ROOT));
  const block = /<!-- cluster: .*-->\n```sh\n([^]*?)```/.exec(text)?.[1] ?? "";
  return block.trimEnd().split("\n");
}

/** MySQL and Redis as a system has them running, then the commands, then two people who chat. */
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

Deno.test("README: a cluster in five commands, and two people on it who chat", async () => {
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
      ended = await within(output, "the end of the README's commands", MINUTE);
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
