/** One group over all servers, in which some members send to all others. */
import { Errno, Msg, type Received } from "../harness/protocol_numbers.ts";
import type { Address } from "../harness/server.ts";
import type { Costs } from "./cpu.ts";
import { type Balance, checkDelivery, sumOf } from "./delivery_check.ts";
import type { Latency } from "./latency.ts";
import { inParallel, Peer } from "./peer.ts";
import { Recipient } from "./recipient.ts";
import { Run } from "./run.ts";
import { begin, type Pace, Sender } from "./sender.ts";

/** The parameters of a run. */
export interface GroupPlan extends Pace {
  readonly members: number;
  /** Number of sending members. */
  readonly senders: number;
  /** Length of the measured part. */
  readonly seconds: number;
  /** Characters of each message. */
  readonly size: number;
  /** Ids of the processes whose CPU time is measured. */
  readonly pids: readonly number[];
}

/**
 * The result of a run. Counts cover the whole run. Rates, times and costs per million deliveries cover the
 * measured part.
 */
export interface GroupResult extends Balance, Costs {
  readonly members: number;
  readonly senders: number;
  readonly sent: number;
  readonly acked: number;
  /** Refused attempts. */
  readonly refused: number;
  readonly messagesPerSecond: number;
  readonly refusedPerSecond: number;
  readonly deliveriesPerSecond: number;
  readonly ackLatency: Latency;
  readonly deliveryLatency: Latency;
  /** The send delay of this program when messages are due at fixed times. */
  readonly lateness: Latency | undefined;
}

// users that are registered, logged in and taken into the group at the same time
const SETUP_CONCURRENCY = 20;

/** Creates the group, runs its senders, and returns the counts. Throws when a connection ends early. */
export async function group(servers: readonly Address[], plan: GroupPlan): Promise<GroupResult> {
  const run = new Run(plan.size);
  const peers = await inParallel(plan.members, SETUP_CONCURRENCY, async (at) => {
    const peer = await Peer.connect(servers[at % servers.length]!);
    await peer.login(await peer.register(`${run.name} member ${at}`));
    return peer;
  });
  const groupid = await gathered(peers, run.name);

  const senders = peers.slice(0, plan.senders).map((peer) =>
    new Sender(peer, run, { msgid: Msg.GROUP_CHAT, groupid })
  );
  const byId = new Map(senders.map((sender) => [sender.id, sender]));
  const arrived = ({ id, cid }: Received) => run.didArrive(byId.get(id!)!.dueAt(cid!));
  const recipients = peers.map((peer, at) => {
    const [sender, recipient] = [senders[at], new Recipient(peer, Msg.GROUP_CHAT, { groupid }, arrived)];
    peer.onMessage = (message) => {
      sender?.take(message);
      recipient.take(message);
    };
    peer.onEnd = (reason) => run.ended(reason);
    return recipient;
  });

  const stop = begin(senders, plan, run);
  const part = await run.measure(plan.seconds, plan.pids);
  stop();
  await run.settle(() => run.isAnswered && run.arrived >= run.acked * (plan.members - 1));
  for (const peer of peers) await peer.close();

  const acked = senders.flatMap((sender) => sender.acked);
  return {
    members: plan.members,
    senders: plan.senders,
    sent: run.sent,
    acked: run.acked,
    refused: run.refused,
    ...sumOf(recipients.map(({ came }, at) => checkDelivery(came, acked, new Set(senders[at]?.acked)))),
    messagesPerSecond: part.acked / part.seconds,
    refusedPerSecond: part.refused / part.seconds,
    deliveriesPerSecond: part.arrived / part.seconds,
    ackLatency: run.ackLatency,
    deliveryLatency: run.deliveryLatency,
    lateness: plan.rate === undefined ? undefined : run.lateness,
    ...part.costs(part.arrived),
  };
}

/** Creates a group of all peers and returns its id. */
async function gathered(peers: readonly Peer[], groupname: string): Promise<number> {
  const [founder, ...others] = peers;
  const { errno, errmsg, groupid } = await founder!.ask({
    msgid: Msg.CREATE_GROUP,
    groupname,
    groupdesc: "",
  });
  if (errno !== Errno.OK) throw new Error(`creating a group: ${errmsg}`);
  await inParallel(others.length, SETUP_CONCURRENCY, async (at) => {
    const reply = await others[at]!.ask({ msgid: Msg.ADD_GROUP, groupid });
    if (reply.errno !== Errno.OK) throw new Error(`joining a group: ${reply.errmsg}`);
  });
  return groupid!;
}
