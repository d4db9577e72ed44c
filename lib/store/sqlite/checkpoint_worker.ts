/**
 * The checkpoint thread: it copies the write-ahead log into the database file, so that neither the copying
 * nor the disk delays a commit. It opens the file once, before any acknowledgement: later the name may belong
 * to another file.
 */
import { DatabaseSync } from "node:sqlite";
import type { CheckpointCommand, CheckpointReply } from "./checkpoints.ts";
import { fileIdentity, isSameFile } from "./file_watch.ts";
import { verifyDatabase } from "./newest.ts";

const port = globalThis as unknown as {
  onmessage: (event: MessageEvent<CheckpointCommand>) => void;
  postMessage(reply: CheckpointReply): void;
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
      throw new Error(`another program replaced ${file} during the start`);
    }
  };
  verifyName(); // SQLite would create a missing file
  const opened = new DatabaseSync(file);
  try {
    verifyName(); // again, before anything is read or written
    opened.prepare("PRAGMA wal_checkpoint(PASSIVE)").get(); // opens the log and its index, too
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
    return 0; // all commits are in the log, and a later copy repeats the attempt
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
