/**
 * Pushes a session its messages: at once while the session has all that came before, else from the store
 * until it has (invariants I2 and I4). A reader that is slow is not waited for: what it can't take stays in
 * the log.
 */
import { describeError, type Log } from "../../log.ts";
import type { Page, Peer, Store, StoredMessage, Unread } from "../../store/store.ts";
import { Backlog, type BacklogEntry } from "./backlog.ts";
import type { Connection } from "../net/connection.ts";
import type { CursorWriter } from "./cursor_writer.ts";
import { chatMessage, type ServerMessage } from "../protocol/dialect.ts";
import type { WorkQueue } from "../scheduling/work_queue.ts";
import { type ConversationState, ConversationStates } from "./conversation_state.ts";

/** A message that was just committed, with its bytes for all who get it in the same dialect. */
export class CommittedMessage {
  readonly message: StoredMessage;
  readonly #to: number;
  #framed: Uint8Array | undefined;

  /** `to` is the recipient of a pair's message, or minus the group. */
  constructor(message: StoredMessage, to: number) {
    this.message = message;
    this.#to = to;
  }

  /** Pushes it; framed bytes are made once, however many get them. */
  sendTo(connection: Connection, onWritten?: () => void): void {
    if (connection.dialect?.name === "framed") {
      this.#framed ??= connection.dialect.encode(chatMessage(this.message, this.#to))!;
      connection.sendBytes(this.#framed, onWritten);
    } else connection.send(chatMessage(this.message, this.#to), onWritten);
  }
}

/** What a delivery needs of the node around it. */
export interface DeliveryDeps {
  readonly store: Store;
  readonly cursors: CursorWriter;
  readonly log: Log;
  /** The queue of the bulk class, for reading backlogs. */
  readonly bulkQueue: Pick<WorkQueue, "run" | "charge">;
  /** The user has unread messages in this group, and so is a member. */
  ensureJoined(user: number, group: number): void;
  /** The user has been pushed messages of this conversation that the store does not have any more. */
  reportLostMessages(user: number, peer: Peer): void;
}

/**
 * Conversations that are looked for at once after a login; more follow as the first are said to be DELIVERED.
 */
const MAX_UNREAD_CONVERSATIONS = 1_000;
/** Conversations whose state a session remembers; one that is forgotten is looked up again. Bounds memory. */
const MAX_CACHED_CONVERSATIONS = 4_096;
/**
 * Milliseconds that the bulk class is charged for each message of a page. In truth a message takes about
 * 0.009 ms: users who come back get a larger share of the event loop than clients that exceed their rate.
 */
const MS_PER_PUSH = 0.0025;
/** ms after which a read that the store refused is tried again. */
const RETRY_MS = 1_000;

/** The pushing to one session. */
export class Delivery {
  readonly #user: number;
  readonly #connection: Connection;
  readonly #deps: DeliveryDeps;
  readonly #conversations = new ConversationStates(MAX_CACHED_CONVERSATIONS);
  readonly #backlog: Backlog;
  #started = false;
  #stopped = false;
  #pumping = false;
  #hasMoreUnread = false; // more conversations were unread than were asked for: a look is due when some are DELIVERED
  #resyncPending = false; // a look is due now
  #retryTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(user: number, connection: Connection, deps: DeliveryDeps) {
    this.#user = user;
    this.#connection = connection;
    this.#deps = deps;
    this.#backlog = new Backlog((...page) => this.#readPage(...page));
  }

  /**
   * Finds out what was missed. Called when the node has subscribed for the user, not before (invariant I3).
   */
  async loadUnread(): Promise<void> {
    await this.#deps.cursors.flushUser(this.#user);
    let unread = await this.#deps.store.unread(this.#user, MAX_UNREAD_CONVERSATIONS);
    const ahead = this.#ahead(unread);
    if (ahead.size > 0) {
      // What was pushed while the store was asked is in its next answer, unless the store has lost it.
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

  /** By conversations, how far pushing has got where that is beyond the store's last seq. */
  #ahead(unread: readonly Unread[]): Map<Peer, number> {
    const ahead = new Map<Peer, number>();
    for (const { peer, last } of unread) {
      const pushed = this.#conversations.get(peer)?.lastPushedSeq ?? 0;
      if (pushed > last) ahead.set(peer, pushed);
    }
    return ahead;
  }

  /** Puts into a login's answer what of the missed messages belongs and fits there, the oldest first. */
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

  /** From now on messages are pushed. */
  start(): void {
    this.#started = true;
    this.#pump();
  }

  /** No more is pushed. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#retryTimer);
  }

  /** Looks once more at what was missed, now or as soon as the store lets it. */
  requestResync(): void {
    this.#resyncPending = true;
    this.#pump();
  }

  /** There is room on the connection again. */
  resume(): void {
    if (!this.#backlog.isEmpty || this.#resyncPending) this.#pump();
  }

  /** A message was committed in one of the user's conversations; it may be the user's own. */
  deliver(peer: Peer, committed: CommittedMessage): void {
    const { seq, sender } = committed.message;
    const isOwn = sender === this.#user;
    let conversation = this.#conversations.get(peer);
    if (!conversation) {
      const isFirst = isOwn && seq === 1; // nothing was before it
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
      if (conversation.lastKnownSeq === seq) this.#backlog.remove(conversation); // a look had been quicker than this
      if (isOwn) this.#advanceOwn(conversation, seq - 1, seq);
      else committed.sendTo(this.#connection, this.#ackCallback(peer, seq));
      return;
    }
    this.#backlog.add(conversation);
    this.#pump();
  }

  /**
   * The client says that it has a conversation up to `seq`. It counts as far as there are messages now, as
   * the cursor is only written later; and in conversations with none for this session there is nothing to
   * say.
   */
  acknowledge(peer: Peer, seq: number): void {
    const conversation = this.#conversations.get(peer);
    if (!conversation) return;
    const upTo = Math.min(seq, conversation.lastKnownSeq);
    if (conversation.cursor !== undefined && conversation.cursor < upTo) conversation.cursor = upTo;
    this.#deps.cursors.advance(this.#user, peer, upTo);
    if (this.#hasMoreUnread && this.#backlog.isEmpty) this.#pump();
  }

  async #pump(): Promise<void> {
    // A store that has just refused is asked again when the timer says so, and not for each hint.
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
      if (!this.#connection.isWritable) this.#backlog.dropPages();
    } catch (error) {
      this.#resyncPending = true; // if it was a look that failed
      this.#deps.log.warn("backlog not read", { user: this.#user, why: describeError(error) });
      if (!this.#stopped) {
        this.#retryTimer = setTimeout(() => {
          this.#retryTimer = undefined;
          this.#pump();
        }, RETRY_MS);
      }
    } finally {
      this.#pumping = false;
    }
    // What was offered while the last look came back empty-handed.
    if (
      (!this.#backlog.isEmpty || this.#resyncPending) && this.#connection.isWritable &&
      this.#retryTimer === undefined
    ) {
      this.#pump();
    }
  }

  /** The next missed message that isn't the user's own. */
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
   * The user's own message needs no DELIVERED: it moves the cursor, if that is where the pushing was
   * `before` it. In between there is no message, though an operator may have deleted some.
   */
  #advanceOwn(conversation: ConversationState, before: number | undefined, seq: number): void {
    if (conversation.cursor !== before) return;
    conversation.cursor = seq;
    this.#deps.cursors.advance(this.#user, conversation.peer, seq);
  }

  /** Reads a page: in the bulk class, but for the pages of a login's reply. */
  async #readPage(peer: Peer, after: number | undefined, limit: number, maxBytes: number): Promise<Page> {
    const { store, bulkQueue } = this.#deps;
    const read = () => store.read(this.#user, peer, after, limit, maxBytes);
    if (!this.#started) return await read();
    const page = await bulkQueue.run(read);
    bulkQueue.charge(page.messages.length * MS_PER_PUSH);
    return page;
  }

  #ackCallback(peer: Peer, seq: number): (() => void) | undefined {
    return this.#connection.dialect?.ackOnWrite ? () => this.#onWritten(peer, seq) : undefined;
  }

  /** A message was written to a client that says no DELIVERED. */
  #onWritten(peer: Peer, seq: number): void {
    const conversation = this.#conversations.get(peer);
    if (conversation) this.acknowledge(peer, seq);
    else this.#deps.cursors.advance(this.#user, peer, seq); // forgotten meanwhile; the seq is true all the same
  }

  #recipientOf({ conversation }: BacklogEntry): number {
    return conversation.peer > 0 ? this.#user : conversation.peer;
  }

  #addConversation(conversation: ConversationState): ConversationState {
    const evicted = this.#conversations.add(conversation);
    if (evicted && this.#backlog.has(evicted)) {
      this.#backlog.remove(evicted);
      this.#hasMoreUnread = true; // it will be found again
    }
    return conversation;
  }
}
