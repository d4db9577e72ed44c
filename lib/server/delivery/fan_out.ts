/**
 * Delivers the messages of groups to the sessions on this node. A sender does not wait for the pushes: they
 * begin after the turn of the event loop in which the message was acknowledged, and other work runs between
 * time slices. Messages of a group that wait together are pushed together, in one write per member.
 */
import { INTERACTIVE } from "../scheduling/classes.ts";
import type { EventLoop } from "../scheduling/event_loop.ts";
import type { WorkQueue } from "../scheduling/work_queue.ts";
import type { CommittedMessage, Delivery } from "./delivery.ts";

/** The part of a session that a fan-out uses. */
export interface Member {
  readonly user: number;
  readonly delivery: Pick<Delivery, "deliver">;
}

/** The parts of a node that fan-outs use. */
export interface FanOutDeps {
  readonly eventLoop: Pick<EventLoop, "yieldToIo">;
  /** The queue of the bulk class, which pauses for the time of fan-outs. */
  readonly bulkQueue: Pick<WorkQueue, "charge">;
  readonly sessions: {
    /** Returns the sessions of a group on this node. They may change during the iteration. */
    groupMembers(group: number): Iterable<Member>;
  };
}

/** A message for the members of a group. */
interface Entry {
  readonly committed: CommittedMessage;
  /** A member who does not get it. */
  readonly except: number | undefined;
}

/** Messages of one group that are being pushed. */
interface Pass {
  readonly group: number;
  readonly entries: readonly Entry[];
  /** The members who have not got them yet. */
  readonly members: Iterator<Member>;
}

/**
 * Messages that wait, of all groups: at most some megabytes. Beyond that the node pushes before it takes
 * anything else, so that its senders and the other nodes slow down.
 */
const MAX_WAITING = 64;

/** The fan-outs of a node, one after the other. So the messages of a group stay in order. */
export class FanOut {
  readonly #deps: FanOutDeps;
  /** By group. The group that waits longest is the first. */
  readonly #waiting = new Map<number, Entry[]>();
  #pass: Pass | undefined;
  #count = 0; // of the messages that wait or are being pushed
  #running: Promise<void> | undefined;

  constructor(deps: FanOutDeps) {
    this.#deps = deps;
  }

  /**
   * Delivers a message to the members of a group on this node. It must be committed (invariant I3): a session
   * that joins later finds it in the store.
   */
  add(group: number, committed: CommittedMessage, except?: number): void {
    const entry = { committed, except };
    const entries = this.#waiting.get(group);
    if (entries) entries.push(entry);
    else this.#waiting.set(group, [entry]);
    this.#count++;
    while (this.#count > MAX_WAITING) this.#pushToNext();
    this.#running ??= this.#run();
  }

  /** Drops all messages: they are those of another history. */
  clear(): void {
    this.#waiting.clear();
    this.#pass = undefined;
    this.#count = 0;
  }

  /** Drops all messages, and resolves when nothing is pushed any more. */
  async stop(): Promise<void> {
    this.clear();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { eventLoop, bulkQueue } = this.#deps;
    while (this.#count > 0) {
      await eventLoop.yieldToIo();
      const startedAt = performance.now();
      let now = startedAt;
      while (this.#count > 0 && now - startedAt < INTERACTIVE.timeSliceMs) {
        this.#pushToNext();
        await undefined; // the connection writes
        now = performance.now();
      }
      bulkQueue.charge(now - startedAt);
    }
    this.#running = undefined;
  }

  /** Pushes the messages of the current pass to its next member, or ends the pass. */
  #pushToNext(): void {
    this.#pass ??= this.#nextPass();
    const { group, entries, members } = this.#pass;
    const { done, value: member } = members.next();
    if (done) {
      this.#pass = undefined;
      this.#count -= entries.length;
      return;
    }
    for (const { committed, except } of entries) {
      if (member.user !== except) member.delivery.deliver(-group, committed);
    }
  }

  /** Takes the messages of a group. There must be some. */
  #nextPass(): Pass {
    const [[group, entries]] = this.#waiting as unknown as [[number, Entry[]]];
    this.#waiting.delete(group);
    return { group, entries, members: this.#deps.sessions.groupMembers(group)[Symbol.iterator]() };
  }
}
