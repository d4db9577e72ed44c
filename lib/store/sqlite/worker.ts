/**
 * The thread that holds the database, so that waiting for the disk never stops the network. It serves the thread that
 * started it, and each thread that has the other end of a port that was attached.
 */
import type { DatabaseSync } from "node:sqlite";
import {
  type Attach,
  type Batch,
  type FileLoss,
  type PackedBatch,
  unpack,
  type WorkerFailure,
  type WorkerReply,
  type WorkerRequest,
} from "./calls.ts";
import { Checkpoints } from "./checkpoints.ts";
import { closeDatabase, IN_MEMORY, openDatabase } from "./database.ts";
import { newId } from "../new_id.ts";
import { Executor } from "./executor.ts";
import { FileWatch } from "./file_watch.ts";
import { type DiskSpace, FreeSpace } from "./free_space.ts";
import { recordOwner } from "./log_owner.ts";
import { DatabaseLostError } from "./lost_error.ts";
import type { ChangeName, ReadName } from "./operations.ts";
import { checkpointFully, copyDatabase } from "./rescue.ts";

/** Where requests come from: this worker's global scope, or a port. */
interface Endpoint {
  onmessage: ((event: MessageEvent<WorkerRequest | Attach>) => void) | null;
  postMessage(answer: WorkerReply | WorkerFailure | FileLoss | DiskSpace): void;
}

const EMPTY_REPLY: WorkerReply = { results: [], failures: new Map() };

let db: DatabaseSync | undefined;
let executor: Executor | undefined;
let checkpoints: Checkpoints | undefined;
let fileWatch: FileWatch | undefined;
let checkpointsOpened: Promise<void> | undefined; // the file, by the thread of the checkpoints
let timer: ReturnType<typeof setInterval> | undefined;
let lost: DatabaseLostError | undefined;

/** Milliseconds between two looks at the files of an idle database. Changes are followed by one each. */
const WATCH_INTERVAL_MS = 1_000;

/** Batches that are there and not carried out yet, at most one of each client. */
const pendingBatches: { readonly endpoint: Endpoint; readonly batch: Batch }[] = [];

const parent = globalThis as unknown as Endpoint;
serve(parent);

function serve(endpoint: Endpoint): void {
  endpoint.onmessage = ({ data }) => {
    if (data.kind === "attach") serve(data.port);
    else if (data.kind === "batch") enqueue(endpoint, data);
    else void handle(data).then((answer) => reply(endpoint, answer));
  };
}

/** What came from several clients while the database was busy shares one commit, as it is there at once. */
function enqueue(endpoint: Endpoint, { changes, reads }: PackedBatch): void {
  const batch = { changes: unpack<ChangeName>(changes), reads: unpack<ReadName>(reads) };
  if (pendingBatches.push({ endpoint, batch }) === 1) queueMicrotask(runBatches);
}

function runBatches(): void {
  const pending = pendingBatches.splice(0);
  const hasChanges = pending.some(({ batch }) => batch.changes.length > 0);
  const answers = execute(pending.map(({ batch }) => batch), hasChanges);
  for (const [i, { endpoint }] of pending.entries()) {
    reply(endpoint, Array.isArray(answers) ? answers[i]! : answers);
  }
  if (hasChanges && !lost) checkpoints?.onCommit();
}

function execute(batches: readonly Batch[], haveChanges: boolean): WorkerReply[] | WorkerFailure {
  if (lost || !executor) return { error: lost ?? new Error("no database is open") };
  try {
    if (haveChanges) checkFiles(); // before: SQLite would begin a log anew that was cut off
    if (lost) return { error: lost };
    const answers = executor.run(batches);
    if (haveChanges) checkFiles(); // between the commit and its acknowledgement
    return lost ? { error: lost } : answers;
  } catch (error) {
    return { error };
  }
}

/** Looks whether the database's files are in their places. Throws if that can't be found out. */
function checkFiles(): void {
  const found = lost ? undefined : fileWatch?.check();
  if (found === undefined) return;
  const loss = { ...found, wal: fileWatch!.wal };
  lost = new DatabaseLostError(loss);
  parent.postMessage({ lost: loss });
}

function tryCheckFiles(): void {
  try {
    checkFiles();
  } catch {
    // The next change that is asked for is answered with the reason.
  }
}

async function handle(request: Exclude<WorkerRequest, PackedBatch>): Promise<WorkerReply | WorkerFailure> {
  try {
    if (request.kind === "open") await tryOpen(request);
    else if (request.kind === "start") await checkpointsOpened;
    else if (request.kind === "check") tryCheckFiles();
    else if (request.kind === "rescue") return { results: [await rescue(request)], failures: new Map() };
    else await close();
    return EMPTY_REPLY;
  } catch (error) {
    return { error };
  }
}

/** Opens all that will ever be open of the database: later its name may be another's. */
function open({ file, limits, minFreeSpace, locked }: WorkerRequest & { kind: "open" }): void {
  if (locked) fileWatch = new FileWatch(file, locked.path, locked.identity);
  db = openDatabase(file, () => fileWatch?.verify());
  if (locked?.isUnclosed) db.prepare("UPDATE StoreIdentity SET epoch = ?").run(newId());
  const space = new FreeSpace(
    file,
    file === IN_MEMORY ? 0 : minFreeSpace,
    (seen) => parent.postMessage(seen),
  );
  executor = new Executor(db, limits, undefined, space);
  fileWatch?.watchLog();
  if (locked && fileWatch?.wal) recordOwner(locked.path, locked.identity, fileWatch.wal);
  if (file !== IN_MEMORY) {
    checkpoints = new Checkpoints(db);
    checkpointsOpened = checkpoints.open(file, locked?.identity);
  }
  if (fileWatch) timer = setInterval(tryCheckFiles, WATCH_INTERVAL_MS);
}

/** What could not be opened is not watched: nothing of it can be lost. */
async function tryOpen(request: WorkerRequest & { kind: "open" }): Promise<void> {
  try {
    open(request);
  } catch (error) {
    await checkpoints?.close();
    db?.close();
    fileWatch?.[Symbol.dispose]();
    checkpoints =
      executor =
      db =
      fileWatch =
        undefined;
    throw error;
  }
}

/** Returns the fault of the copy, if one was made and it lacks something. */
async function rescue({ copy, aside }: WorkerRequest & { kind: "rescue" }): Promise<string | undefined> {
  await checkpoints!.pause(); // two copies of the log at a time exclude each other
  const { latestCommit } = executor!;
  let problem: string | undefined;
  if (copy === undefined) {
    checkpointFully(db!);
    await checkpoints!.verify(latestCommit);
  } else problem = await copyDatabase(db!, copy, latestCommit);
  if (problem === undefined || lost!.isTruncated) fileWatch!.moveAside(aside, lost!.isTruncated);
  return problem;
}

async function close(): Promise<void> {
  clearInterval(timer);
  await checkpoints?.close(); // first, so that the last to let go, who tidies up, is this thread
  tryCheckFiles(); // if it is lost by now, its name may be another's
  if (db && lost) db.close();
  else if (db) closeDatabase(db);
  fileWatch?.[Symbol.dispose]();
}

function reply(endpoint: Endpoint, answer: WorkerReply | WorkerFailure): void {
  try {
    endpoint.postMessage(answer);
  } catch (error) { // an answer that can't be copied
    endpoint.postMessage({ error });
  }
}
