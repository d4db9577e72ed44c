/** One node: what all its connections share. */
import type { Bus, Channel, Hint } from "../bus/bus.ts";
import type { Config } from "../config/options.ts";
import { type Log, Seldom } from "../log.ts";
import type { Peer, Store, StoredMessage } from "../store/store.ts";
import { Cursors } from "./cursors.ts";
import { Fresh } from "./delivery.ts";
import { Passwords } from "./passwords.ts";
import type { Session } from "./session.ts";
import { Sessions } from "./sessions.ts";

/** What a node is made of. */
export interface NodeParts {
  readonly config: Config;
  readonly log: Log;
  readonly store: Store;
  readonly bus: Bus;
  /** The time, in milliseconds since 1970, UTC. */
  readonly now: () => number;
}

/** A node of the cluster, or all there is of it. */
export class Node implements NodeParts {
  readonly config: Config;
  readonly log: Log;
  readonly store: Store;
  readonly bus: Bus;
  readonly now: () => number;
  readonly sessions: Sessions;
  readonly cursors: Cursors;
  readonly passwords: Passwords;
  /** For what goes wrong with every request while it goes wrong. */
  readonly failures = new Seldom();
  readonly #takenOver: (session: Session) => void;

  /** `takenOver` is called for a session whose user has logged in on another node instead. */
  constructor(parts: NodeParts, takenOver: (session: Session) => void) {
    this.config = parts.config;
    this.log = parts.log;
    this.store = parts.store;
    this.bus = parts.bus;
    this.now = parts.now;
    this.#takenOver = takenOver;
    this.sessions = new Sessions(this.bus);
    this.cursors = new Cursors(this.store, this.log);
    const { scryptLn: ln, scryptR: r, scryptP: p, hashQueue } = this.config;
    this.passwords = new Passwords({ ln, r, p }, navigator.hardwareConcurrency, hashQueue);
  }

  /** Starts to listen to the other nodes. */
  open(): Promise<void> {
    return this.bus.open((channel, hint) => this.#receive(channel, hint));
  }

  /** Offers a committed message (never one that isn't: invariant I3) to all whom it concerns, here and elsewhere. */
  deliver(session: Session, peer: Peer, message: StoredMessage): void {
    const fresh = new Fresh(message, peer);
    if (peer > 0) {
      session.delivery.offer(peer, fresh);
      const recipient = this.sessions.of(peer);
      if (recipient) recipient.delivery.offer(session.user, fresh);
      else this.bus.publish(peer, { kind: "message", message });
    } else {
      for (const member of this.sessions.inGroup(-peer)) member.delivery.offer(peer, fresh);
      this.bus.publish(peer, { kind: "message", message });
    }
  }

  #receive(channel: Channel, hint: Hint): void {
    if (channel < 0) {
      if (hint.kind !== "message") return;
      const fresh = new Fresh(hint.message, channel);
      for (const member of this.sessions.inGroup(-channel)) member.delivery.offer(channel, fresh);
      return;
    }
    const session = this.sessions.of(channel);
    if (!session) return;
    if (hint.kind === "message") {
      session.delivery.offer(hint.message.sender, new Fresh(hint.message, channel));
    } else if (hint.kind === "presence") session.tellPresence(hint.user, hint.online);
    else this.#takenOver(session);
  }
}
