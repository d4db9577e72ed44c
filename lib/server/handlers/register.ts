/** REG_MSG: creates an account. */
import { BusUnavailableError } from "../../bus/bus.ts";
import type { ReplyBody } from "../protocol/reply_body.ts";
import type { Client } from "../sessions/client.ts";
import type { Node } from "../node.ts";
import { checkNewName } from "./name.ts";
import { checkNewPassword } from "./password.ts";
import { unwrap } from "./refusal.ts";

export async function register(
  client: Client,
  fields: { name: string; password: string },
): Promise<ReplyBody> {
  const { store, passwords, loginThrottle, config } = client.node;
  const { password } = fields;
  const name = checkNewName("name", fields.name, "user", config);
  checkNewPassword(password, name, config);
  const hash = await loginThrottle.register(
    client.rateLimitKey,
    () => passwords.hash(password, client.requester("new")),
  );
  // The name of an old account may be the same name in another Unicode form.
  const others = new Set([fields.name, name.normalize("NFD")]);
  others.delete(name);
  const found = await Promise.all(Array.from(others, (other) => store.findUser({ name: other })));
  const isTaken = found.some((account) => account !== undefined);
  const { id } = unwrap(isTaken ? { refused: "name_in_use" } : await store.createUser(name, hash), {
    name_in_use: `the name ${JSON.stringify(name)} is taken`,
  });
  client.onRegistered();
  await checkIdUnused(client.node, id);
  return { id };
}

/**
 * Reports lost data if a user is online with an id that was assigned just now: the store has forgotten that
 * user.
 */
async function checkIdUnused({ sessions, bus, storeEpoch }: Node, id: number): Promise<void> {
  try {
    if (sessions.get(id) || (await bus.online([id])).has(id)) {
      storeEpoch.reportLoss(`the account of user ${id}`);
    }
  } catch (error) {
    if (!(error instanceof BusUnavailableError)) throw error; // each node finds the loss later
  }
}
