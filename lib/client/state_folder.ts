/** The folder of saved logins, and the conditions for its use. */
import { envVariable, isGranted } from "./permissions.ts";
import { SavedLogins } from "./saved_logins.ts";
import type { Address } from "./transport.ts";

/** The client's folder in the state folder of the XDG Base Directory Specification. */
const FOLDER = "chat-client";
const STATE = ".local/state"; // in the home folder, without XDG_STATE_HOME

/**
 * Returns the saved logins for these servers, or the reason why there can be none. Asks for no permission.
 */
export function openSavedLogins(
  servers: readonly Address[],
  warn: (text: string) => void,
): SavedLogins | string {
  // Only owners and modes protect the files.
  if (Deno.build.os === "windows") return "this system has no file modes";
  const [state, home] = [envVariable("XDG_STATE_HOME"), envVariable("HOME")];
  const base = isAbsolute(state) ? state : isAbsolute(home) ? `${home}/${STATE}` : undefined;
  if (base === undefined) return "neither XDG_STATE_HOME nor HOME names a folder";
  const root = `${base.replace(/\/+$/, "")}/${FOLDER}`;
  const needed: Deno.PermissionDescriptor[] = [
    { name: "read", path: root },
    { name: "write", path: root },
    { name: "sys", kind: "uid" },
  ];
  if (!needed.every(isGranted)) return `the client may not use ${root}; "deno task client" may`;
  const uid = Deno.uid();
  return uid === null ? "this system has no user numbers" : new SavedLogins(root, servers, uid, warn);
}

function isAbsolute(path: string | undefined): path is string {
  return path?.startsWith("/") === true; // the specification says to ignore relative paths
}
