/**
 * Queries of the runtime's permissions. Without them, the runtime would ask for a permission in the middle of
 * a chat.
 */

/** Returns whether the program has the permission, without asking for it. */
export function isGranted(permission: Deno.PermissionDescriptor): boolean {
  return Deno.permissions.querySync(permission).state === "granted";
}

/** Returns a variable of the environment, or undefined without the permission to read it. */
export function envVariable(name: string): string | undefined {
  return isGranted({ name: "env", variable: name }) ? Deno.env.get(name) : undefined;
}
