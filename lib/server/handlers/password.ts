/** Checks of passwords for new accounts, as in NIST SP 800-63B: a minimum length, and no common password. */
import type { Config } from "../../config/options.ts";
import { COMMON_PASSWORDS } from "../../passwords/common_passwords.ts";
import { Errno } from "../../wire/protocol.ts";
import { RequestError } from "../protocol/reply_body.ts";

const SAME_CHARACTER = /^(.)\1*$/su;

let commonSet: ReadonlySet<string> | undefined; // created at first use, because that takes a millisecond

/**
 * Throws a {@link RequestError} with the reason if a new password is not allowed. `name` is the name of the
 * account. Passwords of existing accounts are not checked.
 */
export function checkNewPassword(
  password: string,
  name: string,
  { minPassword, commonPasswords }: Pick<Config, "minPassword" | "commonPasswords">,
): void {
  if ([...password].length < minPassword) reject(`password must have at least ${minPassword} characters`);
  if (commonPasswords === "allow") return;
  const folded = foldCase(password);
  if (folded === foldCase(name)) reject("password is the account's name");
  commonSet ??= new Set(COMMON_PASSWORDS.trim().split(/\s+/));
  if (commonSet.has(folded) || SAME_CHARACTER.test(folded)) {
    reject("password is too common: choose one that is harder to guess");
  }
}

/** Returns the text for comparison: case-folded and normalized. */
function foldCase(text: string): string {
  return text.normalize("NFKC").toLowerCase();
}

function reject(errmsg: string): never {
  throw new RequestError(Errno.BAD_REQUEST, errmsg);
}
