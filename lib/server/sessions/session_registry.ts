/**
 * The sessions of this node, by user and by group, and their subscriptions. A node subscribes a user's
 * channel while the user is logged in on it, and a group's channel while a member of the group is.
 */
import type { Bus } from "../../bus/bus.ts";
import type { Session } from "./session.ts";

/** The sessions of a group on this node. */
interface LocalGroup {
  readonly sessions: Set<Session>;
  /**
   * Fulfilled when the group's channel is subscribed. Every session that joins waits for it, not only the
   * first.
   */
  readonly subscribed: Promise<void>;
}

const NO_SESSIONS: ReadonlySet<Session> = new Set();

/** The sessions on this node. */
export class SessionRegistry {
  readonly #bus: Bus;
  readonly #users = new Map<number, Session>();
  readonly #groups = new Map<number, LocalGroup>();

  constructor(bus: Bus) {
    this.#bus = bus;
  }

  [Symbol.iterator](): Iterator<Session> {
    return this.#users.values();
  }

  get(user: number): Session | undefined {
    return this.#users.get(user);
  }

  groupMembers(group: number): ReadonlySet<Session> {
    return this.#groups.get(group)?.sessions ?? NO_SESSIONS;
  }

  /** Adds the only session of a user. When it resolves, this node receives the hints for the user. */
  add(session: Session): Promise<void> {
    this.#users.set(session.user, session);
    return this.#bus.subscribe(session.user);
  }

  /** Adds a session to a group. When it resolves, the session receives the group's messages. */
  async join(session: Session, group: number): Promise<void> {
    if (this.get(session.user) !== session) return;
    session.addGroup(group);
    let localGroup = this.#groups.get(group);
    if (!localGroup) {
      this.#groups.set(group, localGroup = { sessions: new Set(), subscribed: this.#bus.subscribe(-group) });
    }
    localGroup.sessions.add(session);
    await localGroup.subscribed;
  }

  /**
   * Removes a session from its user and its groups. Returns undefined if it was removed before, or else a
   * promise that never rejects. When the promise is fulfilled, the other nodes see the user as offline.
   */
  remove(session: Session): Promise<void> | undefined {
    if (this.get(session.user) !== session) return undefined;
    this.#users.delete(session.user);
    const unsubscribed = this.#bus.unsubscribe(session.user);
    for (const group of session.groups) {
      const { sessions } = this.#groups.get(group)!;
      sessions.delete(session);
      if (sessions.size > 0) continue;
      this.#groups.delete(group);
      void this.#bus.unsubscribe(-group);
    }
    return unsubscribed;
  }
}
