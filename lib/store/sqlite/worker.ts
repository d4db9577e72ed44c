/**
 * The thread that holds the database, so that waiting for the disk never stops the network. It carries out one
 * request after the other.
 */
import type { DatabaseSync } from "node:sqlite";
import type { Answer, Failure, Request } from "./calls.ts";
import { openDatabase } from "./database.ts";
import { Executor } from "./executor.ts";

/** The part of a worker's global scope that is used here. */
interface Scope {
  onmessage: ((event: MessageEvent<Request>) => void) | null;
  postMessage(answer: Answer | Failure): void;
}

const scope = globalThis as unknown as Scope;
const DONE: Answer = { results: [], failures: new Map() };

let db: DatabaseSync | undefined;
let executor: Executor | undefined;

scope.onmessage = ({ data }) => {
  try {
    scope.postMessage(carryOut(data));
  } catch (error) {
    scope.postMessage({ error });
  }
};

function carryOut(request: Request): Answer {
  if (request.kind === "batch") return executor!.run(request.changes, request.reads);
  if (request.kind === "open") {
    db = openDatabase(request.file);
    executor = new Executor(db, request.limits);
  } else {
    db?.close();
  }
  return DONE;
}
