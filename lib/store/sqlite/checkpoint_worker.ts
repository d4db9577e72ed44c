/**
 * The thread that copies the write-ahead log into the database file, beside the one that commits: the copying, and the
 * disk's time for it, then hold up no commit. It opens the file once, before anything is acknowledged: later another
 * file may have its name.
 */
import { DatabaseSync } from "node:sqlite";
import type { CheckpointCommand, CheckpointReply } from "./checkpoints.ts";
import { fileIdentity, isSameFile } from "./file_watch.ts";
import { verifyDatabase } from "./newest.ts";

const port = globalThis as unknown as {
  onmessage: (event: MessageEvent<CheckpointCommand>) => void;
  postMessage(answer: CheckpointReply): void;
};

let db: DatabaseSync | undefined;

port.onmessage = ({ data }) => {
  if (data.kind === "open") port.postMessage({ kind: "opened", error: failureOf(() => open(data)) });
  else if (data.kind === "copy") port.postMessage({ kind: "done", pages: copy() });
  else if (data.kind === "verify") {
    port.postMessage({ kind: "verified", error: failureOf(() => verifyDatabase(db!, data.latestCommit)) });
  } else {
    db?.close();
    port.postMessage({ kind: "closed" });
  }
};

function open({ file, identity }: CheckpointCommand & { kind: "open" }): void {
  const verifyName = () => {
    if (identity && !isSameFile(fileIdentity(Deno.statSync(file)), identity)) {
      throw new Error(`${file} was replaced in this moment`);
    }
  };
  verifyName(); // SQLite would make a file that is missing
  const opened = new DatabaseSync(file);
  try {
    verifyName(); // nothing has been read or written yet
    opened.prepare("PRAGMA wal_checkpoint(PASSIVE)").get(); // the log and its index are opened by the first use
  } catch (error) {
    opened.close();
    throw error;
  }
  db = opened;
}

function copy(): number {
  try {
    return (db!.prepare("PRAGMA wal_checkpoint(PASSIVE)").get() as { log: number }).log;
  } catch {
    return 0; // the database's own checkpoints go on, and say what is wrong
  }
}

function failureOf(work: () => void): string | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}
port.postMessage({ kind: "ready" });
