/** The login of a simulated user: its address, its credentials, and its reaction to refusals. */
import { Errno, Msg, type Received } from "../harness/protocol_numbers.ts";
import type { Address } from "../harness/server.ts";
import { pause } from "../harness/wait.ts";
import type { Link } from "./link.ts";
import type { Memory } from "./memory.ts";
import { type Manners, reportRefusal, type RunContext } from "./environment.ts";

const PASSWORD = "correct horse";
const MAX_RETRY_AFTER_MS = 1_000; // ms, the longest retry_after that a user respects
const BACKOFF = [50, 100, 200, 400, 800]; // ms, the longest pauses between two attempts
const FORCE_PERCENT = 70; // of refused logins that are repeated with force

/** The login attempts of one user. */
export class LoginAttempts {
  /** Whether the next login uses force. */
  force = false;
  readonly #memory: Memory;
  readonly #manners: Manners;
  readonly #around: RunContext;
  #at = 0; // in the addresses
  #registered = false;

  constructor(memory: Memory, manners: Manners, around: RunContext) {
    this.#memory = memory;
    this.#manners = manners;
    this.#around = around;
  }

  /** The address of the next attempt. */
  get address(): Address {
    const { addresses } = this.#manners;
    return addresses[this.#at % addresses.length]!;
  }

  /** Selects the next address. */
  advance(): void {
    this.#at++;
  }

  /** Waits after a failed attempt; `tries` counts them from 0. */
  async rest(tries: number): Promise<void> {
    await pause(1 + this.#manners.random.below(BACKOFF[Math.min(tries, BACKOFF.length - 1)]!));
  }

  /** Tries to log in, and registers first if necessary. Resolves with whether the user is logged in. */
  async logIn(link: Link): Promise<boolean> {
    const { name } = this.#memory;
    if (!this.#registered) {
      const reply = await link.request({ msgid: Msg.REGISTER, name, password: PASSWORD });
      // A name in use is the user's own, registered by a request whose reply was lost.
      if (reply?.errno !== Errno.OK && reply?.errno !== Errno.FAILED) return await this.#refused(reply);
      this.#registered = true;
    }
    const { token } = this.#memory;
    const proof = token === undefined ? { name, password: PASSWORD } : { token };
    const force = this.force ? { force: true } : {};
    const reply = await link.request({ msgid: Msg.LOGIN, ...proof, ...force });
    if (reply?.errno === Errno.OK) {
      this.force = false;
      this.#around.count("logins");
      return true;
    }
    if (reply?.errno === Errno.ALREADY_ONLINE) this.force = this.#manners.random.below(100) < FORCE_PERCENT;
    else if (reply?.errno === Errno.FAILED && token !== undefined) this.#memory.token = undefined;
    else return await this.#refused(reply);
    return false;
  }

  async #refused(reply: Received | undefined): Promise<false> {
    reportRefusal(reply, this.#memory.name, "coming in", this.#around);
    if (reply?.retry_after !== undefined) await pause(Math.min(reply.retry_after, MAX_RETRY_AFTER_MS));
    return false;
  }
}
