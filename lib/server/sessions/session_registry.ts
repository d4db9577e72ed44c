/**
 * The sessions of this node, by user and by group, and the bus subscriptions that follow from them: a node
 * subscribes a user's channel while the user is logged in on it, and a group's while a member is.
 */
import type { Bus } from "../../bus/bus.ts";
import type { Session } from "./session.ts";

/** The members of a group who are logged in here. */
interface LocalGroup {
  readonly sessions: Set<Session>;
  /** Fulfilled when the group's hints are received; all who join wait for it, not only the first. */
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

  /** Adds the only session of its user. When it resolves, hints for the user are received. */
  add(session: Session): Promise<void> {
    this.#users.set(session.user, session);
    return this.#bus.subscribe(session.user);
  }

  /** When it resolves, the session is offered the group's messages. */
  async join(session: Session, group: number): Promise<void> {
    if (session.groups.has(group) || this.get(session.user) !== session) return;
    session.addGroup(group);
    let localGroup = this.#groups.get(group);
    if (!localGroup) {
      this.#groups.set(group, localGroup = { sessions: new Set(), subscribed: this.#bus.subscribe(-group) });
    }
    localGroup.sessions.add(session);
    await localGroup.subscribed;
  }

  /**
   * Takes it out of everything; undefined if it was out already. When it resolves, which is all it does, the
   * other nodes see the user gone.
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
