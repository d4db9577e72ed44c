/** Texts as a target: a stored text is returned unchanged, whatever its meaning to a program. */
import { type NameKind, normalizeName, validateName } from "../../lib/server/protocol/names.ts";
import { assertEquals } from "@std/assert";
import { Msg } from "../harness/protocol_numbers.ts";
import { FramedClient, freshName } from "../harness/framed_client.ts";
import type { Random } from "../harness/random.ts";
import { TEXTS } from "./hostile.ts";
import { enter, type HostileNode } from "./node.ts";
import type { Target } from "./target.ts";

/** The texts of an input, each at most as long as its field may be. */
interface Input {
  readonly name: string;
  readonly password: string;
  readonly groupname: string;
  readonly groupdesc: string;
  readonly messages: readonly string[];
}

/** The target: texts that a node stores. */
export function texts(node: HostileNode): Target {
  return {
    name: "texts",
    generate(random) {
      const input: Input = {
        name: visible(text(random, 30)),
        password: text(random, 128),
        groupname: visible(text(random, 30)),
        groupdesc: text(random, 200),
        messages: Array.from(
          { length: 1 + random.below(5) },
          () => text(random, random.pick([60, 60, 2_000])),
        ),
      };
      return new TextEncoder().encode(JSON.stringify(input));
    },
    async check(bytes) {
      const input = JSON.parse(
        new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes),
      ) as Input;
      // The prefix makes the name unique, as the store may ignore a blank at the end.
      const [name, groupname] = [allowed(input.name, "user"), allowed(input.groupname, "group")];
      await using client = await FramedClient.connect(node);
      const { id } = await client.succeed({ msgid: Msg.REGISTER, name, password: input.password });
      const account = await client.succeed({ msgid: Msg.LOGIN, name, password: input.password });
      assertEquals([account.id, account.name], [id, name]);
      const { groupdesc } = input;
      const { groupid } = await client.succeed({ msgid: Msg.CREATE_GROUP, groupname, groupdesc });
      const sent: unknown[] = [];
      for (const [at, msg] of input.messages.entries()) {
        const cid = at === 0 ? firstOf(msg, 64) : crypto.randomUUID();
        for (
          const whom of [{ msgid: Msg.ONE_CHAT, toid: node.alice.id }, { msgid: Msg.GROUP_CHAT, groupid }]
        ) {
          const own = whom.msgid === Msg.GROUP_CHAT ? crypto.randomUUID() : cid;
          const ack = await client.succeed({ ...whom, msg, cid: own });
          assertEquals(await client.succeed({ ...whom, msg: "again", cid: own }), {
            ...ack,
            rid: ack.rid as number + 1,
          });
          sent.push({ ...whom, id, name, msg, cid: own, time: ack.time, seq: ack.seq });
        }
      }
      const kept: unknown[] = [];
      for (const whose of [{ id: node.alice.id }, { groupid }]) {
        kept.push(...(await client.succeed({ msgid: Msg.HISTORY, ...whose, limit: 200 })).messages!);
      }
      const inOrder = (list: unknown[]) =>
        list.map((one) => JSON.stringify(Object.entries(one as object).sort())).sort();
      assertEquals(inOrder(kept), inOrder(sent));
      await client.close();

      await using again = await enter(node, { id: id!, password: input.password });
      const { friends, groups } = await again.succeed({ msgid: Msg.CONTACTS });
      assertEquals(friends, []);
      assertEquals(groups!.map((group) => [group.id, group.groupname, group.groupdesc]), [[
        groupid,
        groupname,
        groupdesc,
      ]]);
      assertEquals((await again.succeed({ msgid: Msg.MEMBERS, groupid })).users!.map((user) => user.name), [
        name,
      ]);
      const pushed = await node.pushed((to) => to === node.alice ? input.messages.length : 0);
      assertEquals(
        pushed.map(({ message }) => [message.name, message.msg]),
        input.messages.map((msg) => [name, msg]),
      );
      await node.isWell([]);
    },
  };
}

/** Returns 1 to `most` characters without halves of surrogate pairs. */
function text(random: Random, most: number): string {
  const parts = Array.from(
    { length: 1 + random.below(4) },
    () => random.pick([random.pick(TEXTS), random.text(most >> 1)]),
  );
  return firstOf(parts.join("").toWellFormed(), most) || "x";
}

/** Returns the first code points of a text. */
function firstOf(text: string, most: number): string {
  return [...text].slice(0, most).join("");
}

/** Returns a normalised name with this text, or without it when the rules for names refuse the text. */
function allowed(text: string, named: NameKind): string {
  const name = normalizeName(`${freshName("#")}${text}.`);
  return validateName(name, named, true) === undefined ? name : freshName("plain");
}

/** Removes control characters, which names may not have. */
function visible(text: string): string {
  return text.replace(/\p{Cc}/gu, "");
}
