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
import { closeDatabase, IN_MEMORY, openDatabase } from "./database.ts";
import { newId } from "../new_id.ts";
import { Executor } from "./executor.ts";
import { FileWatch } from "./file_watch.ts";
import { FreeSpace, type Space } from "./free_space.ts";
import { recordOwner } from "./log_owner.ts";
import { LostError } from "./lost_error.ts";
import { completeFile, copyAll } from "./rescue.ts";

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
let opened: Promise<void> | undefined; // the file, by the thread of the checkpoints
let timer: ReturnType<typeof setInterval> | undefined;
let lost: LostError | undefined;

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
  try {
    if (haveChanges) check(); // before: SQLite would begin a log anew that was cut off
    if (lost) return { error: lost };
    const answers = executor.run(batches);
    if (haveChanges) check(); // between the commit and its acknowledgement
    return lost ? { error: lost } : answers;
  } catch (error) {
    return { error };
  }
}

/** Looks whether the database's files are in their places. Throws if that can't be found out. */
function check(): void {
  const found = lost ? undefined : watch?.check();
  if (found === undefined) return;
  const loss = { ...found, wal: watch!.wal };
  lost = new LostError(loss);
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
    if (request.kind === "open") await attempt(request);
    else if (request.kind === "start") await opened;
    else if (request.kind === "check") checkAnyway();
    else if (request.kind === "rescue") return { results: [await rescue(request)], failures: new Map() };
    else await close();
    return DONE;
  } catch (error) {
    return { error };
  }
}

/** Opens all that will ever be open of the database: later its name may be another's. */
function open({ file, limits, minFreeSpace, locked }: Request & { kind: "open" }): void {
  if (locked) watch = new FileWatch(file, locked.path, locked.identity);
  db = openDatabase(file, () => watch?.verify());
  if (locked?.isUnclosed) db.prepare("UPDATE StoreIdentity SET epoch = ?").run(newId());
  const space = new FreeSpace(file, file === IN_MEMORY ? 0 : minFreeSpace, (seen) => owner.postMessage(seen));
  executor = new Executor(db, limits, undefined, space);
  watch?.begin();
  if (locked && watch?.wal) recordOwner(locked.path, locked.identity, watch.wal);
  if (file !== IN_MEMORY) {
    checkpoints = new Checkpoints(db);
    opened = checkpoints.open(file, locked?.identity);
  }
  if (watch) timer = setInterval(checkAnyway, WATCH_INTERVAL_MS);
}

/** What could not be opened is not watched: nothing of it can be lost. */
async function attempt(request: Request & { kind: "open" }): Promise<void> {
  try {
    open(request);
  } catch (error) {
    await checkpoints?.close();
    db?.close();
    watch?.[Symbol.dispose]();
    checkpoints =
      executor =
      db =
      watch =
        undefined;
    throw error;
  }
}

/** Returns the fault of the copy, if one was made and it lacks something. */
async function rescue({ copy, aside }: Request & { kind: "rescue" }): Promise<string | undefined> {
  await checkpoints!.pause(); // two copies of the log at a time exclude each other
  const { newest } = executor!;
  let problem: string | undefined;
  if (copy === undefined) {
    completeFile(db!);
    await checkpoints!.verify(newest);
  } else problem = await copyAll(db!, copy, newest);
  if (problem === undefined || lost!.isCut) watch!.clearAway(aside, lost!.isCut);
  return problem;
}

async function close(): Promise<void> {
  clearInterval(timer);
  await checkpoints?.close(); // first, so that the last to let go, who tidies up, is this thread
  checkAnyway(); // if it is lost by now, its name may be another's
  if (db && lost) db.close();
  else if (db) closeDatabase(db);
  watch?.[Symbol.dispose]();
}

function reply(client: Client, answer: Answer | Failure): void {
  try {
    client.postMessage(answer);
  } catch (error) { // an answer that can't be copied
    client.postMessage({ error });
  }
}
