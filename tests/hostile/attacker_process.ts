/**
 * The attackers' process. Its standard input has the plan in one line, then a line when to begin, and ends when to
 * stop; then it prints what the squads have achieved.
 */
import { pause, until } from "../harness/wait.ts";
import { Attacker } from "./attacker.ts";
import type { AttackType } from "./attack_type.ts";
import { attackTypes } from "./attack_types.ts";
import { newTally, type Plan, type Squad, type Tally } from "./attack_plan.ts";
import { keepSendBuffersSmall } from "./send_buffers.ts";

const RECONNECT_MS = 100; // milliseconds before a connection that was lost is made again
const SPREAD_MS = 1_000; // milliseconds over which the first connections are made

/** Keeps one connection of a squad going, for good. */
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
      // It could not connect or log in.
    }
    await pause(RECONNECT_MS);
  }
}

/** Whether one of the squad's connections has got as far as to attack. */
function hasBegun({ users, connections }: Squad, { connected, replies }: Tally): boolean {
  return connections === 0 || connected > 0 && (users.length === 0 || (replies["0"] ?? 0) > 0);
}

async function main(): Promise<void> {
  const lines = Deno.stdin.readable.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  /** The next line; undefined at the end. */
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
    const kind = attackTypes.find(({ name }) => name === squad.kind)!;
    for (let at = 0; at < squad.connections; at++) {
      const start = async () => {
        await pause(Math.random() * SPREAD_MS);
        await runAttack(kind, at, squad, plan, tallies[index]!);
      };
      void start();
    }
  }
  while (await line() !== undefined);
  // A busy machine may not have let all of them begin in a short attack, and then it would have been of fewer kinds.
  const allBegun = () => plan.squads.every((squad, index) => hasBegun(squad, tallies[index]!));
  await until(allBegun, "an attack of every kind").catch(() => {}); // the tallies show which are missing
  const output = new TextEncoder().encode(JSON.stringify(tallies));
  for (let at = 0; at < output.length;) at += Deno.stdout.writeSync(output.subarray(at));
}

await main();
Deno.exit(0);
