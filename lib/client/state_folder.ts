/** Where the client keeps what outlives it, and whether it may. */
import { envVariable, isGranted } from "./permissions.ts";
import { SavedLogins } from "./saved_logins.ts";
import type { Address } from "./transport.ts";

/** In the user's folder for programs' state, as the XDG Base Directory Specification has it. */
const FOLDER = "chat-client";
const STATE = ".local/state"; // in the home folder, where XDG_STATE_HOME isn't set

/** The saved logins for these servers; a string says why there can't be any. Never makes the runtime ask its user. */
export function openSavedLogins(
  servers: readonly Address[],
  warn: (text: string) => void,
): SavedLogins | string {
  // Owners and modes are what keeps others from a file here.
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
  if (!needed.every(isGranted)) return `the program may not use ${root}, as with "deno task client"`;
  const uid = Deno.uid();
  return uid === null ? "this system has no user numbers" : new SavedLogins(root, servers, uid, warn);
}

function isAbsolute(path: string | undefined): path is string {
  return path?.startsWith("/") === true; // the specification has relative ones ignored
}
