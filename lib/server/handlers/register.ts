/** REG_MSG: makes an account. */
import { BusUnavailable } from "../../bus/bus.ts";
import type { Answer } from "../protocol/reply_body.ts";
import type { Caller } from "../sessions/client.ts";
import type { Node } from "../node.ts";
import { newName } from "./name.ts";
import { checkNewPassword } from "./password.ts";
import { granted } from "./refusal.ts";

export async function register(
  caller: Caller,
  fields: { name: string; password: string },
): Promise<Answer> {
  const { store, passwords, attempts, config } = caller.node;
  const { password } = fields;
  const name = newName("name", fields.name, "user", config);
  checkNewPassword(password, name, config);
  const hash = await attempts.register(
    caller.address,
    () => passwords.hash(password, caller.requester("new")),
  );
  // An account of earlier times may have the same name in another form.
  const others = new Set([fields.name, name.normalize("NFD")]);
  others.delete(name);
  const found = await Promise.all(Array.from(others, (other) => store.findUser({ name: other })));
  const isTaken = found.some((account) => account !== undefined);
  const { id } = granted(isTaken ? { refused: "taken" } : await store.createUser(name, hash), {
    taken: `the name ${JSON.stringify(name)} is taken`,
  });
  caller.registered();
  await checkUnused(caller.node, id);
  return { id };
}

/** A user who is online by an id that was only now given out had it in another history of the database. */
async function checkUnused({ sessions, bus, epoch }: Node, id: number): Promise<void> {
  try {
    if (sessions.of(id) || (await bus.online([id])).has(id)) epoch.reportLoss(`the account of user ${id}`);
  } catch (error) {
    if (!(error instanceof BusUnavailable)) throw error; // each node looks at its own users by and by
  }
}
