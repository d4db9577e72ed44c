/**
 * The attackers' process. It reads the plan from the first line of its standard input, begins at the second
 * line and stops at the end of the input. Then it prints the tallies of the squads.
 */
import { pause, until } from "../harness/wait.ts";
import { Attacker } from "./attacker.ts";
import type { AttackType } from "./attack_type.ts";
import { attackTypes } from "./attack_types.ts";
import { newTally, type Plan, type Squad, type Tally } from "./attack_plan.ts";
import { keepSendBuffersSmall } from "./send_buffers.ts";

const RECONNECT_MS = 100; // milliseconds before a lost connection is opened again
const SPREAD_MS = 1_000; // milliseconds over which the first connections are spread

/** Runs the attack of one connection of a squad, and reconnects whenever it ends. */
async function runAttack(
  type: AttackType,
  at: number,
  squad: Squad,
  plan: Plan,
  tally: Tally,
): Promise<never> {
  for (;;) {
    try {
      using attacker = await Attacker.connect(plan.target, at, tally);
      const user = squad.users[at];
      if (user) await attacker.login(user.token);
      const attacking = type.attack(attacker, squad).then(() => "over" as const, () => "closed" as const);
      const reading = type.neverReads?.(at) ? [] : [attacker.readOn().then(() => "closed" as const)];
      if (await Promise.race([attacking, ...reading]) === "over") continue;
      tally.closed++;
    } catch {
      // The connection or the login failed.
    }
    await pause(RECONNECT_MS);
  }
}

/** Returns whether a connection of the squad has begun its attack. */
function hasBegun({ users, connections }: Squad, { connected, replies }: Tally): boolean {
  return connections === 0 || connected > 0 && (users.length === 0 || (replies["0"] ?? 0) > 0);
}

async function main(): Promise<void> {
  const lines = Deno.stdin.readable.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  /** Returns the next line, or undefined at the end. */
  const line = async (): Promise<string | undefined> => {
    for (;;) {
      const end = text.indexOf("\n");
      if (end >= 0) {
        const found = text.slice(0, end);
        text = text.slice(end + 1);
        return found;
      }
      const { value, done } = await lines.read();
      if (done) return undefined;
      text += value;
    }
  };
  const plan = JSON.parse(await line() ?? "") as Plan;
  const tallies = plan.squads.map(newTally);
  if (await line() === undefined) return; // stopped before it began
  keepSendBuffersSmall();
  for (const [index, squad] of plan.squads.entries()) {
    const type = attackTypes.find(({ name }) => name === squad.attackType)!;
    for (let at = 0; at < squad.connections; at++) {
      const start = async () => {
        await pause(Math.random() * SPREAD_MS);
        await runAttack(type, at, squad, plan, tallies[index]!);
      };
      void start();
    }
  }
  while (await line() !== undefined);
  // On a busy machine a short attack may end before all attack types have begun.
  const allBegun = () => plan.squads.every((squad, index) => hasBegun(squad, tallies[index]!));
  await until(allBegun, "an attack of every type").catch(() => {}); // the tallies show the missing ones
  const output = new TextEncoder().encode(JSON.stringify(tallies));
  for (let at = 0; at < output.length;) at += Deno.stdout.writeSync(output.subarray(at));
}

await main();
Deno.exit(0);
