/**
 * The thread that holds the database, so that waiting for the disk never stops the network. It serves the thread that
 * started it, and each thread that has the other end of a port that was attached.
 */
import type { DatabaseSync } from "node:sqlite";
import {
  type Answer,
  type Attach,
  type Batch,
  type ChangeName,
  type Failure,
  type Loss,
  type PackedBatch,
  type ReadName,
  type Request,
  unpack,
} from "./calls.ts";
import { Checkpoints } from "./checkpoints.ts";
import { IN_MEMORY, openDatabase } from "./database.ts";
import { Executor } from "./executor.ts";
import { FreeSpace, type Space } from "./free_space.ts";
import { FileWatch } from "./file_watch.ts";
import { rescue } from "./rescue.ts";

/** Where requests come from: this worker's global scope, or a port. */
interface Client {
  onmessage: ((event: MessageEvent<Request | Attach>) => void) | null;
  postMessage(answer: Answer | Failure | Loss | Space): void;
}

const DONE: Answer = { results: [], failures: new Map() };

let db: DatabaseSync | undefined;
let executor: Executor | undefined;
let checkpoints: Checkpoints | undefined;
let watch: FileWatch | undefined;
let timer: ReturnType<typeof setInterval> | undefined;
let lost: Error | undefined;

/** Milliseconds between two looks at the files of an idle database. Changes are followed by one each. */
const WATCH_INTERVAL_MS = 1_000;

/** Batches that are there and not carried out yet, at most one of each client. */
const gathered: { readonly client: Client; readonly batch: Batch }[] = [];

const owner = globalThis as unknown as Client;
serve(owner);

function serve(client: Client): void {
  client.onmessage = ({ data }) => {
    if (data.kind === "attach") serve(data.port);
    else if (data.kind === "batch") gather(client, data);
    else void carryOut(data).then((answer) => reply(client, answer));
  };
}

/** What came from several clients while the database was busy shares one commit, as it is there at once. */
function gather(client: Client, { changes, reads }: PackedBatch): void {
  const batch = { changes: unpack<ChangeName>(changes), reads: unpack<ReadName>(reads) };
  if (gathered.push({ client, batch }) === 1) queueMicrotask(run);
}

function run(): void {
  const clients = gathered.splice(0);
  const hasChanges = clients.some(({ batch }) => batch.changes.length > 0);
  const answers = answersTo(clients.map(({ batch }) => batch), hasChanges);
  for (const [i, { client }] of clients.entries()) {
    reply(client, Array.isArray(answers) ? answers[i]! : answers);
  }
  if (hasChanges && !lost) checkpoints?.committed();
}

function answersTo(batches: readonly Batch[], haveChanges: boolean): Answer[] | Failure {
  if (lost || !executor) return { error: lost ?? new Error("no database is open") };
  const answers = executor.run(batches);
  try {
    if (haveChanges) check(); // between the commit and its acknowledgement
  } catch (error) {
    return { error };
  }
  return lost ? { error: lost } : answers;
}

/** Looks whether the database's files are in their places. Throws if that can't be found out. */
function check(): void {
  const loss = lost ? undefined : watch?.check();
  if (loss === undefined) return;
  lost = new Error(loss);
  owner.postMessage({ lost: loss });
}

function checkAnyway(): void {
  try {
    check();
  } catch {
    // The next change that is asked for is answered with the reason.
  }
}

async function carryOut(request: Exclude<Request, PackedBatch>): Promise<Answer | Failure> {
  try {
    if (request.kind === "open") {
      db = openDatabase(request.file);
      const { file, limits, minFreeSpace, locked } = request;
      const space = new FreeSpace(
        file,
        file === IN_MEMORY ? 0 : minFreeSpace,
        (seen) => owner.postMessage(seen),
      );
      executor = new Executor(db, limits, undefined, space);
      if (file !== IN_MEMORY) checkpoints = new Checkpoints(file, db);
      if (locked) {
        watch = new FileWatch(file, locked.path, locked.identity);
        timer = setInterval(checkAnyway, WATCH_INTERVAL_MS);
      }
    } else if (request.kind === "start") checkpoints?.start();
    else if (request.kind === "check") checkAnyway();
    else if (request.kind === "rescue") {
      await checkpoints?.close(); // two copies of the log at a time exclude each other
      checkpoints = undefined;
      await rescue(db!, request.copy);
    } else {
      clearInterval(timer);
      await checkpoints?.close(); // first, so that the last to let go, who tidies up, is this thread
      db?.close();
    }
    return DONE;
  } catch (error) {
    return { error };
  }
}

function reply(client: Client, answer: Answer | Failure): void {
  try {
    client.postMessage(answer);
  } catch (error) { // an answer that can't be copied
    client.postMessage({ error });
  }
}
