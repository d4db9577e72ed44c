/** REG_MSG: makes an account. */
import type { Answer } from "../answer.ts";
import type { Caller } from "../caller.ts";
import { granted } from "./refusal.ts";

export async function register(
  caller: Caller,
  { name, password }: { name: string; password: string },
): Promise<Answer> {
  const { store, passwords, attempts } = caller.node;
  const hash = await attempts.register(caller.address, () => passwords.hash(password));
  const { id } = granted(await store.createUser(name, hash), {
    taken: `the name ${JSON.stringify(name)} is taken`,
  });
  caller.registered();
  return { id };
}
