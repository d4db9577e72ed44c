/** The actions of the users in the course of a run. */
import { Random } from "../harness/random.ts";
import type { Address } from "../harness/server.ts";
import { pause } from "../harness/wait.ts";
import type { Manners, RunContext } from "./environment.ts";
import { User } from "./user.ts";

const USERS = 24;
const LATE_USERS = 4; // of them join in the middle of the run
const GROUPS = 5; // each created by one of the first users
const MAX_STEP_MS = 140; // ms, the longest time between two actions of a user
const MAX_UNACKNOWLEDGED = 60; // messages, after which a user sends no more: an outage lasts seconds
const FLOOD_MESSAGES = 60; // to a blocked reader
const FLOOD_TEXT = "flood ".repeat(8_000); // 48 kB, so that a flood exceeds the buffers of the kernel

/** Chances in 1,000 of each action in a step; otherwise the user sends a message. */
const CHANCES = {
  burst: 30,
  befriend: 40,
  join: 40,
  stuck: 4,
  slow: 4,
  flooded: 1,
  reset: 4,
  end: 4,
  relog: 5,
  device: 5,
} as const;
type Deed = keyof typeof CHANCES | "say";

/** The users of a run. */
export class Workload {
  readonly #users = new Map<number, User>(); // by their numbers in the plan
  readonly #seed: number;
  readonly #around: RunContext;
  readonly #manners: (index: number, random: Random) => Manners;
  readonly #groups = new Map<string, number>(); // ids by name of created groups
  #acting: Promise<unknown>[] = [];
  #ending = false;

  /** Makes a workload. Most users connect to `nginx`, others to the nodes, each with another node first. */
  constructor(seed: number, nginx: Address, nodes: readonly Address[], around: RunContext) {
    this.#seed = seed;
    this.#around = around;
    this.#manners = (index, random) => ({
      addresses: index % 3 > 0 ? [nginx] : nodes.map((_, at) => nodes[(index + at) % nodes.length]!),
      replyTimeoutMs: 3_000 + random.below(9_000),
      gather: 100 + random.below(index % 4 > 0 ? 300 : 3_000),
      mute: 0.15,
      random: new Random(random.below(2 ** 31)),
    });
  }

  /** The users that have joined the run. */
  get users(): User[] {
    return [...this.#users.values()];
  }

  /** Runs the users for `ms` milliseconds. The late ones join later. */
  begin(ms: number): void {
    for (let index = 0; index < USERS; index++) {
      const random = new Random(this.#seed * USERS + index);
      const delay = index < USERS - LATE_USERS ? random.below(500) : ms / 3 + random.below(ms / 3);
      this.#acting.push(this.#act(index, random, delay));
    }
  }

  /** Waits until no user begins another action. */
  async end(): Promise<void> {
    this.#ending = true;
    await Promise.all(this.#acting);
  }

  /** Ends all users. */
  async close(): Promise<void> {
    await this.end();
    await Promise.all(this.users.map((user) => user.close()));
  }

  async #act(index: number, random: Random, delay: number): Promise<void> {
    const manners = this.#manners(index, random);
    for (const end = performance.now() + delay; performance.now() < end && !this.#ending;) await pause(50);
    const user = new User(`u${this.#seed}-${index}`, manners, this.#around);
    this.#users.set(index, user);
    const group = index < GROUPS ? `g${this.#seed}-${index}` : undefined;
    for (let step = 0; !this.#ending; step++) {
      await pause(1 + random.below(MAX_STEP_MS));
      const [deed, whom, which] = [choose(random), random.below(USERS), random.below(GROUPS)];
      const [size, toGroup] = [random.below(100), random.below(2) === 0];
      if (!user.online) continue;
      if (group !== undefined && !this.#groups.has(group)) {
        const id = await user.makeGroup(group);
        if (id !== undefined) this.#groups.set(group, id);
        continue;
      }
      const peer = whom === index ? undefined : this.#users.get(whom);
      const groupid = this.#groups.get(`g${this.#seed}-${which}`);
      const text = () => random.text(size < 95 ? 40 : 2_000);
      await this.#do(deed, user, peer, groupid, toGroup, text, size);
    }
  }

  async #do(
    deed: Deed,
    user: User,
    peer: User | undefined,
    groupid: number | undefined,
    toGroup: boolean,
    text: () => string,
    size: number,
  ): Promise<void> {
    const count = deed === "say" || deed === "burst" ? "" : `own ${deed}`;
    if (count !== "" && count !== "own befriend" && count !== "own join") this.#around.count(count);
    switch (deed) {
      case "befriend":
        if (peer?.id) user.befriend(peer.id);
        return;
      case "join":
        if (groupid !== undefined && !user.memory.groups.has(groupid)) user.join(groupid);
        return;
      case "stuck":
      case "slow":
        return user.hinder(deed, 1_000 + 60 * size);
      case "flooded":
        if (!peer?.id) return;
        peer.hinder("stuck", 1_000 + 60 * size);
        for (let i = 0; i < FLOOD_MESSAGES; i++) user.say({ toid: peer.id }, FLOOD_TEXT);
        return;
      case "reset":
      case "end":
        return user.drop(deed);
      case "relog":
        return await user.relog(40 * size);
      case "device":
        return user.anotherDevice(toGroup ? "password" : "token");
      case "say":
      case "burst":
        if (user.memory.unanswered.size > MAX_UNACKNOWLEDGED) return;
        for (let i = 0; i < (deed === "say" ? 1 : 10); i++) {
          if (toGroup && groupid !== undefined && user.memory.groups.has(groupid)) {
            user.say({ groupid }, text());
          } else if (peer?.id) user.say({ toid: peer.id }, text());
        }
    }
  }
}

function choose(random: Random): Deed {
  let roll = random.below(1_000);
  for (const [deed, chance] of Object.entries(CHANCES)) if ((roll -= chance) < 0) return deed as Deed;
  return "say";
}
