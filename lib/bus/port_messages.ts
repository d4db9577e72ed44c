/** The messages between the two ends of a bus over a port, and their batching. */
import type { Channel, Hint, RateLimit } from "./bus.ts";

/** A message to the thread of the bus. Every request with an id gets a reply, `done` or `failed`. */
export type BusRequest =
  | { readonly kind: "open" | "close"; readonly id: number }
  | { readonly kind: "subscribe" | "unsubscribe"; readonly id: number; readonly channel: Channel }
  | { readonly kind: "online"; readonly id: number; readonly users: readonly number[] }
  /** The reply has the number of the lock, for `unlock`. */
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

/** A message to the thread of the node: a reply to a request, or an event for the node's listener. */
export type BusEvent =
  | { readonly kind: "done"; readonly id: number; readonly value: unknown }
  | { readonly kind: "failed"; readonly id: number; readonly error: string }
  | { readonly kind: "onHint"; readonly channel: Channel; readonly hint: Hint }
  | { readonly kind: "onBusDown"; readonly error: Error }
  | { readonly kind: "onSilenceChange"; readonly isSilent: boolean }
  | { readonly kind: "onBusUp" | "onNodeJoined" | "onNodeLeft" };

/** Posts all messages of one microtask run together: to wake the other thread costs more than a message. */
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
