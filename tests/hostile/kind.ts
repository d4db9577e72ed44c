/** What a hostile kind is. */
import type { Foe } from "./foe.ts";
import type { Squad } from "./plan.ts";

/** One way to hurt. */
export interface Kind {
  readonly name: string;
  /** What it does, in a few words. */
  readonly what: string;
  /** Its connections log in first, each as a user of its own. */
  readonly isUser?: true;
  /** Which of its connections, by their numbers in the squad, never read; all do if it isn't given. */
  readonly deaf?: (at: number) => boolean;
  /**
   * What a connection does once it is there. When it resolves, or rejects, or the server closes, the connection is
   * made again.
   */
  attack(foe: Foe, squad: Squad): Promise<void>;
}
