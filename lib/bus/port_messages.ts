/** What the two ends of a bus over a port say to each other, and how they send it. */
import type { Channel, Hint, RateLimit } from "./bus.ts";

/** To the thread with the bus. Each that has an id is answered, by `done` or `failed`. */
export type BusRequest =
  | { readonly kind: "open" | "close"; readonly id: number }
  | { readonly kind: "subscribe" | "unsubscribe"; readonly id: number; readonly channel: Channel }
  | { readonly kind: "online"; readonly id: number; readonly users: readonly number[] }
  /** What it is answered with is what `unlock` names the lock by. */
  | { readonly kind: "lock"; readonly id: number; readonly user: number }
  | { readonly kind: "unlock"; readonly id: number; readonly lock: number }
  | {
    readonly kind: "tryConsume";
    readonly id: number;
    readonly bucket: string;
    readonly limit: RateLimit;
    readonly count: number;
  }
  | { readonly kind: "publish"; readonly channel: Channel; readonly hint: Hint };

/** To the thread with the node: what came of its calls, and what its listener is told. */
export type BusEvent =
  | { readonly kind: "done"; readonly id: number; readonly value: unknown }
  | { readonly kind: "failed"; readonly id: number; readonly error: string }
  | { readonly kind: "receive"; readonly channel: Channel; readonly hint: Hint }
  | { readonly kind: "down"; readonly error: Error }
  | { readonly kind: "silent"; readonly isSilent: boolean }
  | { readonly kind: "onBusUp" | "onNodeJoined" | "onNodeLeft" };

/** Posts all messages of one turn together: waking the other thread costs more than a message does. */
export class MessageBatcher<M> {
  readonly #port: MessagePort;
  #messages: M[] = [];

  constructor(port: MessagePort) {
    this.#port = port;
  }

  post(message: M): void {
    if (this.#messages.push(message) > 1) return;
    queueMicrotask(() => {
      const messages = this.#messages;
      this.#messages = [];
      this.#port.postMessage(messages);
    });
  }
}
