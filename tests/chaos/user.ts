/**
 * A simulated user with a client that is independent of the project's own. Its memory outlives its
 * connections, and it reconnects after each loss.
 */
import { Errno, Msg, type Received } from "../harness/protocol_numbers.ts";
import { pause } from "../harness/wait.ts";
import { LoginAttempts } from "./login.ts";
import { Link } from "./link.ts";
import { Memory, nameFor, type Outgoing, type Recipient } from "./memory.ts";
import { type Manners, reportRefusal, type RunContext } from "./environment.ts";

const TICK_MS = 50; // ms between two checks for due actions
const MAX_IN_FLIGHT = 8; // messages
const JOIN_RETRY_MS = 1_000; // ms before a request to join is repeated
const PING_INTERVAL_MS = 2_000; // ms of silence before a PING
const LINGER_MS = 5_000; // ms for which a replaced connection of the user stays open
const MAX_RETRY_AFTER_MS = 1_000; // ms, the longest retry_after that the user respects

/** A simulated user. Close it when done. */
export class User {
  readonly memory: Memory;
  readonly #around: RunContext;
  readonly #manners: Manners;
  readonly #loginAttempts: LoginAttempts;
  readonly #links = new Map<Link, { closeAt: number; readonly mute: boolean }>();
  readonly #ticking: ReturnType<typeof setInterval>;
  readonly #running: Promise<void>;
  #link: Link | undefined; // the one with the last login
  #over = false;
  #isCalm = false;
  #restUntil = 0; // performance.now() before which the user does not reconnect
  #sendAt = 0; // performance.now() before which the server wants no message
  #tellAt = 0; // performance.now() before which the user sends no DELIVERED
  #joinAt = 0; // performance.now() from which the user repeats requests to join
  #wakeAt = Infinity; // performance.now() from which the user reads again
  #another = Promise.withResolvers<void>(); // resolved to request another login beside the present one

  /** Makes a user, which begins to log in at once. */
  constructor(name: string, manners: Manners, around: RunContext) {
    this.memory = new Memory(name, around.clock);
    this.#manners = manners;
    this.#around = around;
    this.#loginAttempts = new LoginAttempts(this.memory, manners, around);
    this.#ticking = setInterval(() => this.#tick(performance.now()), TICK_MS);
    this.#running = this.#run();
  }

  /** The user's id; 0 before the first login. */
  get id(): number {
    return this.memory.id;
  }

  /** Whether the user is logged in, as far as this side knows. */
  get online(): boolean {
    return this.#link !== undefined;
  }

  /** Whether all messages are acknowledged, and no DELIVERED is due. */
  get settled(): boolean {
    const { unanswered, unjoined } = this.memory;
    return this.online && unanswered.size + unjoined.length + this.memory.undelivered().length === 0;
  }

  /** Sends a message until it is acknowledged. */
  say(to: Recipient, text: string): void {
    this.memory.say(to, text);
    this.#pump();
  }

  /**
   * Creates a group, or finds the one that a request with a lost reply created. Resolves with the id if there
   * is one.
   */
  async makeGroup(groupname: string): Promise<number | undefined> {
    const link = this.#link;
    const made = await link?.request({ msgid: Msg.CREATE_GROUP, groupname, groupdesc: "" });
    let id = made?.groupid;
    if (made?.errno === Errno.FAILED) {
      const contacts = await link!.request({ msgid: Msg.CONTACTS });
      id = contacts?.groups?.find((group) => group.groupname === groupname)?.id;
    }
    if (id !== undefined) this.memory.joined(id);
    return id;
  }

  /** Requests to join a group until it is acknowledged. */
  join(groupid: number): void {
    this.memory.joining(groupid);
    this.#joinAt = 0;
  }

  /** Adds a friend. */
  befriend(friendid: number): void {
    const link = this.#link;
    link?.ask({ msgid: Msg.ADD_FRIEND, friendid }, (reply) => {
      if (reply?.errno !== Errno.OK) reportRefusal(reply, this.memory.name, "befriending", this.#around);
      else if (link === this.#link) this.memory.friends.set(friendid, reply.state === "online");
    });
  }

  /** Closes the connection at once or in the sending direction. */
  drop(how: "reset" | "end"): void {
    const link = this.#link;
    if (!link) return;
    if (how === "reset") return link.close();
    this.#lose(link);
    void link.finish();
  }

  /** Pauses reading for a while, or reads slowly until the connection ends. */
  hinder(how: "stuck" | "slow", ms: number): void {
    if (!this.#link) return;
    if (how === "slow") this.#link.slow = true;
    else {
      this.#link.pause();
      this.#wakeAt = performance.now() + ms;
    }
  }

  /**
   * Logs in on a second device, which replaces the session: by password, or by token as after a lost device.
   */
  anotherDevice(by: "password" | "token"): void {
    if (by === "password") this.memory.token = undefined;
    this.#loginAttempts.force = true;
    this.#another.resolve();
  }

  /** Logs out and logs in again after `ms` milliseconds. */
  async relog(ms: number): Promise<void> {
    const link = this.#link;
    if (!link) return;
    this.#lose(link);
    this.#restUntil = performance.now() + ms;
    if ((await link.request({ msgid: Msg.LOGOUT }))?.errno === Errno.OK) this.memory.token = undefined;
    link.close();
  }

  /** Reads from now on, and sends every due DELIVERED. */
  calmDown(): void {
    this.#isCalm = true;
    this.#wakeAt = 0;
    this.#tellAt = 0;
    for (const link of this.#links.keys()) link.slow = false;
  }

  /** Requests CONTACTS. Resolves with whether there was a reply. */
  async lookAround(): Promise<boolean> {
    const link = this.#link;
    const contacts = await link?.request({ msgid: Msg.CONTACTS });
    if (contacts?.errno !== Errno.OK || link !== this.#link) return false;
    this.memory.told(contacts.friends);
    this.memory.sees();
    return true;
  }

  /** Ends the session for good: with a LOGOUT, or by closing the connection. */
  async leave(how: "logout" | "gone"): Promise<void> {
    const link = this.#link;
    if (how === "logout" && (await link?.request({ msgid: Msg.LOGOUT }))?.errno !== Errno.OK) {
      this.#around.report(`${this.memory.name} could not log out in the end`);
    }
    await this.close();
  }

  /** Ends the user, and waits for its connections to end. */
  async close(): Promise<void> {
    this.#over = true;
    clearInterval(this.#ticking);
    this.#another.resolve();
    for (const link of this.#links.keys()) link.close();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#over) {
      if (performance.now() < this.#restUntil) {
        await pause(TICK_MS);
        continue;
      }
      const link = await this.#enter();
      this.#another = Promise.withResolvers();
      if (link && !this.#over) await Promise.race([link.closed, this.#another.promise]);
    }
    for (const link of this.#links.keys()) link.close();
    await Promise.all([...this.#links.keys()].map(({ closed }) => closed));
  }

  /** Tries to log in until it succeeds or the user ends. */
  async #enter(): Promise<Link | undefined> {
    const entrance = this.#loginAttempts;
    for (let tries = 0; !this.#over; tries++) {
      const link = await Link.open(entrance.address, (link, message) => this.#take(link, message))
        .catch(() => undefined);
      if (link) {
        this.#watchOver(link);
        if (!this.#over && await entrance.logIn(link)) return link;
        link.close();
      }
      entrance.advance();
      await entrance.rest(tries);
    }
    return undefined;
  }

  #watchOver(link: Link): void {
    const { random, mute } = this.#manners;
    this.#links.set(link, { closeAt: Infinity, mute: random.below(1_000) < mute * 1_000 });
    void link.closed.then(() => {
      this.#links.delete(link);
      this.#lose(link);
    }, (error) => {
      this.#links.delete(link);
      this.#lose(link);
      this.#around.report(`${this.memory.name} was sent what it could not take: ${error}`);
    });
  }

  #take(link: Link, message: Received): void {
    switch (message.msgid) {
      case Msg.PING:
        return link.send({ msgid: Msg.PONG, ...(message.rid === undefined ? {} : { rid: message.rid }) });
      case Msg.ONE_CHAT:
      case Msg.GROUP_CHAT:
        this.#around.count("pushed");
        return this.memory.pushed(link.session, message);
      case Msg.LOGIN_ACK:
        if (message.errno === Errno.OK) this.#entered(link, message);
        return;
      case Msg.PRESENCE:
        if (link === this.#link) this.memory.friends.set(message.id!, message.state === "online");
        return;
      case Msg.NOTICE:
        return this.#noticed(link, message);
      default:
        this.#around.report(`${this.memory.name} was sent ${JSON.stringify(message)}`);
    }
  }

  #entered(link: Link, welcome: Received): void {
    const { memory } = this;
    const old = this.#link && this.#links.get(this.#link);
    if (old) old.closeAt = performance.now() + LINGER_MS;
    link.session = memory.entered();
    memory.id = welcome.id!;
    memory.token = welcome.token!;
    memory.told(welcome.friends);
    this.#link = link;
    this.#joinAt = 0;
    this.#pump();
  }

  #noticed(link: Link, { kind, retry_after = 0 }: Received): void {
    this.#around.count(`${kind}`);
    // All logins are this user's own, so after `kicked` a later one of them has the session.
    if (kind === "kicked") this.#lose(link);
    const state = this.#links.get(link);
    if (kind === "draining" && state) {
      state.closeAt = Math.min(state.closeAt, performance.now() + retry_after);
      this.#loginAttempts.advance();
    }
  }

  #lose(link: Link): void {
    if (link === this.#link) this.#link = undefined;
  }

  #tick(now: number): void {
    const { replyTimeoutMs } = this.#manners;
    if (now >= this.#wakeAt) {
      for (const link of this.#links.keys()) link.resume();
      this.#wakeAt = Infinity;
    }
    for (const [link, { closeAt }] of this.#links) {
      const isInVain = !link.paused && now - link.waitingSince > replyTimeoutMs;
      if (now >= closeAt || isInVain) link.close();
    }
    const link = this.#link;
    if (!link) return;
    if (link.waitingSince === Infinity && now - link.lastAsked > PING_INTERVAL_MS) {
      link.ask({ msgid: Msg.PING }, () => {});
    }
    if (now >= this.#tellAt) this.#tell(link, now);
    if (now >= this.#joinAt) this.#join(link, now);
    this.#pump();
  }

  /** Repeats requests without a reply. */
  #join(link: Link, now: number): void {
    this.#joinAt = now + JOIN_RETRY_MS;
    for (const groupid of this.memory.unjoined) {
      link.ask({ msgid: Msg.ADD_GROUP, groupid }, (reply) => {
        if (reply?.errno === Errno.OK) this.memory.joined(groupid);
        else reportRefusal(reply, this.memory.name, "joining", this.#around);
      });
    }
  }

  /** Sends unacknowledged messages in order, MAX_IN_FLIGHT at a time. */
  #pump(): void {
    const link = this.#link;
    if (!link || performance.now() < this.#sendAt) return;
    for (const message of this.memory.unanswered) {
      if (link.inFlight.size >= MAX_IN_FLIGHT) return;
      if (link.inFlight.has(message)) continue;
      link.inFlight.add(message);
      link.ask(message.request, (reply) => this.#answered(link, message, reply));
    }
  }

  #answered(link: Link, message: Outgoing, reply: Received | undefined): void {
    link.inFlight.delete(message);
    if (reply === undefined) return;
    if (reply.errno === Errno.OK) {
      this.#around.count("acked");
      this.memory.acked(message, reply.seq!);
      this.#pump();
    } else {
      reportRefusal(reply, this.memory.name, message.cid, this.#around);
      this.#sendAt = performance.now() +
        Math.min(reply.retry_after ?? MAX_RETRY_AFTER_MS, MAX_RETRY_AFTER_MS);
    }
  }

  /** Sends DELIVERED and a further request, whose reply shows that the server has processed it. */
  #tell(link: Link, now: number): void {
    if (this.#links.get(link)?.mute && !this.#isCalm) return;
    const undelivered = this.memory.undelivered();
    if (undelivered.length === 0) return;
    for (const [conversation, seq] of undelivered) {
      link.send({ msgid: Msg.DELIVERED, ...nameFor(this.id, conversation), seq });
    }
    this.#tellAt = now + (this.#isCalm ? TICK_MS : this.#manners.gather);
    link.ask({ msgid: Msg.PING }, (reply) => {
      if (reply) { for (const [conversation, seq] of undelivered) this.memory.delivered(conversation, seq); }
    });
  }
}
