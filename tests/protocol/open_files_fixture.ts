/** Shared helpers for tests of the limit of open files. */
import { assert } from "@std/assert";
import { TRANSIENT_FILES } from "../../lib/node/open_files.ts";
import type { Server } from "../harness/server.ts";

export const LIMIT = 256; // the default of some systems

/** A login timeout that no test reaches. */
export const LONG_TIMEOUTS = ["--login-timeout", "1h", "--ping-interval", "1h"];

/** Returns the open files of a process by ls(1), as the runtime requires all permissions for /proc. */
export function openFilesOf(pid: number): string[] {
  const script = `cd /proc/${pid}/fd && for file in *; do readlink $file || true; done`;
  const { stdout } = new Deno.Command("sh", { args: ["-c", script], stderr: "null" }).outputSync();
  return new TextDecoder().decode(stdout).trim().split("\n");
}

/** Returns the number of connections that the server's log reports as possible. */
export function possibleOf(server: Server): number {
  const possible = /"maxConnections":16000,"possible":(\d+),"limit":256,/.exec(server.log())?.[1];
  assert(possible !== undefined, `no warning that names the numbers: ${server.log()}`);
  return Number(possible);
}

/** Asserts that the reserve for short-lived files is untouched, and that nothing has failed. */
export function assertRoom(server: Server, limit = LIMIT): void {
  const used = openFilesOf(server.pid).length;
  assert(used <= limit - TRANSIENT_FILES, `${used} files are open:\n${openFilesOf(server.pid).join("\n")}`);
  assert(server.running);
  for (const wrong of ["accept failed", "panicked", "Too many open files"]) {
    assert(!server.log().includes(wrong), server.log());
  }
}
