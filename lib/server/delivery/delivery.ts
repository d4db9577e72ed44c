/**
 * Pushes messages to a session (invariants I2 and I4). A message that continues its conversation is pushed at
 * once. After a gap, the server pushes messages from the store until the session has caught up. The server
 * never waits for a slow client: messages for which its connection has no room stay in the store.
 */
import { describeError, type Log } from "../../log.ts";
import type { Page, Peer, Store, StoredMessage, Unread } from "../../store/store.ts";
import { Backlog, type BacklogEntry } from "./backlog.ts";
import type { Connection } from "../net/connection.ts";
import type { CursorWriter } from "./cursor_writer.ts";
import { chatMessage, type ServerMessage } from "../protocol/dialect.ts";
import { BACKLOG_PAGE_WEIGHT } from "../scheduling/classes.ts";
import type { WorkQueue } from "../scheduling/work_queue.ts";
import { type ConversationState, ConversationStates } from "./conversation_state.ts";

/** A message that was just committed, with its encoding for all recipients of the framed dialect. */
export class CommittedMessage {
  readonly message: StoredMessage;
  readonly #to: number;
  #framed: Uint8Array | undefined;

  /** `to` is the recipient, or minus the group's id. */
  constructor(message: StoredMessage, to: number) {
    this.message = message;
    this.#to = to;
  }

  /** Sends the message on a connection. It is encoded once for all framed connections. */
  sendTo(connection: Connection, onWritten?: () => void): void {
    if (connection.dialect?.name === "framed") {
      this.#framed ??= connection.dialect.encode(chatMessage(this.message, this.#to))!;
      connection.sendBytes(this.#framed, onWritten);
    } else connection.send(chatMessage(this.message, this.#to), onWritten);
  }
}

/** The parts of a node that deliveries use. */
export interface DeliveryDeps {
  readonly store: Store;
  readonly cursors: CursorWriter;
  readonly log: Log;
  /** The queue of the bulk class, in which backlogs are read. */
  readonly bulkQueue: Pick<WorkQueue, "run" | "charge">;
  /**
   * Subscribes a group in which the store has unread messages for the user: its "joined" hint may be lost.
   */
  ensureJoined(user: number, group: number): void;
  /** Reports that the store has lost messages that were pushed to the user. */
  reportLostMessages(user: number, peer: Peer): void;
}

/**
 * Unread conversations per call of the store. More are loaded when the client has acknowledged some of these.
 */
const MAX_UNREAD_CONVERSATIONS = 1_000;
/** Conversations whose state a session caches. The state of an evicted one is read from the store again. */
const MAX_CACHED_CONVERSATIONS = 4_096;
/**
 * Milliseconds that each message of a backlog's page charges to the bulk class. Its real cost is 0.009 ms.
 * The charge is lower, so that backlogs get a larger share of the time than requests over the rate.
 */
const MS_PER_PUSH = 0.0025;
/** Milliseconds until a read that failed is tried again. */
const RETRY_MS = 1_000;

/** The delivery of messages to one session. */
export class Delivery {
  readonly #user: number;
  readonly #connection: Connection;
  readonly #deps: DeliveryDeps;
  readonly #conversations = new ConversationStates(MAX_CACHED_CONVERSATIONS);
  readonly #backlog: Backlog;
  #started = false;
  #stopped = false;
  #pumping = false;
  /**
   * Whether the store has more unread conversations than were loaded. The others are loaded after an
   * acknowledgement, when the backlog is empty.
   */
  #hasMoreUnread = false;
  #resyncPending = false;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(user: number, connection: Connection, deps: DeliveryDeps) {
    this.#user = user;
    this.#connection = connection;
    this.#deps = deps;
    this.#backlog = new Backlog((...page) => this.#readPage(...page));
  }

  /**
   * Loads the unread conversations. Must be called after the node has subscribed the user's channel
   * (invariant I3).
   */
  async loadUnread(): Promise<void> {
    await this.#deps.cursors.flushUser(this.#user);
    let unread = await this.#deps.store.unread(this.#user, MAX_UNREAD_CONVERSATIONS);
    const ahead = this.#ahead(unread);
    if (ahead.size > 0) {
      // A message that was pushed during the first call may be missing in its result. If the second call
      // misses it too, the store has lost it.
      unread = await this.#deps.store.unread(this.#user, MAX_UNREAD_CONVERSATIONS);
      for (const { peer, last } of unread) {
        if (last < (ahead.get(peer) ?? 0)) return this.#deps.reportLostMessages(this.#user, peer);
      }
    }
    this.#hasMoreUnread = unread.length === MAX_UNREAD_CONVERSATIONS;
    for (const { peer, cursor, last, since } of unread) {
      if (peer < 0) this.#deps.ensureJoined(this.#user, -peer);
      const conversation = this.#conversations.get(peer) ??
        this.#addConversation({ peer, lastPushedSeq: cursor, lastKnownSeq: last, cursor });
      if (conversation.lastPushedSeq !== undefined && conversation.lastPushedSeq >= last) continue;
      conversation.lastKnownSeq = Math.max(conversation.lastKnownSeq, last);
      this.#backlog.add(conversation, conversation.lastPushedSeq === cursor ? since : undefined);
    }
  }

  /** Returns the last pushed seqs, by conversation, that are beyond the store's last seq. */
  #ahead(unread: readonly Unread[]): Map<Peer, number> {
    const ahead = new Map<Peer, number>();
    for (const { peer, last } of unread) {
      const pushed = this.#conversations.get(peer)?.lastPushedSeq ?? 0;
      if (pushed > last) ahead.set(peer, pushed);
    }
    return ahead;
  }

  /**
   * Adds unread messages to the reply to a login, oldest first, as many as fit. Leaves the reply as it is if
   * the dialect has no field for them. `onWritten` acknowledges them.
   */
  async attachBacklog(reply: ServerMessage): Promise<{ reply: ServerMessage; onWritten?: () => void }> {
    const builder = this.#connection.dialect?.buildBacklog(reply);
    if (!builder) return { reply };
    const included: BacklogEntry[] = [];
    for (let entry; (entry = await this.#peek()) !== undefined;) {
      if (!builder.add(chatMessage(entry.message, this.#recipientOf(entry)))) break;
      included.push(entry);
      this.#backlog.shift(entry);
    }
    const onWritten = () =>
      included.forEach(({ conversation, message }) => this.#onWritten(conversation.peer, message.seq));
    return { reply: builder.build(), onWritten };
  }

  /** Starts to push messages. */
  start(): void {
    this.#started = true;
    this.#pump();
  }

  /** Stops pushing. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#retryTimer);
  }

  /**
   * Loads the unread conversations again, as soon as the store is available and the connection is writable.
   */
  requestResync(): void {
    this.#resyncPending = true;
    this.#pump();
  }

  /** Continues when the connection is writable again. */
  resume(): void {
    if (!this.#backlog.isEmpty || this.#resyncPending) this.#pump();
  }

  /** Delivers a message that was committed in one of the user's conversations. It may be the user's own. */
  deliver(peer: Peer, committed: CommittedMessage): void {
    const { seq, sender } = committed.message;
    const isOwn = sender === this.#user;
    let conversation = this.#conversations.get(peer);
    if (!conversation) {
      const isFirst = isOwn && seq === 1; // the conversation had no message before
      conversation = this.#addConversation({
        peer,
        lastPushedSeq: isFirst ? 0 : undefined,
        lastKnownSeq: seq,
        cursor: isFirst ? 0 : undefined,
      });
      if (!isFirst) this.#backlog.add(conversation);
    }
    if (seq > conversation.lastKnownSeq) conversation.lastKnownSeq = seq;
    if (conversation.lastPushedSeq !== undefined && seq <= conversation.lastPushedSeq) return;
    const isNext = seq - 1 === conversation.lastPushedSeq && !this.#backlog.hasPage(conversation);
    if (isNext && this.#started && (isOwn || this.#connection.isWritable)) {
      conversation.lastPushedSeq = seq;
      if (conversation.lastKnownSeq === seq) this.#backlog.remove(conversation); // a resync found it first
      if (isOwn) this.#advanceOwn(conversation, seq - 1, seq);
      else committed.sendTo(this.#connection, this.#ackCallback(peer, seq));
      return;
    }
    this.#backlog.add(conversation);
    this.#pump();
  }

  /**
   * Advances the cursor: the client has received the conversation up to `seq`. A `seq` beyond the last known
   * message counts as that message. Conversations of which this session has no message are ignored.
   */
  acknowledge(peer: Peer, seq: number): void {
    const conversation = this.#conversations.get(peer);
    if (!conversation) return;
    const upTo = Math.min(seq, conversation.lastKnownSeq);
    if (conversation.cursor !== undefined && conversation.cursor < upTo) conversation.cursor = upTo;
    this.#deps.cursors.advance(this.#user, peer, upTo);
    if (this.#hasMoreUnread && this.#backlog.isEmpty) this.#pump();
  }

  /** Pushes the backlog while the connection is writable, and loads more of it. One call runs at a time. */
  async #pump(): Promise<void> {
    // After a failed read the store is called again when the timer expires, and not for each hint.
    if (this.#pumping || !this.#started || this.#stopped || this.#retryTimer !== undefined) return;
    this.#pumping = true;
    try {
      while (!this.#stopped && this.#connection.isWritable) {
        const entry = await this.#peek();
        if (this.#stopped) break;
        if (!entry) {
          if (!this.#hasMoreUnread && !this.#resyncPending) break;
          this.#resyncPending = false;
          await this.loadUnread();
          if (this.#backlog.isEmpty) break;
          continue;
        }
        this.#backlog.shift(entry);
        const { peer } = entry.conversation;
        const { seq } = entry.message;
        const onWritten = this.#ackCallback(peer, seq);
        this.#connection.send(chatMessage(entry.message, this.#recipientOf(entry)), onWritten);
      }
      if (!this.#connection.isWritable) this.#backlog.dropLaterPages();
    } catch (error) {
      this.#resyncPending = true; // loadUnread may have failed
      this.#deps.log.warn("Cannot read unread messages; retrying", {
        user: this.#user,
        error: describeError(error),
      });
      if (!this.#stopped) {
        this.#retryTimer = setTimeout(() => {
          this.#retryTimer = undefined;
          this.#pump();
        }, RETRY_MS);
      }
    } finally {
      this.#pumping = false;
    }
    // Messages may have been delivered while the last call found none.
    if (
      (!this.#backlog.isEmpty || this.#resyncPending) && this.#connection.isWritable &&
      this.#retryTimer === undefined
    ) {
      this.#pump();
    }
  }

  /** Returns the next unread message that is not the user's own. */
  async #peek(): Promise<BacklogEntry | undefined> {
    for (;;) {
      const entry = await this.#backlog.peek();
      if (entry?.message.sender !== this.#user) return entry;
      const { lastPushedSeq: before } = entry.conversation;
      this.#backlog.shift(entry);
      this.#advanceOwn(entry.conversation, before, entry.message.seq);
    }
  }

  /**
   * Advances the cursor over the user's own message, which needs no DELIVERED, if the client has acknowledged
   * the conversation up to `before`. That is the seq of the preceding message. It may be less than `seq - 1`:
   * an operator may have deleted messages in between.
   */
  #advanceOwn(conversation: ConversationState, before: number | undefined, seq: number): void {
    if (conversation.cursor !== before) return;
    conversation.cursor = seq;
    this.#deps.cursors.advance(this.#user, conversation.peer, seq);
  }

  /** Reads a page: in the bulk queue, except during a login, which would wait for it. */
  async #readPage(peer: Peer, after: number | undefined, limit: number, maxBytes: number): Promise<Page> {
    const { store, bulkQueue } = this.#deps;
    const read = () => store.read(this.#user, peer, after, limit, maxBytes);
    if (!this.#started) return await read();
    const page = await bulkQueue.run(read, BACKLOG_PAGE_WEIGHT);
    bulkQueue.charge(page.messages.length * MS_PER_PUSH);
    return page;
  }

  #ackCallback(peer: Peer, seq: number): (() => void) | undefined {
    return this.#connection.dialect?.ackOnWrite ? () => this.#onWritten(peer, seq) : undefined;
  }

  /** Acknowledges a message that was written to a client without DELIVERED. */
  #onWritten(peer: Peer, seq: number): void {
    const conversation = this.#conversations.get(peer);
    if (conversation) this.acknowledge(peer, seq);
    else this.#deps.cursors.advance(this.#user, peer, seq); // evicted meanwhile
  }

  #recipientOf({ conversation }: BacklogEntry): number {
    return conversation.peer > 0 ? this.#user : conversation.peer;
  }

  #addConversation(conversation: ConversationState): ConversationState {
    const evicted = this.#conversations.add(conversation);
    if (evicted && this.#backlog.has(evicted)) {
      this.#backlog.remove(evicted);
      this.#hasMoreUnread = true; // it is loaded again later
    }
    return conversation;
  }
}
