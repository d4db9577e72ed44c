/**
 * A reconnect storm: a server with thousands of clients dies with messages in flight, and all reconnect to
 * the others.
 */
import { Errno, Msg, type Received, type Sent } from "../harness/protocol_numbers.ts";
import { PASSWORD } from "../harness/framed_client.ts";
import type { Address } from "../harness/server.ts";
import { pause, until } from "../harness/wait.ts";
import { type Latency, latency } from "./latency.ts";
import { type Costs, CpuMeter } from "./cpu.ts";
import { inParallel, Peer } from "./peer.ts";

/** The parameters of a run. */
export interface StormPlan {
  /** Clients on the first server. */
  readonly clients: number;
  /** The process to kill. Without it the operator ends the server when {@link StormPlan.ready} is called. */
  readonly kill: number | undefined;
  readonly ready: () => void;
  readonly pids: readonly number[];
}

/** The result of a run. Costs are per million clients. */
export interface StormResult extends Costs {
  readonly clients: number;
  /** Clients that have reconnected. */
  readonly back: number;
  /** From the server's end until their reconnect. */
  readonly backAfter: Latency;
  /** From the connection attempt to the reply, of successful logins. */
  readonly loginLatency: Latency;
  /** Failed attempts by reason. */
  readonly failures: Readonly<Record<string, number>>;
  /** Messages sent, those without a reply when the server died, and those acknowledged in the end. */
  readonly sent: number;
  readonly unanswered: number;
  readonly acked: number;
  /** Acknowledged but not received by the recipient, which had sent no DELIVERED. */
  readonly lost: number;
  /** Received with two seqs, or twice on one connection. */
  readonly duplicated: number;
}

const SETUP_CONCURRENCY = 50; // users that are registered and logged in at the same time
// milliseconds; the longest wait before the first attempt, see "Reconnecting" in docs/PROTOCOL.md
const FIRST_BACKOFF_MS = 500;
const MAX_BACKOFF_MS = 30_000; // milliseconds; the longest wait before any attempt
const RECONNECT_TIMEOUT_MS = 120_000; // milliseconds after which missing clients count as gone
const DRAIN_TIMEOUT_MS = 10_000; // milliseconds after which missing messages count as lost
const KILL_TIMEOUT_MS = 24 * 3_600_000; // milliseconds for the operator to end the server

/** The state that all clients of a run share. */
class Run {
  readonly name = crypto.randomUUID().slice(0, 8);
  readonly servers: readonly Address[];
  readonly failures: Record<string, number> = {};
  readonly backTimes: number[] = []; // milliseconds each
  readonly loginTimes: number[] = [];
  /** The time of the server's end, by performance.now. */
  died: number | undefined;
  over = false;

  constructor(servers: readonly Address[]) {
    this.servers = servers;
  }

  failed(reason: string): void {
    this.failures[reason] = (this.failures[reason] ?? 0) + 1;
  }
}

/** A user. Users with an even number send to the next one. */
class Client {
  readonly acked = new Map<string, number>(); // seqs by cids
  readonly seqs = new Map<string, number>(); // received seqs by cids
  readonly unanswered = new Map<string, Sent>();
  duplicated = 0;
  readonly #run: Run;
  readonly #at: number;
  readonly #seen = new Set<number>(); // seqs received on this connection
  #token = "";
  #recipient: Client | undefined;
  #peer!: Peer;
  id = 0;

  constructor(run: Run, at: number) {
    this.#run = run;
    this.#at = at;
  }

  async enter(): Promise<void> {
    const peer = await Peer.connect(this.#run.servers[0]!);
    const id = await peer.register(`${this.#run.name} ${this.#at}`);
    await this.#logIn(peer, { id, password: PASSWORD });
  }

  /** Sends the recipient a message. */
  send(recipient: Client): void {
    this.#recipient = recipient;
    const cid = `${this.#run.name}-${this.#at}-${this.acked.size + this.unanswered.size}`;
    const message = { msgid: Msg.ONE_CHAT, toid: recipient.id, msg: "are you there?", cid, rid: cid };
    this.unanswered.set(cid, message);
    this.#peer.send(message);
  }

  /** Returns the number of acknowledged messages that the recipient has not received. */
  get missing(): number {
    return [...this.acked].filter(([cid, seq]) => this.#recipient?.seqs.get(cid) !== seq).length;
  }

  async close(): Promise<void> {
    await this.#peer.close();
  }

  async #logIn(peer: Peer, proof: Sent): Promise<void> {
    this.#seen.clear();
    peer.onMessage = (message) => this.#take(message);
    const ended = new Promise<never>((_, reject) => peer.onEnd = (reason) => reject(new Error(reason)));
    const reply = await Promise.race([peer.ask({ msgid: Msg.LOGIN, ...proof }), ended]);
    peer.onEnd = () => void this.#comeBack();
    if (reply.errno !== Errno.OK) throw new Error(`login: errno ${reply.errno}, ${reply.errmsg}`);
    [this.id, this.#token] = [reply.id!, reply.token!];
    this.#peer = peer;
  }

  #take(message: Received): void {
    if (message.of === Msg.ONE_CHAT) {
      const cid = String(message.rid);
      if (message.errno !== Errno.OK) {
        this.#run.failed(`message: errno ${message.errno}, ${message.errmsg}`);
        const again = this.unanswered.get(cid);
        if (again) setTimeout(() => this.#peer.send(again), message.retry_after ?? FIRST_BACKOFF_MS);
        return;
      }
      this.unanswered.delete(cid);
      this.acked.set(cid, message.seq!);
    } else if (message.msgid === Msg.ONE_CHAT) {
      const [seq, cid] = [message.seq!, message.cid!];
      if (this.#seen.has(seq) || (this.seqs.get(cid) ?? seq) !== seq) this.duplicated++;
      this.#seen.add(seq);
      this.seqs.set(cid, seq);
    }
  }

  /** Reconnects as docs/PROTOCOL.md requires in "Reconnecting". */
  async #comeBack(): Promise<void> {
    const run = this.#run;
    if (run.over) return;
    const died = run.died ??= performance.now();
    await this.#peer.close(); // the next connection needs its descriptor
    const others = run.servers.slice(1);
    for (let round = 0; !run.over; round++) {
      await pause(Math.random() * Math.min(FIRST_BACKOFF_MS * 2 ** round, MAX_BACKOFF_MS));
      const began = performance.now();
      let peer: Peer | undefined;
      try {
        peer = await Peer.connect(others[(this.#at + round) % others.length]!);
        await this.#logIn(peer, { token: this.#token });
        const now = performance.now();
        run.loginTimes.push(now - began);
        run.backTimes.push(now - died);
        for (const message of this.unanswered.values()) peer.send(message);
        return;
      } catch (error) {
        run.failed((error as Error).message);
        if (peer) {
          peer.onEnd = () => {};
          await peer.close();
        }
      }
    }
  }
}

/**
 * Logs clients in, runs their senders, kills their server, and counts the clients and messages afterwards.
 */
export async function storm(servers: readonly Address[], plan: StormPlan): Promise<StormResult> {
  const run = new Run(servers);
  const clients = Array.from({ length: plan.clients }, (_, at) => new Client(run, at));
  await inParallel(plan.clients, SETUP_CONCURRENCY, (at) => clients[at]!.enter());
  const pairs = clients.flatMap((client, at) =>
    at % 2 === 0 && clients[at + 1] ? [[client, clients[at + 1]!] as const] : []
  );
  const send = () => pairs.forEach(([sender, recipient]) => sender.send(recipient));
  // The first messages are received without DELIVERED. The second ones are in flight when the server dies.
  send();
  await until(
    () => pairs.every(([sender, { seqs }]) => sender.unanswered.size === 0 && seqs.size > 0),
    "the first messages",
  );
  const meter = new CpuMeter(plan.pids);
  plan.ready();
  if (plan.kill !== undefined) {
    send();
    await pause(0); // the messages are in flight
    Deno.kill(plan.kill, "SIGKILL");
  }
  await until(() => run.died !== undefined, "the server's end", KILL_TIMEOUT_MS);
  const unanswered = pairs.reduce((sum, [sender]) => sum + sender.unanswered.size, 0);
  await until(() => run.backTimes.length === clients.length, "all to be back", RECONNECT_TIMEOUT_MS).catch(
    () => {},
  );
  const cost = meter.perMillion(clients.length);
  const complete = () => pairs.every(([sender]) => sender.unanswered.size === 0 && sender.missing === 0);
  await until(complete, "the last messages", DRAIN_TIMEOUT_MS).catch(() => {});
  run.over = true;
  for (const client of clients) await client.close();
  const sum = (count: (sender: Client, recipient: Client) => number) =>
    pairs.reduce((sum, [sender, recipient]) => sum + count(sender, recipient), 0);
  return {
    clients: clients.length,
    back: run.backTimes.length,
    backAfter: latency(run.backTimes),
    loginLatency: latency(run.loginTimes),
    failures: run.failures,
    sent: sum((sender) => sender.acked.size + sender.unanswered.size),
    unanswered,
    acked: sum((sender) => sender.acked.size),
    lost: sum((sender) => sender.missing),
    duplicated: sum((_, recipient) => recipient.duplicated),
    ...cost,
  };
}
