/** What the runtime lets the program do. It is looked at first: otherwise the runtime asks, in the middle of a chat. */

/** Whether the runtime allows it without asking its user. */
export function isGranted(permission: Deno.PermissionDescriptor): boolean {
  return Deno.permissions.querySync(permission).state === "granted";
}

/** A variable of the environment; undefined as well where the program may not read it. */
export function envVariable(name: string): string | undefined {
  return isGranted({ name: "env", variable: name }) ? Deno.env.get(name) : undefined;
}
