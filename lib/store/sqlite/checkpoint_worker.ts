/**
 * The thread that copies the write-ahead log into the database file, beside the one that commits: the copying, and the
 * disk's time for it, then hold up no commit.
 */
import { DatabaseSync } from "node:sqlite";
import type { CheckpointAnswer, CheckpointOrder } from "./checkpoints.ts";

const port = globalThis as unknown as {
  onmessage: (event: MessageEvent<CheckpointOrder>) => void;
  postMessage(answer: CheckpointAnswer): void;
};

let db: DatabaseSync | undefined;

port.onmessage = ({ data }) => {
  if (data.kind === "close") {
    db?.close();
    return port.postMessage({ kind: "closed" });
  }
  try {
    db ??= new DatabaseSync(data.file);
    const row = db.prepare("PRAGMA wal_checkpoint(PASSIVE)").get() as { log: number };
    port.postMessage({ kind: "done", pages: row.log });
  } catch {
    port.postMessage({ kind: "done", pages: 0 }); // the database's own checkpoints go on, and say what is wrong
  }
};
port.postMessage({ kind: "ready" });
