/**
 * Pairs in the classic dialect. It has no acknowledgements: a message is in flight until the recipient has it,
 * and lost if the recipient never has it.
 */
import { type ClassicReceived, Msg } from "../harness/protocol_numbers.ts";
import type { Address } from "../harness/server.ts";
import { type ChatPlan, type ChatResult, SETUP_CONCURRENCY } from "./chat.ts";
import { ClassicPeer } from "./classic_peer.ts";
import { type Balance, checkDelivery, sumOf } from "./delivery_check.ts";
import { inParallel } from "./peer.ts";
import { Run } from "./run.ts";
import { begin, type Paced } from "./sender.ts";

/** Milliseconds without a delivery, after which the messages in flight of a pair make room for others. */
const STALL_MS = 1_000;

const TIME = "2020-01-01 00:00:00"; // the clients of the family send their own time

/** A sender with its recipient. The text of a message begins with its number. */
export class ClassicPair implements Paced {
  isRefilling = false;
  readonly #from: Pick<ClassicPeer, "id" | "name" | "send">;
  readonly #toid: number;
  readonly #run: Run;
  readonly #came: number[] = []; // numbers
  readonly #due: number[] = []; // by the number of the message, minus 1
  #settled = 0; // the messages up to this number are delivered or lost

  constructor(from: Pick<ClassicPeer, "id" | "name" | "send">, toid: number, run: Run) {
    this.#from = from;
    this.#toid = toid;
    this.#run = run;
  }

  send(due: number): void {
    const { id, name } = this.#from;
    const number = this.#due.push(due);
    const msg = `${number} `.padEnd(this.#run.text.length, "x");
    this.#from.send({ msgid: Msg.ONE_CHAT, id, name, toid: this.#toid, msg, time: TIME });
    this.#run.didSend(due);
  }

  /** Records a message of the recipient. Each message that it has overtaken is lost, and makes room, too. */
  take({ msgid, id, msg }: ClassicReceived): void {
    if (msgid !== Msg.ONE_CHAT || id !== this.#from.id) return;
    const number = Number.parseInt(msg ?? "");
    const due = this.#due[number - 1];
    if (due === undefined) return;
    this.#came.push(number);
    this.#run.didArrive(due);
    this.#settle(number);
  }

  /** Gives up the messages in flight. */
  giveUp(): void {
    this.#settle(this.#due.length);
  }

  /** The number of received messages. */
  get arrived(): number {
    return this.#came.length;
  }

  get balance(): Balance {
    const came = new Set(this.#came);
    const lost = new Set(this.#due.keys().map((index) => index + 1).filter((number) => !came.has(number)));
    return { ...checkDelivery(this.#came, [], lost), lost: lost.size };
  }

  #settle(number: number): void {
    const room = number - this.#settled;
    if (room <= 0) return;
    this.#settled = number;
    for (let at = 0; at < room && this.isRefilling && this.#run.isSending; at++) this.send(performance.now());
  }
}

/**
 * Registers the users, runs the chat, and returns the counts. With several servers a sender is on one of them
 * and its recipient on the next. Throws when a connection ends early.
 */
export async function classicChat(servers: readonly Address[], plan: ChatPlan): Promise<ChatResult> {
  const run = new Run(plan.size);
  const peers: ClassicPeer[] = [];
  const enter = async (at: number, name: string) => {
    const peer = await ClassicPeer.enter(servers[at % servers.length]!, name);
    peer.onEnd = (reason) => run.ended(reason);
    peers.push(peer);
    return peer;
  };
  const pairs = await inParallel(plan.pairs, SETUP_CONCURRENCY, async (at) => {
    const sender = await enter(at, `${run.name} sender ${at}`);
    const recipient = await enter(at + 1, `${run.name} recipient ${at}`);
    const pair = new ClassicPair(sender, recipient.id, run);
    recipient.onMessage = (message) => pair.take(message);
    return pair;
  });
  const stop = begin(pairs, plan, run);
  const stopWatching = onStall(pairs);
  const part = await run.measure(plan.seconds, plan.pids);
  stop();
  stopWatching();
  await run.settle(() => run.arrived >= run.sent);
  for (const peer of peers) await peer.close();
  return {
    sent: run.sent,
    acked: undefined,
    refused: undefined,
    ...sumOf(pairs.map(({ balance }) => balance)),
    messagesPerSecond: part.arrived / part.seconds,
    refusedPerSecond: undefined,
    ackLatency: undefined,
    deliveryLatency: run.deliveryLatency,
    lateness: plan.rate === undefined ? undefined : run.lateness,
    ...part.costs(part.arrived),
  };
}

/** Makes pairs give up the messages in flight when none arrives for some time. Returns the function that ends this. */
function onStall(pairs: readonly ClassicPair[]): () => void {
  let before = pairs.map(({ arrived }) => arrived);
  const timer = setInterval(() => {
    for (const [at, pair] of pairs.entries()) if (pair.arrived === before[at]) pair.giveUp();
    before = pairs.map(({ arrived }) => arrived);
  }, STALL_MS);
  return () => clearInterval(timer);
}
