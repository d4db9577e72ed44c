/**
 * The sessions of this node, by user and by group, and the bus subscriptions that follow from them: a node
 * subscribes a user's channel while the user is logged in on it, and a group's while a member is.
 */
import type { Bus } from "../bus/bus.ts";
import type { Session } from "./session.ts";

const NOBODY: ReadonlySet<Session> = new Set();

/** Who is logged in here. */
export class Sessions {
  readonly #bus: Bus;
  readonly #users = new Map<number, Session>();
  readonly #groups = new Map<number, Set<Session>>();

  constructor(bus: Bus) {
    this.#bus = bus;
  }

  /** How many there are. */
  get size(): number {
    return this.#users.size;
  }

  of(user: number): Session | undefined {
    return this.#users.get(user);
  }

  inGroup(group: number): ReadonlySet<Session> {
    return this.#groups.get(group) ?? NOBODY;
  }

  /** Adds the only session of its user. When it resolves, hints for the user are received. */
  add(session: Session): Promise<void> {
    this.#users.set(session.user, session);
    return this.#bus.subscribe(session.user);
  }

  /** When it resolves, the session is offered the group's messages. */
  async join(session: Session, group: number): Promise<void> {
    if (session.groups.has(group) || this.of(session.user) !== session) return;
    session.groups.add(group);
    const here = this.#groups.get(group);
    if (here) here.add(session);
    else {
      this.#groups.set(group, new Set([session]));
      await this.#bus.subscribe(-group);
    }
  }

  /** Takes it out of everything; false if it was out already. */
  remove(session: Session): boolean {
    if (this.of(session.user) !== session) return false;
    this.#users.delete(session.user);
    void this.#bus.unsubscribe(session.user);
    for (const group of session.groups) {
      const here = this.#groups.get(group)!;
      here.delete(session);
      if (here.size > 0) continue;
      this.#groups.delete(group);
      void this.#bus.unsubscribe(-group);
    }
    return true;
  }
}
