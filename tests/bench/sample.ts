/** What one run of the load program says, read from its JSON, in the same form for every work. */
import type { AbsentResult } from "../load/offline_messages.ts";
import type { ChatResult } from "../load/chat.ts";
import type { Costs } from "../load/cpu.ts";
import type { GroupResult } from "../load/group.ts";
import type { IdleResult } from "../load/idle.ts";
import type { Balance } from "../load/delivery_check.ts";
import type { Latency } from "../load/latency.ts";
import type { LoginResult } from "../load/logins.ts";
import type { StormResult } from "../load/storm.ts";

/** One row's worth of one run. */
export interface Sample {
  /** What the row adds to its work's name; nothing for most. */
  readonly part: string;
  readonly unit: "messages" | "deliveries" | "logins";
  /** Units per second. */
  readonly rate: number;
  readonly costs: Costs;
  /** From when a request was due to its answer. */
  readonly ack: Latency | undefined;
  /** From when a message was due to its delivery. */
  readonly delivery: Latency | undefined;
  /** Messages lost, duplicated and out of order. */
  readonly wrong: number;
}

/** Of pairs. */
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

/** Of a group. */
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

/** Of absent recipients: the sending and the fetching. What went wrong shows when they fetch. */
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

/** Of logins. */
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

/** Bytes of the server's memory that an idle connection takes. */
export function bytesPerConnection(json: unknown): number {
  return (json as IdleResult).perConnection;
}

/** What became of the clients of a node that was killed. */
export function ofStorm(json: unknown): StormResult {
  return json as StormResult;
}

function wrong({ lost, duplicated, outOfOrder }: Balance): number {
  return lost + duplicated + outOfOrder;
}
