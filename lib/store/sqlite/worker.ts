/**
 * The database thread: only this thread waits for the disk, never the network's. It serves the thread that
 * started it, and the thread at the other end of each attached port.
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
import { newId } from "../../new_id.ts";
import { Executor } from "./executor.ts";
import { FileWatch } from "./file_watch.ts";
import { type DiskSpace, FreeSpace } from "./free_space.ts";
import { recordOwner } from "./log_owner.ts";
import { DatabaseLostError } from "./lost_error.ts";
import type { ChangeName, ReadName } from "./operations.ts";
import { checkpointFully, copyDatabase } from "./rescue.ts";

/** The source of requests: this worker's global scope, or a port. */
interface Endpoint {
  onmessage: ((event: MessageEvent<WorkerRequest | Attach>) => void) | null;
  postMessage(message: WorkerReply | WorkerFailure | FileLoss | DiskSpace): void;
}

const EMPTY_REPLY: WorkerReply = { results: [], failures: new Map() };

let db: DatabaseSync | undefined;
let executor: Executor | undefined;
let checkpoints: Checkpoints | undefined;
let fileWatch: FileWatch | undefined;
let checkpointsOpened: Promise<void> | undefined; // fulfilled when the checkpoint thread has opened the file
let timer: ReturnType<typeof setInterval> | undefined;
let lost: DatabaseLostError | undefined;
let checkedAt = -Infinity; // the end of the last check of the files, by performance.now()

/** Interval of the checks of an idle database's files. Each commit has a check of its own. */
const WATCH_INTERVAL_MS = 1_000;

/**
 * Age up to which a check counts as the one before a commit: about the duration of a commit. A fault since then
 * is like one during the commit, which the check after it detects.
 */
const MAX_CHECK_AGE_MS = 1;

/** Batches that have arrived and are not run yet: at most one of each endpoint. */
const pendingBatches: { readonly endpoint: Endpoint; readonly batch: Batch }[] = [];

const parent = globalThis as unknown as Endpoint;
serve(parent);

function serve(endpoint: Endpoint): void {
  endpoint.onmessage = ({ data }) => {
    if (data.kind === "attach") serve(data.port);
    else if (data.kind === "batch") enqueue(endpoint, data);
    else void handle(data).then((result) => reply(endpoint, result));
  };
}

/** Adds a batch to the next commit, which all batches that arrive while the database is busy share. */
function enqueue(endpoint: Endpoint, { changes, reads }: PackedBatch): void {
  const batch = { changes: unpack<ChangeName>(changes), reads: unpack<ReadName>(reads) };
  if (pendingBatches.push({ endpoint, batch }) === 1) queueMicrotask(runBatches);
}

function runBatches(): void {
  const pending = pendingBatches.splice(0);
  const hasChanges = pending.some(({ batch }) => batch.changes.length > 0);
  const replies = execute(pending.map(({ batch }) => batch), hasChanges);
  for (const [i, { endpoint }] of pending.entries()) {
    reply(endpoint, Array.isArray(replies) ? replies[i]! : replies);
  }
  if (hasChanges && !lost) checkpoints?.onCommit();
}

function execute(batches: readonly Batch[], hasChanges: boolean): WorkerReply[] | WorkerFailure {
  if (lost || !executor) return { error: lost ?? new Error("no database is open") };
  try {
    const isChecked = performance.now() - checkedAt <= MAX_CHECK_AGE_MS;
    if (hasChanges && !isChecked) checkFiles(); // before the commit: SQLite would restart a truncated log
    if (lost) return { error: lost };
    const replies = executor.run(batches);
    if (hasChanges) checkFiles(); // between the commit and its acknowledgement
    return lost ? { error: lost } : replies;
  } catch (error) {
    return { error };
  }
}

/** Checks the database's files, and reports their loss. Throws if they cannot be checked. */
function checkFiles(): void {
  const fault = lost ? undefined : fileWatch?.check();
  checkedAt = performance.now();
  if (fault === undefined) return;
  const loss = { ...fault, wal: fileWatch!.wal };
  lost = new DatabaseLostError(loss);
  parent.postMessage({ lost: loss });
}

function tryCheckFiles(): void {
  try {
    checkFiles();
  } catch {
    // The next change fails with the same error.
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

/** Opens all connections to the database. None is opened later, when its name may belong to another file. */
function open({ file, limits, minFreeSpace, locked }: WorkerRequest & { kind: "open" }): void {
  if (locked) fileWatch = new FileWatch(file, locked.path, locked.identity);
  db = openDatabase(file, () => fileWatch?.verify());
  if (locked?.isUnclosed) db.prepare("UPDATE StoreIdentity SET epoch = ?").run(newId());
  const space = new FreeSpace(
    file,
    file === IN_MEMORY ? 0 : minFreeSpace,
    (change) => parent.postMessage(change),
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

/** Opens the database, and closes its parts again if one of them fails. */
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

/** Saves the committed data. Returns the defect of the copy if one was made and is incomplete. */
async function rescue({ copy, aside }: WorkerRequest & { kind: "rescue" }): Promise<string | undefined> {
  await checkpoints!.pause(); // two checkpoints at a time block each other
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
  await checkpoints?.close(); // first: this thread's connection must be the last one, which removes the log
  tryCheckFiles(); // before the name is used: it may belong to another file
  if (db && lost) db.close();
  else if (db) closeDatabase(db);
  fileWatch?.[Symbol.dispose]();
}

function reply(endpoint: Endpoint, result: WorkerReply | WorkerFailure): void {
  try {
    endpoint.postMessage(result);
  } catch (error) { // the result cannot be copied between threads
    endpoint.postMessage({ error });
  }
}
