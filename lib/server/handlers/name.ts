/** Names that requests bring for new users and groups. */
import type { Config } from "../../config/options.ts";
import { Errno } from "../../wire/protocol.ts";
import { RequestError } from "../protocol/reply_body.ts";
import { type NameKind, normalizeName, validateName } from "../protocol/names.ts";

/**
 * Returns the name in the form in which it is stored, or throws a {@link RequestError} that says what is
 * wrong with it.
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
