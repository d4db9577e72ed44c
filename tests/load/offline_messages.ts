/** Messages for offline users: the cost of storing them, and of fetching them at the logins. */
import { Msg } from "../harness/protocol_numbers.ts";
import type { Address } from "../harness/server.ts";
import { type Costs, CpuMeter } from "./cpu.ts";
import { type Balance, checkDelivery, sumOf } from "./delivery_check.ts";
import type { Latency } from "./latency.ts";
import { inParallel, Peer } from "./peer.ts";
import { Recipient } from "./recipient.ts";
import { Run } from "./run.ts";
import { begin, Sender } from "./sender.ts";

/** The parameters of a run. */
export interface OfflinePlan {
  /** Senders, each with an offline recipient of its own. */
  readonly pairs: number;
  /** Messages in flight of each sender. */
  readonly window: number;
  /** Length of the measured part of the sending. */
  readonly seconds: number;
  /** Characters of each message. */
  readonly size: number;
  /** Ids of the processes whose CPU time is measured. */
  readonly pids: readonly number[];
}

/** The result of a run. Counts cover the whole run; costs are per million messages. */
export interface AbsentResult extends Balance {
  readonly sent: number;
  readonly acked: number;
  /** Refused attempts. */
  readonly refused: number;
  /** The measured part of the sending. */
  readonly store: Costs & {
    readonly messagesPerSecond: number;
    readonly refusedPerSecond: number;
    readonly ackLatency: Latency;
  };
  /** From the first login until the server has processed the last DELIVERED. */
  readonly drain: Costs & { readonly messagesPerSecond: number; readonly seconds: number };
}

const SETUP_CONCURRENCY = 20; // users that are registered at the same time
const LOGIN_CONCURRENCY = 50; // recipients that log in at the same time

/** A sender with an offline recipient. */
interface Lonely {
  readonly peer: Peer;
  readonly sender: Sender;
  readonly recipient: number;
}

/** A recipient that has logged in. */
interface Returned {
  readonly peer: Peer;
  readonly recipient: Recipient;
}

/**
 * Registers the users, runs the senders, logs the recipients in, and returns the counts. With several servers
 * a sender is on one of them and its recipient logs in on the next. Throws when a connection ends early.
 */
export async function absent(servers: readonly Address[], plan: OfflinePlan): Promise<AbsentResult> {
  const run = new Run(plan.size);
  const server = (at: number) => servers[at % servers.length]!;
  const lonely = await inParallel(plan.pairs, SETUP_CONCURRENCY, (at) => enter(server(at), run, at));
  const stop = begin(lonely.map(({ sender }) => sender), { window: plan.window, rate: undefined }, run);
  const part = await run.measure(plan.seconds, plan.pids);
  stop();
  await run.settle(() => run.isAnswered);
  for (const { peer } of lonely) await peer.close();

  const [start, meter] = [performance.now(), new CpuMeter(plan.pids)];
  const returned = await inParallel(
    lonely.length,
    LOGIN_CONCURRENCY,
    (at) => comeBack(server(at + 1), run, lonely[at]!),
  );
  await run.settle(() => run.arrived >= run.acked);
  // A reply shows that the server has processed the preceding DELIVERED.
  await Promise.all(returned.map(({ peer }) => peer.ask({ msgid: Msg.PING })));
  const [seconds, costs] = [(performance.now() - start) / 1_000, meter.stop()];
  for (const { peer } of returned) await peer.close();

  const balance = sumOf(
    returned.map(({ recipient }, at) => checkDelivery(recipient.came, lonely[at]!.sender.acked)),
  );
  return {
    sent: run.sent,
    acked: run.acked,
    refused: run.refused,
    ...balance,
    store: {
      messagesPerSecond: part.acked / part.seconds,
      refusedPerSecond: part.refused / part.seconds,
      ackLatency: run.ackLatency,
      ...part.costs(part.acked),
    },
    drain: {
      messagesPerSecond: balance.delivered / seconds,
      seconds,
      ...costs(balance.delivered),
    },
  };
}

async function enter(server: Address, run: Run, at: number): Promise<Lonely> {
  const peer = await Peer.connect(server);
  const recipient = await peer.register(`${run.name} absent ${at}`);
  await peer.login(await peer.register(`${run.name} sender ${at}`));
  const sender = new Sender(peer, run, { msgid: Msg.ONE_CHAT, toid: recipient });
  peer.onMessage = (message) => sender.take(message);
  peer.onEnd = (reason) => run.ended(reason);
  return { peer, sender, recipient };
}

async function comeBack(server: Address, run: Run, { sender, recipient: id }: Lonely): Promise<Returned> {
  const peer = await Peer.connect(server);
  const recipient = new Recipient(
    peer,
    Msg.ONE_CHAT,
    { id: sender.id },
    ({ cid }) => run.didArrive(sender.dueAt(cid!)),
  );
  peer.onMessage = (message) => recipient.take(message);
  peer.onEnd = (reason) => run.ended(reason);
  await peer.login(id);
  return { peer, recipient };
}
