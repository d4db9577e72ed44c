/** What a hostile kind is. */
import type { Attacker } from "./attacker.ts";
import type { Squad } from "./attack_plan.ts";

/** One way to hurt. */
export interface AttackType {
  readonly name: string;
  /** What it does, in a few words. */
  readonly what: string;
  /** Its connections log in first, each as a user of its own. */
  readonly isAuthenticated?: true;
  /** Which of its connections, by their numbers in the squad, never read; all do if it isn't given. */
  readonly neverReads?: (at: number) => boolean;
  /**
   * What a connection does once it is there. When it resolves, or rejects, or the server closes, the connection is
   * made again.
   */
  attack(attacker: Attacker, squad: Squad): Promise<void>;
}
