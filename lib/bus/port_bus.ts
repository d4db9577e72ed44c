/** A bus on another thread: every call goes through a port to `serveBus` on that thread. */
import {
  type Bus,
  type BusListener,
  BusUnavailableError,
  type Channel,
  closedError,
  type Hint,
  type RateLimit,
} from "./bus.ts";
import { type BusEvent, type BusRequest, MessageBatcher } from "./port_messages.ts";

/** A call without a reply so far. */
interface PendingCall {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** A node's connection to a bus on another thread. It keeps all calls in order, as the port does. */
export class PortBus implements Bus {
  readonly #port: MessagePort;
  readonly #outgoing: MessageBatcher<BusRequest>;
  readonly #pending = new Map<number, PendingCall>();
  #lastId = 0;
  #listener: BusListener | undefined;
  #closing: Promise<void> | undefined;

  /** `port` is the other end of a port that `serveBus` received. The bus owns it from now on. */
  constructor(port: MessagePort) {
    this.#port = port;
    this.#outgoing = new MessageBatcher(port);
    port.onmessage = ({ data }: MessageEvent<readonly BusEvent[]>) => {
      for (const event of data) this.#onEvent(event);
    };
  }

  /** Does nothing: all nodes of the process share one store, and so one epoch. */
  adopt(): void {}

  open(listener: BusListener): Promise<void> {
    this.#listener = listener;
    return this.#call((id) => ({ kind: "open", id }));
  }

  subscribe(channel: Channel): Promise<void> {
    return this.#call((id) => ({ kind: "subscribe", id, channel }));
  }

  unsubscribe(channel: Channel): Promise<void> {
    // the bus is closed, and so are its subscriptions
    return this.#call<void>((id) => ({ kind: "unsubscribe", id, channel })).catch(() => {});
  }

  publish(channel: Channel, hint: Hint): void {
    this.#outgoing.post({ kind: "publish", channel, hint });
  }

  online(users: readonly number[]): Promise<ReadonlySet<number>> {
    return this.#call((id) => ({ kind: "online", id, users }));
  }

  async lock(user: number): Promise<() => Promise<void>> {
    const lock = await this.#call<number>((id) => ({ kind: "lock", id, user }));
    let released: Promise<void> | undefined;
    return () => released ??= this.#call<void>((id) => ({ kind: "unlock", id, lock })).catch(() => {});
  }

  tryConsume(bucket: string, limit: RateLimit, count: number): Promise<number> {
    return this.#call((id) => ({ kind: "tryConsume", id, bucket, limit, count }));
  }

  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<void> {
    await this.#call((id) => ({ kind: "close", id }));
    this.#port.close();
    for (const { reject } of this.#pending.values()) reject(closedError());
    this.#pending.clear();
  }

  #call<T>(toRequest: (id: number) => BusRequest): Promise<T> {
    if (this.#closing) return Promise.reject(closedError());
    return new Promise<T>((resolve, reject) => {
      const id = ++this.#lastId;
      this.#pending.set(id, { resolve: resolve as (value: unknown) => void, reject });
      this.#outgoing.post(toRequest(id));
    });
  }

  #onEvent(event: BusEvent): void {
    if (event.kind === "done" || event.kind === "failed") {
      const call = this.#pending.get(event.id);
      this.#pending.delete(event.id);
      if (event.kind === "done") call?.resolve(event.value);
      else call?.reject(new BusUnavailableError(event.error));
    } else if (this.#closing) return; // sent before the other thread received the close
    else if (event.kind === "onHint") this.#listener?.onHint(event.channel, event.hint);
    else if (event.kind === "onBusDown") this.#listener?.onBusDown(event.error);
    else if (event.kind === "onSilenceChange") this.#listener?.onSilenceChange(event.isSilent);
    else this.#listener?.[event.kind]();
  }
}
