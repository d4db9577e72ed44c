/** Giving up permissions that this run of the server has no use for. */

/**
 * Gives up the permission to write files, for this thread and all that it starts from now on. A server on MySQL writes
 * none, but a permission set cannot depend on options. A process with every permission (`-A`) keeps it: the runtime
 * then opens files below /dev and /proc, such as a password's pipe, and no longer does once any permission is missing.
 */
export function dropWritePermission(): void {
  if (Deno.permissions.querySync({ name: "run" }).state === "granted") return;
  Deno.permissions.revokeSync({ name: "write" });
}
