/**
 * The thread that holds the database, so that waiting for the disk never stops the network. It serves the thread that
 * started it, and whoever has the other end of a port that was attached.
 */
import type { DatabaseSync } from "node:sqlite";
import {
  type Answer,
  type Attach,
  type Batch,
  type ChangeName,
  type Failure,
  type PackedBatch,
  type ReadName,
  type Request,
  unpack,
} from "./calls.ts";
import { Checkpoints } from "./checkpoints.ts";
import { IN_MEMORY, openDatabase } from "./database.ts";
import { Executor } from "./executor.ts";

/** Where requests come from: this worker's global scope, or a port. */
interface Client {
  onmessage: ((event: MessageEvent<Request | Attach>) => void) | null;
  postMessage(answer: Answer | Failure): void;
}

const DONE: Answer = { results: [], failures: new Map() };

let db: DatabaseSync | undefined;
let executor: Executor | undefined;
let checkpoints: Checkpoints | undefined;

/** Batches that are there and not carried out yet, at most one of each client. */
const gathered: { readonly client: Client; readonly batch: Batch }[] = [];

serve(globalThis as unknown as Client);

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
  const answers = executor?.run(clients.map(({ batch }) => batch));
  for (const [i, { client }] of clients.entries()) {
    reply(client, answers?.[i] ?? { error: new Error("no database is open") });
  }
  if (clients.some(({ batch }) => batch.changes.length > 0)) checkpoints?.committed();
}

async function carryOut(request: Exclude<Request, PackedBatch>): Promise<Answer | Failure> {
  try {
    if (request.kind === "open") {
      db = openDatabase(request.file);
      executor = new Executor(db, request.limits);
      if (request.file !== IN_MEMORY) checkpoints = new Checkpoints(request.file, db);
    } else {
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
