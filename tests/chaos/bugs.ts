/**
 * Deliberate bugs. Each breaks one invariant in a copy of the source, to show that the suite finds it. A bug
 * that the suite does not find shows a gap of the suite.
 */
import { ROOT } from "../harness/program.ts";

/** A text in a file, and its replacement with the bug. */
interface Change {
  readonly file: string;
  /** The text, which must occur exactly once. */
  readonly from: string;
  readonly to: string;
}

/** A deliberate bug. */
interface Bug {
  /** A description for the help. */
  readonly description: string;
  readonly changes: readonly Change[];
}

/** All bugs by name. */
export const bugs = {
  "cursor-on-write": {
    description: "a message counts as delivered when it is written to the socket (against I4)",
    changes: [{
      file: "lib/server/delivery/delivery.ts",
      from: "return this.#connection.dialect?.ackOnWrite ? () => this.#onWritten(peer, seq) : undefined;",
      to: "return () => this.#onWritten(peer, seq);",
    }],
  },
  "ack-before-commit": {
    description:
      "a message is acknowledged and delivered when its seq is known, before its commit (against I1 and I3)",
    changes: [{
      file: "lib/store/mysql/append.ts",
      from: "    try {\n      await this.#write(connection, stored, log.tails, tails, isPredicted);",
      to:
        "    this.early?.(results);\n    try {\n      await this.#write(connection, stored, log.tails, tails, isPredicted);",
    }, {
      file: "lib/store/mysql/append.ts",
      from: "  readonly #messages: readonly NewMessage[];",
      to:
        "  early?: (results: (AppendResult | DatabaseError)[]) => void;\n  readonly #messages: readonly NewMessage[];",
    }, {
      file: "lib/store/mysql/appender.ts",
      from: "const results = await commitWithRetry(context, append, lengthOf(batch));",
      to: `append.early = (results) => {
      for (const [i, result] of results.entries()) {
        if (!(result instanceof DatabaseError)) batch[i]!.resolve(result);
      }
    };
    const results = await commitWithRetry(context, append, lengthOf(batch));`,
    }],
  },
  "publish-before-commit": {
    description: "a message is delivered when its seq is known, before its commit (against I3)",
    changes: [{
      file: "lib/store/store.ts",
      from: "  readonly mustBeDuplicate?: boolean;\n}",
      to: "  readonly mustBeDuplicate?: boolean;\n  readonly early?: (seq: number) => void;\n}",
    }, {
      file: "lib/store/mysql/append.ts",
      from: "      stored.push([...key, entry.seq, checked, cid, entry.time, body]);",
      to:
        "      stored.push([...key, entry.seq, checked, cid, entry.time, body]);\n      message.early?.(entry.seq);",
    }, {
      file: "lib/server/handlers/chat.ts",
      from:
        "const append = (mustBeDuplicate: boolean) =>\n    node.store.append({ sender, peer, cid, body, time: node.now(), mustBeDuplicate });",
      to: `const now = node.now();
  const early = (seq: number) =>
    node.deliver(session, peer, { seq, sender, senderName: session.name, cid, body, time: now });
  const append = (mustBeDuplicate: boolean) =>
    node.store.append({ sender, peer, cid, body, time: now, mustBeDuplicate, early });`,
    }, {
      file: "lib/server/handlers/chat.ts",
      from: "else node.deliver(session, peer, { seq, sender, senderName: session.name, cid, body, time });",
      to: "",
    }],
  },
  "no-pull-at-login": {
    description: "a login subscribes without loading its backlog (against I3)",
    changes: [{
      file: "lib/server/handlers/login.ts",
      from: "  await session.delivery.loadUnread();\n",
      to: "",
    }],
  },
  "forget-gap": {
    description: "a message is pushed at once, also when the session lacks earlier ones (against I2)",
    changes: [{
      file: "lib/server/delivery/delivery.ts",
      from: "const isNext = seq - 1 === conversation.lastPushedSeq &&",
      to: "const isNext = conversation.lastPushedSeq !== undefined &&",
    }],
  },
  "no-cid-check": {
    description: "a repeated message is stored again (against I5)",
    changes: [{
      file: "schema.sql",
      from: "UNIQUE KEY cid (sender, cid)",
      to: "KEY cid (sender, cid)",
    }],
  },
  "no-recovery-look": {
    description: "nodes do not look for messages with lost hints (against I3)",
    changes: [{
      file: "lib/server/recovery/recovery.ts",
      from:
        "for (const user of await store.usersWithUnread(batch)) sessions.get(user)?.delivery.requestResync();",
      to: "",
    }],
  },
} as const satisfies Record<string, Bug>;

/** The name of a bug. */
export type BugName = keyof typeof bugs;

/** All of them. */
export const bugNames = Object.keys(bugs) as readonly BugName[];

/** The files from which servers run, which are copied. */
const SOURCE = ["deno.json", "deno.lock", "lib", "links", "main.ts", "schema.sql"];

/** A source tree with bugs. Disposing of it removes its folder. */
export class BuggyTree implements AsyncDisposable {
  /** The folder, without a slash at its end. */
  readonly root: string;

  /** Use {@link plant}. */
  constructor(root: string) {
    this.root = root;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.root, { recursive: true });
  }
}

/**
 * Copies the source into a folder of its own, with bugs. Rejects when the text of a bug is not in the source.
 */
export async function plant(...names: readonly BugName[]): Promise<BuggyTree> {
  const tree = new BuggyTree(await Deno.makeTempDir({ prefix: "chat-bug-" }));
  try {
    for (const path of SOURCE) await copy(new URL(path, ROOT), `${tree.root}/${path}`);
    for (const name of names) {
      for (const change of bugs[name].changes) await apply(change, tree.root, name);
    }
  } catch (error) {
    await tree[Symbol.asyncDispose]();
    throw error;
  }
  return tree;
}

async function apply({ file, from, to }: Change, root: string, name: BugName): Promise<void> {
  const [before, after, ...more] = (await Deno.readTextFile(`${root}/${file}`)).split(from);
  if (after === undefined || more.length > 0) {
    throw new Error(`bug ${name}: this is not in ${file} exactly once:\n${from}`);
  }
  await Deno.writeTextFile(`${root}/${file}`, before + to + after);
}

async function copy(from: URL, to: string): Promise<void> {
  if ((await Deno.stat(from)).isFile) return await Deno.copyFile(from, to);
  await Deno.mkdir(to);
  for await (const { name } of Deno.readDir(from)) await copy(new URL(name, `${from}/`), `${to}/${name}`);
}
