/** The form of an attack type. */
import type { Attacker } from "./attacker.ts";
import type { Squad } from "./attack_plan.ts";

/** One way to attack a server. */
export interface AttackType {
  readonly name: string;
  /** A few words for the help. */
  readonly description: string;
  /** Present when each connection logs in first, as a user of its own. */
  readonly isAuthenticated?: true;
  /** Whether a connection, by its number in the squad, never reads. All connections read by default. */
  readonly neverReads?: (at: number) => boolean;
  /**
   * Runs the attack on an open connection. The caller reconnects when the promise settles or the server
   * closes the connection.
   */
  attack(attacker: Attacker, squad: Squad): Promise<void>;
}
