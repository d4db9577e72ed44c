/**
 * Passwords that requests bring for new accounts, by NIST SP 800-63B: their length counts, and how soon they
 * are guessed.
 */
import type { Config } from "../../config/options.ts";
import { COMMON_PASSWORDS } from "../../passwords/common_passwords.ts";
import { Errno } from "../../wire/protocol.ts";
import { RequestError } from "../protocol/reply_body.ts";

const SAME_CHARACTER = /^(.)\1*$/su;

let commonSet: ReadonlySet<string> | undefined; // made when it is first needed: that takes a millisecond

/**
 * Throws a {@link RequestError} that says what is wrong with a new password. Those of accounts that exist are
 * never looked at. `name` is the account's.
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
    reject("password is one of the first that are guessed");
  }
}

/** The text as it is compared with others: without case, and in one form. */
function foldCase(text: string): string {
  return text.normalize("NFKC").toLowerCase();
}

function reject(errmsg: string): never {
  throw new RequestError(Errno.BAD_REQUEST, errmsg);
}
