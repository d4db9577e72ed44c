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
  /** Refused attempts per second; undefined where the load program knows no refusals. */
  readonly refused: number | undefined;
  /** From the due time of a request to its reply. */
  readonly ack: Latency | undefined;
  /** From the due time of a message to its delivery. */
  readonly delivery: Latency | undefined;
  /** The fate of the messages; undefined for logins. */
  readonly balance: Balance | undefined;
}

/** Returns the sample of a run with pairs. */
export function ofPairs(json: unknown): readonly Sample[] {
  const result = json as ChatResult;
  return [{
    part: "",
    unit: "messages",
    rate: result.messagesPerSecond,
    costs: result,
    refused: result.refusedPerSecond,
    ack: result.ackLatency,
    delivery: result.deliveryLatency,
    balance: result,
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
    refused: result.refusedPerSecond,
    ack: result.ackLatency,
    delivery: result.deliveryLatency,
    balance: result,
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
      refused: store.refusedPerSecond,
      ack: store.ackLatency,
      delivery: undefined,
      balance: undefined,
    },
    {
      part: ": fetching",
      unit: "messages",
      rate: drain.messagesPerSecond,
      costs: drain,
      refused: undefined,
      ack: undefined,
      delivery: undefined,
      balance,
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
    refused: undefined,
    ack: result.latency,
    delivery: undefined,
    balance: undefined,
  }];
}

/** Returns the result of a run with idle connections. */
export function ofIdle(json: unknown): IdleResult {
  return json as IdleResult;
}

/** Returns the result of a reconnect storm. */
export function ofStorm(json: unknown): StormResult {
  return json as StormResult;
}
