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
      from:
        "return this.#connection.dialect?.deliversByWriting ? () => this.#written(peer, seq) : undefined;",
      to: "return () => this.#written(peer, seq);",
    }],
  },
  "ack-before-commit": {
    what:
      "a message is acked and offered to all when its seq is known, and committed then (against I1 and I3)",
    changes: [{
      file: "lib/store/mysql/append.ts",
      from: "    try {\n      await this.#write(session, stored, log.lastSeqs);",
      to: "    this.early?.(answers);\n    try {\n      await this.#write(session, stored, log.lastSeqs);",
    }, {
      file: "lib/store/mysql/append.ts",
      from: "  readonly #messages: readonly NewMessage[];",
      to:
        "  early?: (answers: (Answer | DatabaseError)[]) => void;\n  readonly #messages: readonly NewMessage[];",
    }, {
      file: "lib/store/mysql/appender.ts",
      from: "const answers = await commit(way, append, textOf(batch));",
      to: `append.early = (answers) => {
      for (const [i, answer] of answers.entries()) {
        if (!(answer instanceof DatabaseError)) batch[i]!.resolve(answer);
      }
    };
    const answers = await commit(way, append, textOf(batch));`,
    }],
  },
  "publish-before-commit": {
    what: "a message is offered to its recipients when its seq is known, and committed then (against I3)",
    changes: [{
      file: "lib/store/store.ts",
      from: "  readonly isRepeat?: boolean;\n}\n\n/** A message as the log has it. */",
      to:
        "  readonly isRepeat?: boolean;\n  readonly early?: (seq: number) => void;\n}\n\n/** A message as the log has it. */",
    }, {
      file: "lib/store/mysql/append.ts",
      from: "      stored.push([...key, claim.seq, sender, cid, stamp, body]);",
      to:
        "      stored.push([...key, claim.seq, sender, cid, stamp, body]);\n      message.early?.(claim.seq);",
    }, {
      file: "lib/server/handlers/chat.ts",
      from:
        "const append = (isRepeat: boolean) =>\n    node.store.append({ sender, peer, cid, body, time: node.now(), isRepeat });",
      to: `const now = node.now();
  const early = (seq: number) =>
    node.deliver(session, peer, { seq, sender, senderName: session.name, cid, body, time: now });
  const append = (isRepeat: boolean) =>
    node.store.append({ sender, peer, cid, body, time: now, isRepeat, early });`,
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
      from: "  await session.delivery.look();\n",
      to: "",
    }],
  },
  "forget-gap": {
    what: "a message is pushed at once, also if the session lacks some before it (against I2)",
    changes: [{
      file: "lib/server/delivery/delivery.ts",
      from: "const isNext = seq - 1 === talk.pushed &&",
      to: "const isNext = talk.pushed !== undefined &&",
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
      from: "for (const user of await store.behind(some)) sessions.of(user)?.delivery.lookAgain();",
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
