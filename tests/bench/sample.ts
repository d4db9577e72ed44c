/** Reads the load program's JSON of one run into a form common to all scenarios. */
import type { AbsentResult } from "../load/offline_messages.ts";
import type { ChatResult } from "../load/chat.ts";
import type { Costs } from "../load/cpu.ts";
import type { GroupResult } from "../load/group.ts";
import type { IdleResult } from "../load/idle.ts";
import type { Balance } from "../load/delivery_check.ts";
import type { Latency } from "../load/latency.ts";
import type { LoginResult } from "../load/logins.ts";
import type { StormResult } from "../load/storm.ts";

/** The values of one table row from one run. */
export interface Sample {
  /** The suffix of the row's title; empty for most scenarios. */
  readonly part: string;
  readonly unit: "messages" | "deliveries" | "logins";
  /** Units per second. */
  readonly rate: number;
  readonly costs: Costs;
  /** From the due time of a request to its reply. */
  readonly ack: Latency | undefined;
  /** From the due time of a message to its delivery. */
  readonly delivery: Latency | undefined;
  /** Messages lost, duplicated and out of order. */
  readonly wrong: number;
}

/** Returns the sample of a run with pairs. */
export function ofPairs(json: unknown): readonly Sample[] {
  const result = json as ChatResult;
  return [{
    part: "",
    unit: "messages",
    rate: result.messagesPerSecond,
    costs: result,
    ack: result.ackLatency,
    delivery: result.deliveryLatency,
    wrong: wrong(result),
  }];
}

/** Returns the sample of a run with a group. */
export function ofGroup(json: unknown): readonly Sample[] {
  const result = json as GroupResult;
  return [{
    part: "",
    unit: "deliveries",
    rate: result.deliveriesPerSecond,
    costs: result,
    ack: result.ackLatency,
    delivery: result.deliveryLatency,
    wrong: wrong(result),
  }];
}

/**
 * Returns the samples of a run with offline recipients: storing and fetching. Fetching shows lost messages.
 */
export function ofAbsent(json: unknown): readonly Sample[] {
  const { store, drain, ...balance } = json as AbsentResult;
  return [
    {
      part: ": storing",
      unit: "messages",
      rate: store.messagesPerSecond,
      costs: store,
      ack: store.ackLatency,
      delivery: undefined,
      wrong: 0,
    },
    {
      part: ": fetching",
      unit: "messages",
      rate: drain.messagesPerSecond,
      costs: drain,
      ack: undefined,
      delivery: undefined,
      wrong: wrong(balance),
    },
  ];
}

/** Returns the sample of a run of logins. */
export function ofLogins(json: unknown): readonly Sample[] {
  const result = json as LoginResult;
  return [{
    part: "",
    unit: "logins",
    rate: result.loginsPerSecond,
    costs: result,
    ack: result.latency,
    delivery: undefined,
    wrong: 0,
  }];
}

/** Returns the bytes of the server's memory for each idle connection. */
export function bytesPerConnection(json: unknown): number {
  return (json as IdleResult).perConnection;
}

/** Returns the result of a reconnect storm. */
export function ofStorm(json: unknown): StormResult {
  return json as StormResult;
}

function wrong({ lost, duplicated, outOfOrder }: Balance): number {
  return lost + duplicated + outOfOrder;
}
