/**
 * Pushes a session its messages: at once while the session has all that came before, else from the store
 * until it has (invariants I2 and I4). A reader that is slow is not waited for: what it can't take stays in
 * the log.
 */
import { describe, type Log } from "../../log.ts";
import type { Page, Peer, Store, StoredMessage, Unread } from "../../store/store.ts";
import { Backlog, type Missed } from "./backlog.ts";
import type { Connection } from "../net/connection.ts";
import type { Cursors } from "./cursor_writer.ts";
import { chatMessage, type ServerMessage } from "../protocol/dialect.ts";
import type { Lane } from "../scheduling/lane.ts";
import { type Talk, Talks } from "./conversation_state.ts";

/** A message that was just committed, with its bytes for all who get it in the same dialect. */
export class Fresh {
  readonly message: StoredMessage;
  readonly #to: number;
  #framed: Uint8Array | undefined;

  /** `to` is the recipient of a pair's message, or minus the group. */
  constructor(message: StoredMessage, to: number) {
    this.message = message;
    this.#to = to;
  }

  /** Pushes it; framed bytes are made once, however many get them. */
  pushTo(connection: Connection, taken?: () => void): void {
    if (connection.dialect?.name === "framed") {
      this.#framed ??= connection.dialect.encode(chatMessage(this.message, this.#to))!;
      connection.sendBytes(this.#framed, taken);
    } else connection.send(chatMessage(this.message, this.#to), taken);
  }
}

/** What a delivery needs of the node around it. */
export interface DeliveryPorts {
  readonly store: Store;
  readonly cursors: Cursors;
  readonly log: Log;
  /** In which those who are behind wait for their turns; undefined if nothing is limited. */
  readonly catchingUp: Lane | undefined;
  /** The user has unread messages in this group, and so is a member. */
  memberOf(user: number, group: number): void;
  /** The user has been pushed messages of this conversation that the store does not have any more. */
  lost(user: number, peer: Peer): void;
}

/**
 * Conversations that are looked for at once after a login; more follow as the first are said to be DELIVERED.
 */
const UNREAD = 1_000;
/** Conversations whose state a session remembers; one that is forgotten is looked up again. Bounds memory. */
const REMEMBERED = 4_096;
/** Pieces of heavy work that the reading of a page counts as. */
const PAGE_PIECES = 1;
/**
 * ms that a message of a page counts as. With all else it takes 0.009 ms when absent users fetch theirs; but
 * a user who comes back has not asked for too much, and is to have a larger part of the time than those who
 * do.
 */
const PUSH_TIME = 0.0025;
/** ms after which a read that the store refused is tried again. */
const RETRY = 1_000;

/** The pushing to one session. */
export class Delivery {
  readonly #user: number;
  readonly #connection: Connection;
  readonly #ports: DeliveryPorts;
  readonly #talks = new Talks(REMEMBERED);
  readonly #backlog: Backlog;
  #started = false;
  #stopped = false;
  #pumping = false;
  #more = false; // more conversations were unread than were asked for: a look is due when some are DELIVERED
  #again = false; // a look is due now
  #retry: ReturnType<typeof setTimeout> | undefined;

  constructor(user: number, connection: Connection, ports: DeliveryPorts) {
    this.#user = user;
    this.#connection = connection;
    this.#ports = ports;
    this.#backlog = new Backlog((...page) => this.#read(...page));
  }

  /**
   * Finds out what was missed. Called when the node has subscribed for the user, not before (invariant I3).
   */
  async look(): Promise<void> {
    await this.#ports.cursors.settled(this.#user);
    let unread = await this.#ports.store.unread(this.#user, UNREAD);
    const ahead = this.#ahead(unread);
    if (ahead.size > 0) {
      // What was pushed while the store was asked is in its next answer, unless the store has lost it.
      unread = await this.#ports.store.unread(this.#user, UNREAD);
      for (const { peer, last } of unread) {
        if (last < (ahead.get(peer) ?? 0)) return this.#ports.lost(this.#user, peer);
      }
    }
    this.#more = unread.length === UNREAD;
    for (const { peer, cursor, last, since } of unread) {
      if (peer < 0) this.#ports.memberOf(this.#user, -peer);
      const talk = this.#talks.get(peer) ?? this.#remember({ peer, pushed: cursor, known: last, cursor });
      if (talk.pushed !== undefined && talk.pushed >= last) continue;
      talk.known = Math.max(talk.known, last);
      this.#backlog.add(talk, talk.pushed === cursor ? since : undefined);
    }
  }

  /** By conversations, how far pushing has got where that is beyond the store's last seq. */
  #ahead(unread: readonly Unread[]): Map<Peer, number> {
    const ahead = new Map<Peer, number>();
    for (const { peer, last } of unread) {
      const pushed = this.#talks.get(peer)?.pushed ?? 0;
      if (pushed > last) ahead.set(peer, pushed);
    }
    return ahead;
  }

  /** Puts into a login's answer what of the missed messages belongs and fits there, the oldest first. */
  async fillAnswer(answer: ServerMessage): Promise<{ answer: ServerMessage; taken?: () => void }> {
    const gathering = this.#connection.dialect?.gatherMissed(answer);
    if (!gathering) return { answer };
    const included: Missed[] = [];
    for (let missed; (missed = await this.#peek()) !== undefined;) {
      if (!gathering.add(chatMessage(missed.message, this.#to(missed)))) break;
      included.push(missed);
      this.#backlog.shift(missed);
    }
    const taken = () => included.forEach(({ talk, message }) => this.#written(talk.peer, message.seq));
    return { answer: gathering.answer(), taken };
  }

  /** From now on messages are pushed. */
  start(): void {
    this.#started = true;
    this.#pump();
  }

  /** No more is pushed. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#retry);
  }

  /** Looks once more at what was missed, now or as soon as the store lets it. */
  lookAgain(): void {
    this.#again = true;
    this.#pump();
  }

  /** There is room on the connection again. */
  resume(): void {
    if (!this.#backlog.empty || this.#again) this.#pump();
  }

  /** A message was committed in one of the user's conversations; it may be the user's own. */
  offer(peer: Peer, fresh: Fresh): void {
    const { seq, sender } = fresh.message;
    const own = sender === this.#user;
    let talk = this.#talks.get(peer);
    if (!talk) {
      const isFirst = own && seq === 1; // nothing was before it
      talk = this.#remember({
        peer,
        pushed: isFirst ? 0 : undefined,
        known: seq,
        cursor: isFirst ? 0 : undefined,
      });
      if (!isFirst) this.#backlog.add(talk);
    }
    if (seq > talk.known) talk.known = seq;
    if (talk.pushed !== undefined && seq <= talk.pushed) return;
    const isNext = seq - 1 === talk.pushed && !this.#backlog.hasRead(talk);
    if (isNext && this.#started && (own || this.#connection.hasRoom)) {
      talk.pushed = seq;
      if (talk.known === seq) this.#backlog.drop(talk); // a look had been quicker than this
      if (own) this.#passOwn(talk, seq - 1, seq);
      else fresh.pushTo(this.#connection, this.#takenAs(peer, seq));
      return;
    }
    this.#backlog.add(talk);
    this.#pump();
  }

  /**
   * The client says that it has a conversation up to `seq`. It counts as far as there are messages now, as
   * the cursor is only written later; and in conversations with none for this session there is nothing to
   * say.
   */
  delivered(peer: Peer, seq: number): void {
    const talk = this.#talks.get(peer);
    if (!talk) return;
    const upTo = Math.min(seq, talk.known);
    if (talk.cursor !== undefined && talk.cursor < upTo) talk.cursor = upTo;
    this.#ports.cursors.move(this.#user, peer, upTo);
    if (this.#more && this.#backlog.empty) this.#pump();
  }

  async #pump(): Promise<void> {
    // A store that has just refused is asked again when the timer says so, and not for each hint.
    if (this.#pumping || !this.#started || this.#stopped || this.#retry !== undefined) return;
    this.#pumping = true;
    try {
      while (!this.#stopped && this.#connection.hasRoom) {
        const missed = await this.#peek();
        if (this.#stopped) break;
        if (!missed) {
          if (!this.#more && !this.#again) break;
          this.#again = false;
          await this.look();
          if (this.#backlog.empty) break;
          continue;
        }
        this.#backlog.shift(missed);
        const { peer } = missed.talk;
        const { seq } = missed.message;
        const taken = this.#takenAs(peer, seq);
        this.#connection.send(chatMessage(missed.message, this.#to(missed)), taken);
      }
      if (!this.#connection.hasRoom) this.#backlog.rest();
    } catch (error) {
      this.#again = true; // if it was a look that failed
      this.#ports.log.warn("backlog not read", { user: this.#user, why: describe(error) });
      if (!this.#stopped) {
        this.#retry = setTimeout(() => {
          this.#retry = undefined;
          this.#pump();
        }, RETRY);
      }
    } finally {
      this.#pumping = false;
    }
    // What was offered while the last look came back empty-handed.
    if ((!this.#backlog.empty || this.#again) && this.#connection.hasRoom && this.#retry === undefined) {
      this.#pump();
    }
  }

  /** The next missed message that isn't the user's own. */
  async #peek(): Promise<Missed | undefined> {
    for (;;) {
      const missed = await this.#backlog.peek();
      if (missed?.message.sender !== this.#user) return missed;
      const { pushed } = missed.talk;
      this.#backlog.shift(missed);
      this.#passOwn(missed.talk, pushed, missed.message.seq);
    }
  }

  /**
   * The user's own message needs no DELIVERED: it moves the cursor, if that is where the pushing was
   * `before` it. In between there is no message, though an operator may have deleted some.
   */
  #passOwn(talk: Talk, before: number | undefined, seq: number): void {
    if (talk.cursor !== before) return;
    talk.cursor = seq;
    this.#ports.cursors.move(this.#user, talk.peer, seq);
  }

  /** Reads a page. Once the login is over, and does not wait for it, the page waits for its turn. */
  async #read(peer: Peer, after: number | undefined, limit: number, bytes: number): Promise<Page> {
    const { store, catchingUp } = this.#ports;
    const read = () => store.read(this.#user, peer, after, limit, bytes);
    if (!catchingUp || !this.#started) return await read();
    const page = await catchingUp.do(read, PAGE_PIECES);
    catchingUp.spent(page.messages.length * PUSH_TIME);
    return page;
  }

  #takenAs(peer: Peer, seq: number): (() => void) | undefined {
    return this.#connection.dialect?.deliversByWriting ? () => this.#written(peer, seq) : undefined;
  }

  /** A message was written to a client that says no DELIVERED. */
  #written(peer: Peer, seq: number): void {
    const talk = this.#talks.get(peer);
    if (talk) this.delivered(peer, seq);
    else this.#ports.cursors.move(this.#user, peer, seq); // forgotten meanwhile; the seq is true all the same
  }

  #to({ talk }: Missed): number {
    return talk.peer > 0 ? this.#user : talk.peer;
  }

  #remember(talk: Talk): Talk {
    const forgotten = this.#talks.add(talk);
    if (forgotten && this.#backlog.has(forgotten)) {
      this.#backlog.drop(forgotten);
      this.#more = true; // it will be found again
    }
    return talk;
  }
}
