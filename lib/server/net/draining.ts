/**
 * How the clients of a server that is to stop leave it: each is told when to move, and served until then. The
 * moves are spread over some time, so that the other nodes aren't stormed.
 */
import { Msg } from "../../wire/protocol.ts";
import type { Caller } from "../sessions/client.ts";

const MOVE_EACH = 0.5; // ms per connection to spread the moves over: 2,000 logins a second
const MOVE_LEAST = 500; // ms to spread them over at least, and for a login that is on its way to arrive
const MOVE_PART = 0.7; // of all the time: the moves are asked for within it
// Of all the time: a client is served for so much longer than it was told, so that its next login can take
// the account over, of which its friends hear nothing as a rule. The rest of the time is for the last
// replies.
const MOVE_GRACE = 0.1;

/** The leave of all of a server's clients. */
export class Draining {
  readonly #end: number; // by performance.now, as all times here
  readonly #movesEnd: number;
  readonly #strangersEnd: number;
  readonly #grace: number;
  readonly #moves = new WeakMap<Caller, number>();

  /** Begins it, at `now`: for about that many connections, and all over within that many milliseconds. */
  constructor(connections: number, within: number, now: number) {
    this.#end = now + within;
    this.#movesEnd = now + Math.min(MOVE_LEAST + MOVE_EACH * connections, MOVE_PART * within);
    this.#strangersEnd = now + Math.min(MOVE_LEAST, MOVE_PART * within);
    this.#grace = MOVE_GRACE * within;
  }

  /** Looks at one connection; called again and again. */
  look(caller: Caller, now: number): void {
    const { connection } = caller;
    if (!connection.open) return;
    if (caller.session) {
      const until = this.#moves.get(caller) ?? this.#ask(caller, now);
      if (now >= Math.min(until, this.#end)) void connection.end(undefined, this.#left(now));
    } else if (now >= this.#end || (now >= this.#strangersEnd && connection.pending === 0)) {
      // A client without a login leaves early; but a login in progress is answered, and its client is then
      // like the others.
      void connection.end(notice(this.#when(now)), this.#left(now));
    }
  }

  /** Tells a client when to move; gives until when it is served. A classic one can't be told. */
  #ask(caller: Caller, now: number): number {
    const retryAfter = this.#when(now);
    caller.connection.send(notice(retryAfter));
    const until = now + retryAfter + this.#grace;
    this.#moves.set(caller, until);
    return until;
  }

  /** In how many ms a client is to move. */
  #when(now: number): number {
    return Math.round(Math.random() * Math.max(0, this.#movesEnd - now));
  }

  #left(now: number): number {
    return Math.max(0, this.#end - now);
  }
}

function notice(retryAfter: number) {
  return {
    msgid: Msg.NOTICE,
    kind: "draining",
    retry_after: retryAfter,
    errmsg: "the server is shutting down",
  };
}
