/**
 * Deliberate bugs: each breaks one promise in a copy of the source, to show that the suite would find it. A bug that
 * the suite does not find shows what the suite lacks.
 */
import { ROOT } from "../harness/program.ts";

/** A text in a file, and what stands there instead with the bug. */
interface Change {
  readonly file: string;
  /** Must be there exactly once. */
  readonly from: string;
  readonly to: string;
}

/** One bug. */
interface Bug {
  /** What is wrong with it, for people. */
  readonly what: string;
  readonly changes: readonly Change[];
}

/** All bugs, by their names. */
export const bugs = {
  "cursor-on-write": {
    what: "a message counts as delivered when it has been written to the socket (against I4)",
    changes: [{
      file: "lib/server/delivery/delivery.ts",
      from: "return this.#connection.dialect?.ackOnWrite ? () => this.#onWritten(peer, seq) : undefined;",
      to: "return () => this.#onWritten(peer, seq);",
    }],
  },
  "ack-before-commit": {
    what:
      "a message is acked and offered to all when its seq is known, and committed then (against I1 and I3)",
    changes: [{
      file: "lib/store/mysql/append.ts",
      from: "    try {\n      await this.#write(connection, stored, log.lastSeqs);",
      to: "    this.early?.(results);\n    try {\n      await this.#write(connection, stored, log.lastSeqs);",
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
    what: "a message is offered to its recipients when its seq is known, and committed then (against I3)",
    changes: [{
      file: "lib/store/store.ts",
      from: "  readonly mustBeDuplicate?: boolean;\n}",
      to: "  readonly mustBeDuplicate?: boolean;\n  readonly early?: (seq: number) => void;\n}",
    }, {
      file: "lib/store/mysql/append.ts",
      from: "      stored.push([...key, entry.seq, sender, cid, storedTime, body]);",
      to:
        "      stored.push([...key, entry.seq, sender, cid, storedTime, body]);\n      message.early?.(entry.seq);",
    }, {
      file: "lib/server/handlers/chat.ts",
      from:
        "const append = (isRepeat: boolean) =>\n    node.store.append({ sender, peer, cid, body, time: node.now(), mustBeDuplicate: isRepeat });",
      to: `const now = node.now();
  const early = (seq: number) =>
    node.deliver(session, peer, { seq, sender, senderName: session.name, cid, body, time: now });
  const append = (isRepeat: boolean) =>
    node.store.append({ sender, peer, cid, body, time: now, mustBeDuplicate: isRepeat, early });`,
    }, {
      file: "lib/server/handlers/chat.ts",
      from: "else node.deliver(session, peer, { seq, sender, senderName: session.name, cid, body, time });",
      to: "",
    }],
  },
  "no-pull-at-login": {
    what: "a login subscribes and does not look at what was missed (against I3)",
    changes: [{
      file: "lib/server/handlers/login.ts",
      from: "  await session.delivery.loadUnread();\n",
      to: "",
    }],
  },
  "forget-gap": {
    what: "a message is pushed at once, also if the session lacks some before it (against I2)",
    changes: [{
      file: "lib/server/delivery/delivery.ts",
      from: "const isNext = seq - 1 === conversation.lastPushedSeq &&",
      to: "const isNext = conversation.lastPushedSeq !== undefined &&",
    }],
  },
  "no-cid-check": {
    what: "a message that is sent again is stored again (against I5)",
    changes: [{
      file: "schema.sql",
      from: "UNIQUE KEY cid (sender, cid)",
      to: "KEY cid (sender, cid)",
    }],
  },
  "no-recovery-look": {
    what: "nobody looks for messages whose hints have been lost",
    changes: [{
      file: "lib/server/recovery/recovery.ts",
      from:
        "for (const user of await store.usersWithUnread(batch)) sessions.get(user)?.delivery.requestResync();",
      to: "",
    }],
  },
} as const satisfies Record<string, Bug>;

/** What a bug is called. */
export type BugName = keyof typeof bugs;

/** All of them. */
export const bugNames = Object.keys(bugs) as readonly BugName[];

/** What servers run from: all that is copied. */
const SOURCE = ["deno.json", "deno.lock", "lib", "links", "main.ts", "schema.sql"];

/** A source tree with bugs. Goes with its folder when it is disposed of. */
export class BuggyTree implements AsyncDisposable {
  /** The folder, with no slash at its end. */
  readonly root: string;

  /** Use {@link plant}. */
  constructor(root: string) {
    this.root = root;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.root, { recursive: true });
  }
}

/** Copies the source into a folder of its own, with bugs in it. Rejects if it no longer is as the bugs have it. */
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
