/** Drops permissions that this run of the server does not need. */

/**
 * Drops the permission to write files, for this thread and all threads that it starts later. A server on
 * MySQL writes no files, but a permission set cannot depend on options. A process with all permissions (`-A`)
 * retains it. Otherwise the runtime would not open files below /dev and /proc any more, such as the pipe of a
 * password.
 */
export function dropWritePermission(): void {
  if (Deno.permissions.querySync({ name: "run" }).state === "granted") return;
  Deno.permissions.revokeSync({ name: "write" });
}
