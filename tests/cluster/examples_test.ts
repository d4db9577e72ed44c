/** The programs and the configurations in examples/, run as they are but for their addresses. */
import { assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import { ClientProcess } from "../harness/client_process.ts";
import { FramedClient, newUser, register } from "../harness/framed_client.ts";
import { FrameReader, objectFrame } from "../harness/frames.ts";
import { startMariadb } from "../harness/mariadb.ts";
import { freePort } from "../harness/ports.ts";
import { ROOT } from "../harness/program.ts";
import { Errno, Msg, type Received, type Sent } from "../harness/protocol_numbers.ts";
import { startRedis } from "../harness/redis.ts";
import { type Address, type Server, serverTest, startServer } from "../harness/server.ts";
import { Authority } from "../harness/tls.ts";
import { needTool } from "../harness/tools.ts";
import { until, within } from "../harness/wait.ts";

const HOST = "127.0.0.1";

/** The commands of the two bots. */
const BOTS: Readonly<Record<string, readonly string[]>> = {
  "bot.ts": [Deno.execPath(), "run", "--allow-net", "--allow-env=CHAT_PASSWORD", "examples/bot.ts"],
  "bot.py": ["python3", "examples/bot.py"],
};

Deno.test("examples: the README starts the bots by the commands that are tested here", async () => {
  const readme = await Deno.readTextFile(new URL("examples/README.md", ROOT));
  for (const [, ...args] of Object.values(BOTS)) {
    assertStringIncludes(readme, ` ${args.join(" ")} 127.0.0.1 6000 echo`);
  }
});

/** Starts a bot with the name `echo`. */
function start(
  command: readonly string[],
  { host, port }: Address,
  password = "correct horse",
): ClientProcess {
  return new ClientProcess([host, `${port}`, "echo"], { command, env: { CHAT_PASSWORD: password } });
}

/** The server's end of one connection, in the hands of a test. */
class Peer implements Disposable {
  readonly #conn: Deno.Conn;
  readonly #reader = new FrameReader();
  readonly #received: Received[] = [];

  private constructor(conn: Deno.Conn) {
    this.#conn = conn;
  }

  static async accept(listener: Deno.Listener): Promise<Peer> {
    return new Peer(await within(listener.accept(), "a connection of the bot"));
  }

  async next(): Promise<Received> {
    const buffer = new Uint8Array(4_096);
    while (this.#received.length === 0) {
      const read = await within(this.#conn.read(buffer), "a message of the bot");
      if (read === null) throw new Error("the bot closed the connection");
      for (const body of this.#reader.push(buffer.subarray(0, read))) this.#received.push(JSON.parse(body));
    }
    return this.#received.shift()!;
  }

  async send(message: Sent): Promise<void> {
    await this.#conn.write(objectFrame(message));
  }

  [Symbol.dispose](): void {
    this.#conn.close();
  }
}

for (const [name, command] of Object.entries(BOTS)) {
  serverTest(
    `${name}: registers, answers, and is there again after a restart of the server`,
    {},
    async (server) => {
      if (command[0] === "python3") await needTool("python3", "python3");
      await using bot = start(command, server);
      await bot.until(({ stdout }) => /^logged in as echo \(1\)$/m.test(stdout), "a login");
      await using alice = await newUser(server);
      await alice.chat(1, "你好 👋");
      const answer = await alice.next(Msg.ONE_CHAT);
      assertEquals([answer.id, answer.msg], [1, "you said: 你好 👋"]);
      await alice.chat(1, "you said: no question");
      await server.restart();
      await bot.until(({ stdout }) => stdout.split("logged in").length === 3, "a second login");
      await using bob = await newUser(server);
      await bob.chat(1, "x".repeat(20_000));
      assertEquals((await bob.next(Msg.ONE_CHAT)).msg, `you said: ${"x".repeat(1_000)}`);
    },
  );

  serverTest(
    `${name}: ends with an error when the name is another user's, or the account is taken over`,
    {},
    async (server) => {
      if (command[0] === "python3") await needTool("python3", "python3");
      await register(server, "echo");
      await using refused = start(command, server, "another password");
      assertEquals(await refused.end(), 1);
      assertStringIncludes(refused.stderr, 'cannot register echo: the name "echo" is taken');
      await using bot = start(command, server);
      await bot.until(({ stdout }) => stdout.includes("logged in"), "a login");
      await using other = start(command, server);
      await other.until(({ stderr }) => stderr.includes("the account is in use"), "a refusal");
      other.signal("SIGKILL");
      await using thief = await newUser(server);
      await thief.succeed({ msgid: Msg.LOGOUT });
      await thief.login({ name: "echo" }, { force: true });
      assertEquals(await bot.end(), 1);
    },
  );

  Deno.test(`${name}: repeats an unacknowledged answer with its cid, and says DELIVERED after the acknowledgement`, async () => {
    if (command[0] === "python3") await needTool("python3", "python3");
    using listener = Deno.listen({ hostname: HOST, port: 0 });
    const question = {
      msgid: Msg.ONE_CHAT,
      id: 3,
      name: "alice",
      toid: 7,
      msg: "hi",
      time: 1,
      seq: 5,
      cid: "a",
    };
    const welcome = { msgid: Msg.LOGIN_ACK, errno: Errno.OK, id: 7, name: "echo", token: "t1", epoch: "e1" };
    await using bot = start(command, { host: HOST, port: listener.addr.port });
    let answer;
    {
      using peer = await Peer.accept(listener);
      const { rid, ...login } = await peer.next();
      assertEquals(login, { msgid: Msg.LOGIN, name: "echo", password: "correct horse" } as typeof login);
      await peer.send({ ...welcome, rid });
      await peer.send({ msgid: Msg.PING });
      assertEquals((await peer.next()).msgid, Msg.PONG);
      await peer.send(question);
      answer = await peer.next();
      assertEquals(answer.msg, "you said: hi");
    } // the connection ends before the acknowledgement
    using peer = await Peer.accept(listener);
    const { rid, ...login } = await peer.next();
    assertEquals(login, { msgid: Msg.LOGIN, token: "t1" } as typeof login);
    await peer.send({ ...welcome, rid });
    await peer.send(question);
    const again = await peer.next();
    assertEquals([again.toid, again.msg, again.cid], [3, "you said: hi", answer.cid]);
    await peer.send({
      msgid: Msg.ACK,
      of: Msg.ONE_CHAT,
      errno: Errno.RATE_LIMITED,
      retry_after: 10,
      rid: again.rid,
    });
    const third = await peer.next();
    assertEquals([third.msg, third.cid], ["you said: hi", answer.cid]);
    assertNotEquals(third.rid, again.rid);
    await peer.send({ ...question, msg: "next", seq: 6 }); // waits for the first one's acknowledgement
    await peer.send({ msgid: Msg.ACK, of: Msg.ONE_CHAT, errno: Errno.OK, seq: 8, time: 2, rid: third.rid });
    assertEquals(await peer.next(), { msgid: Msg.DELIVERED, id: 3, seq: 5 } as Received);
    assertEquals((await peer.next()).msg, "you said: next");
    bot.signal("SIGKILL");
  });
}

/** Two nodes on one MariaDB and one Redis, with health ports if the example has those. */
async function withTwoNodes(work: (nodes: Server[], healthPorts: number[]) => Promise<void>): Promise<void> {
  await using mariadb = await startMariadb();
  await using redis = await startRedis();
  await using database = await mariadb.fresh();
  const healthPorts = [freePort(), freePort()];
  await using parts = new AsyncDisposableStack();
  const nodes: Server[] = [];
  for (const healthPort of healthPorts) {
    const options = ["--trusted-proxies", HOST, "--health-port", `${healthPort}`, "--log-level", "debug"];
    const args = ["--mysql", database.url, "--redis", redis.url, ...options];
    nodes.push(parts.use(await startServer({ args, port: freePort() })));
  }
  await work(nodes, healthPorts);
}

/** A load balancer that runs an example's configuration, until it is disposed of. */
class Balancer implements Address, AsyncDisposable {
  readonly host = HOST;
  readonly port: number;
  readonly ca: string | undefined;
  readonly #child: Deno.ChildProcess;
  readonly #log: string;
  #hasEnded = false;

  /** Runs the command. Its log is a file in `folder`. */
  constructor(folder: string, command: string, port: number, ca?: string) {
    this.port = port;
    this.ca = ca;
    this.#log = `${folder}/log`;
    const args = ["-c", `exec ${command} >"${this.#log}" 2>&1`];
    this.#child = new Deno.Command("sh", { args, cwd: folder, stdin: "null" }).spawn();
    void this.#child.status.then(() => this.#hasEnded = true);
  }

  /** Resolves when a connection goes through it to a node; rejects, with its log, if it ends instead. */
  async ready(): Promise<void> {
    await until(async () => {
      if (this.#hasEnded) throw new Error(`the load balancer ended:\n${Deno.readTextFileSync(this.#log)}`);
      const client = await FramedClient.connect(this).catch(() => undefined);
      if (!client) return false;
      await using connected = client;
      return await connected.request({ msgid: Msg.PING }).then(() => true, () => false);
    }, "a load balancer that forwards");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#hasEnded) this.#child.kill("SIGTERM");
    await within(this.#child.status, "the load balancer's end");
  }
}

/** Writes an example's configuration with these words of it replaced, each of which it has once. */
async function configure(
  name: string,
  file: string,
  replaced: Readonly<Record<string, string>>,
): Promise<void> {
  let text = await Deno.readTextFile(new URL(`examples/${name}`, ROOT));
  for (const [word, other] of Object.entries(replaced)) {
    const parts = text.replaceAll(/^ *#.*$/gm, "").split(word);
    assertEquals(parts.length, 2, `${name} has "${word}" once`);
    text = parts.join(other);
  }
  await Deno.writeTextFile(file, text);
}

/** Two users on different nodes chat through the load balancer; the nodes know their addresses. */
async function assertChat(balancer: Balancer, nodes: readonly Server[]): Promise<void> {
  await balancer.ready();
  await using alice = await newUser(balancer);
  await using stack = new AsyncDisposableStack();
  const nodeOf = (id: number) =>
    until(
      () => nodes.find((node) => node.log().includes(`"event":"session started","user":${id},`)),
      "the login in a log",
    );
  const first = await nodeOf(alice.id);
  const bob = await until(async () => {
    const user = stack.use(await newUser(balancer));
    return await nodeOf(user.id) === first ? undefined : user;
  }, "a user on the other node");
  await alice.chat(bob.id, "hello");
  assertEquals((await bob.next(Msg.ONE_CHAT)).msg, "hello");
}

async function refuses({ host, port }: Address): Promise<boolean> {
  try {
    (await Deno.connect({ hostname: host, port })).close();
    return false;
  } catch (error) {
    return error instanceof Deno.errors.ConnectionRefused;
  }
}

Deno.test("haproxy.cfg: two users on two nodes chat; a node that drains gets no more connections", async () => {
  await needTool("haproxy", "haproxy", "-v");
  const folder = await Deno.makeTempDir({ prefix: "chat-haproxy-" });
  try {
    await withTwoNodes(async ([a, b], [healthA, healthB]) => {
      const port = freePort();
      const file = `${folder}/haproxy.cfg`;
      await configure("haproxy.cfg", file, {
        "bind :8000": `bind ${HOST}:${port}`,
        "127.0.0.1:6000 port 6001": `${HOST}:${a!.port} port ${healthA}`,
        "127.0.0.1:6002 port 6003": `${HOST}:${b!.port} port ${healthB}`,
      });
      await using balancer = new Balancer(folder, `haproxy -db -f ${file}`, port);
      await assertChat(balancer, [a!, b!]);
      a!.kill("SIGTERM");
      await until(() => refuses(a!), "a node that refuses connections");
      for (let count = 0; count < 5; count++) {
        await using user = await newUser(balancer); // no connection fails meanwhile
        await until(
          () => b!.log().includes(`"event":"session started","user":${user.id},`),
          "a login at the other node",
        );
      }
      assertEquals(await a!.wait(), 0);
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("nginx.conf: two users on two nodes chat through TLS", async () => {
  await needTool("nginx", "libnginx-mod-stream", "-v");
  await using authority = await Authority.make();
  const { cert, key } = await authority.issue();
  const folder = await Deno.makeTempDir({ prefix: "chat-nginx-" });
  try {
    await withTwoNodes(async ([a, b]) => {
      const port = freePort();
      await Deno.mkdir(`${folder}/examples`);
      await configure("nginx.conf", `${folder}/examples/nginx.conf`, {
        "listen 8443": `listen ${HOST}:${port}`,
        "127.0.0.1:6000": `${HOST}:${a!.port}`,
        "127.0.0.1:6002": `${HOST}:${b!.port}`,
        "/etc/ssl/chat/fullchain.pem": cert,
        "/etc/ssl/chat/privkey.pem": key,
      });
      const command = `nginx -p ${folder} -c examples/nginx.conf -g "daemon off;"`;
      await using balancer = new Balancer(folder, command, port, authority.ca);
      await assertChat(balancer, [a!, b!]);
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
