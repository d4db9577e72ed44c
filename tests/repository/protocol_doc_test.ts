/** Replays every example of docs/PROTOCOL.md against a real server, in the order of the document. */
import { needTool } from "../harness/tools.ts";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { type Bindings, type Example, examplesIn, filled, type Step } from "./doc_examples.ts";
import { Connection } from "../harness/connection.ts";
import { frame, joined } from "../harness/frames.ts";
import { ROOT } from "../harness/program.ts";
import { type Address, type Server, startServer, withServer } from "../harness/server.ts";
import { until, within } from "../harness/wait.ts";

const HEADER_BYTES = 4; // the length of a frame
const text = await Deno.readTextFile(new URL("docs/PROTOCOL.md", ROOT));

/** A client that exposes every byte that it receives. */
class Client {
  readonly classic: boolean;
  #connection!: Connection;
  #bytes: Uint8Array = new Uint8Array(0);
  #ended = false;

  private constructor(classic: boolean) {
    this.classic = classic;
  }

  static async connect(at: Address, classic: boolean): Promise<Client> {
    const client = new Client(classic);
    client.#connection = await Connection.open(at, {
      bytes: (chunk) => client.#bytes = joined(client.#bytes, chunk),
      end: () => client.#ended = true,
    });
    return client;
  }

  send(what: string | Uint8Array): Promise<void> {
    const body = typeof what !== "string"
      ? what
      : this.classic
      ? new TextEncoder().encode(`${what}\0`)
      : frame(what);
    return this.#connection.write(body);
  }

  /** Returns the next `count` bytes, or fewer if the server has closed the connection. */
  async bytes(count: number): Promise<Uint8Array> {
    await until(() => this.#bytes.length >= count || this.#ended, `${count} bytes`);
    const taken = this.#bytes.subarray(0, count);
    this.#bytes = this.#bytes.slice(count);
    return taken;
  }

  /** Returns the next message. Rejects if the server has closed the connection instead. */
  async message(): Promise<unknown> {
    const body = this.classic ? await this.#untilNul() : await this.#frame();
    if (body.length === 0) throw new Error("the server closed the connection without a message");
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  }

  /** Asserts that the server closes the connection and sends nothing more. */
  async serverCloses(): Promise<void> {
    await this.#connection.serverCloses();
    this.assertNothingMore();
    await this.close();
  }

  /** Asserts that the server has sent nothing beyond the bytes read so far. */
  assertNothingMore(): void {
    assertEquals(new TextDecoder().decode(this.#bytes), "", "the example does not show this");
  }

  close(): Promise<void> {
    return this.#connection.close();
  }

  async #frame(): Promise<Uint8Array> {
    const head = await this.bytes(HEADER_BYTES);
    if (head.length < HEADER_BYTES) return head.subarray(0, 0);
    return await this.bytes(new DataView(head.buffer, head.byteOffset).getUint32(0));
  }

  async #untilNul(): Promise<Uint8Array> {
    await until(() => this.#bytes.includes(0) || this.#ended, "a message and its NUL");
    return (await this.bytes(this.#bytes.indexOf(0) + 1)).slice(0, -1);
  }
}

/** The clients of the examples that share a server, and the values of their placeholders. */
class Replay implements AsyncDisposable {
  readonly #server: Server;
  readonly #clients = new Map<string, Client>();
  readonly #bindings: Bindings = new Map();

  constructor(server: Server) {
    this.#server = server;
  }

  async run(example: Example): Promise<void> {
    for (const step of example.steps) {
      try {
        await this.#step(step);
      } catch (error) {
        throw new Error(`docs/PROTOCOL.md, line ${step.line}: ${(error as Error).message}`, { cause: error });
      }
    }
    await this.#assertNothingMore(example);
  }

  async #step(step: Step): Promise<void> {
    if (step.kind === "signal") return this.#server.kill(step.signal as "SIGTERM");
    const { client: name, sent, what } = step;
    let client = this.#clients.get(name);
    if (!client) {
      client = await Client.connect(this.#server, name !== name.toUpperCase());
      this.#clients.set(name, client);
    }
    if (what === "closes") {
      await (sent ? client.close() : client.serverCloses());
      this.#clients.delete(name);
    } else if ("bytes" in what) {
      if (sent) await client.send(what.bytes);
      else assertEquals(await client.bytes(what.bytes.length), what.bytes);
    } else if (sent) await client.send(JSON.stringify(filled(what.message, undefined, this.#bindings)));
    else {
      const actual = await client.message();
      assertEquals(actual, filled(what.message, actual, this.#bindings));
    }
  }

  /** Asserts that no client has received more. A reply to PING follows everything that was sent before. */
  async #assertNothingMore({ line }: Example): Promise<void> {
    for (const [name, client] of this.#clients) {
      try {
        if (!client.classic) {
          await client.send('{"msgid":24,"rid":"end of example"}');
          assertEquals(await client.message(), { msgid: 25, errno: 0, rid: "end of example" });
        }
        client.assertNothingMore();
      } catch (error) {
        const where = `docs/PROTOCOL.md, the example that begins in line ${line}: client ${name}`;
        throw new Error(`${where}: ${(error as Error).message}`, { cause: error });
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients.values()) await client.close();
  }
}

Deno.test("PROTOCOL.md: the examples are correct, one after the other", async () => {
  const examples = examplesIn(text).filter(({ server }) => server === undefined);
  assert(examples.length > 0);
  await withServer({}, async (server) => {
    await using replay = new Replay(server);
    for (const example of examples) await replay.run(example);
  });
});

for (const example of examplesIn(text).filter(({ server }) => server !== undefined)) {
  Deno.test(`PROTOCOL.md: the example with ${example.server!.join(" ")} is correct, line ${example.line}`, async () => {
    await withServer({ args: example.server! }, async (server) => {
      await using replay = new Replay(server);
      await replay.run(example);
    });
  });
}

Deno.test("PROTOCOL.md: the quick start prints the lines below it", async () => {
  await needTool("python3", "python3-minimal");
  const program = /^```python\n([^]*?)^```$/m.exec(text)![1]!;
  const shown = /^```text\n([^]*?)^```$/m.exec(text.slice(text.indexOf(program)))![1]!;
  assert(program.includes("6000"));
  await using server = await startServer();
  const command = new Deno.Command("python3", {
    args: ["-c", program.replace("6000", `${server.port}`)],
    stdout: "piped",
    stderr: "piped",
  });
  const { stdout, stderr } = await within(command.output(), "the end of the quick start");
  const printed = new TextDecoder().decode(stdout);
  assertEquals(new TextDecoder().decode(stderr), "");
  assertEquals(printed, filled(shown, printed, new Map()));
});

Deno.test("replay: fails when an example is wrong", async () => {
  const wrong = [
    ["a value", 'A> {"msgid":24}\nA< {"msgid":25,"errno":1}'],
    ["a field too many", 'A> {"msgid":24}\nA< {"msgid":25,"errno":0,"rid":1}'],
    ["a field too few", 'A> {"msgid":24}\nA< {"msgid":25}'],
    ["a byte", 'A> 00 00 00 0c \'{"msgid":24}\'\nA< 00 00 00 15 \'{"msgid":25,"errno":0}\''],
    ["a message too few", 'A> {"msgid":24}\nA> {"msgid":24}\nA< {"msgid":25,"errno":0}'],
    ["a placeholder for two values", 'A> {"msgid":24,"rid":1}\nA< {"msgid":25,"errno":<n>,"rid":<n>}'],
    ["text for a number", 'A> {"msgid":24,"rid":"x"}\nA< {"msgid":25,"errno":0,"rid":<n>}'],
    ["the side that closes", "A> 00 01 00 01\nA< (closes)"],
  ] as const;
  await withServer({}, async (server) => {
    for (const [what, body] of wrong) {
      const [example] = examplesIn(`\`\`\`chat\n${body}\n\`\`\`\n`);
      await using replay = new Replay(server);
      const found = await replay.run(example!).then(() => undefined, (error: Error) => error.message);
      assert(found?.startsWith("docs/PROTOCOL.md, "), `${what} was not found: ${found}`);
    }
  });
});

Deno.test("examples: throws when a line has no known form", () => {
  for (const line of ["A {}", 'A> {"msgid":}', "A> 0", "A> (waves)", "! please", "AB> {}"]) {
    assertThrows(() => examplesIn(`\`\`\`chat\n${line}\n\`\`\`\n`), Error, "line 2");
  }
});
