/** Checks of names for new users and groups. */
import type { Config } from "../../config/options.ts";
import { Errno } from "../../wire/protocol.ts";
import { RequestError } from "../protocol/reply_body.ts";
import { type NameKind, normalizeName, validateName } from "../protocol/names.ts";

/**
 * Returns the name in its stored form. Throws a {@link RequestError} with the reason if it is not allowed.
 */
export function checkNewName(
  field: string,
  text: string,
  named: NameKind,
  { confusableNames }: Pick<Config, "confusableNames">,
): string {
  const name = normalizeName(text);
  const problem = validateName(name, named, confusableNames === "allow");
  if (problem !== undefined) throw new RequestError(Errno.BAD_REQUEST, `${field} ${problem}`);
  return name;
}
