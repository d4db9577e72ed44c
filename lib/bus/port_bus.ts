/** The bus from another thread: everything goes over a port to the thread on which `serveBus` answers. */
import { type Bus, BusUnavailable, type Channel, type Hint, type Listener, type Quota } from "./bus.ts";
import { type Ask, Outgoing, type Tell } from "./port_messages.ts";

/** A call that is not answered yet. */
interface Call {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/**
 * A node's connection to a bus that lives on another thread. A port keeps its messages in order, and so does
 * this.
 */
export class PortBus implements Bus {
  readonly #port: MessagePort;
  readonly #outgoing: Outgoing<Ask>;
  readonly #calls = new Map<number, Call>();
  #lastId = 0;
  #listener: Listener | undefined;
  #closing: Promise<void> | undefined;

  /** `port` is the other end of one that was given to `serveBus`; it is this bus's own from now on. */
  constructor(port: MessagePort) {
    this.#port = port;
    this.#outgoing = new Outgoing(port);
    port.onmessage = ({ data }: MessageEvent<readonly Tell[]>) => {
      for (const tell of data) this.#told(tell);
    };
  }

  /** Hints are received in the same moment. */
  adopt(): void {}

  open(listener: Listener): Promise<void> {
    this.#listener = listener;
    return this.#call((id) => ({ kind: "open", id }));
  }

  subscribe(channel: Channel): Promise<void> {
    return this.#call((id) => ({ kind: "subscribe", id, channel }));
  }

  unsubscribe(channel: Channel): Promise<void> {
    // closed: it is done
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

  spend(bucket: string, quota: Quota, count: number): Promise<number> {
    return this.#call((id) => ({ kind: "spend", id, bucket, quota, count }));
  }

  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<void> {
    await this.#call((id) => ({ kind: "close", id }));
    this.#port.close();
    for (const { reject } of this.#calls.values()) reject(closed());
    this.#calls.clear();
  }

  #call<T>(ask: (id: number) => Ask): Promise<T> {
    if (this.#closing) return Promise.reject(closed());
    return new Promise<T>((resolve, reject) => {
      const id = ++this.#lastId;
      this.#calls.set(id, { resolve: resolve as (value: unknown) => void, reject });
      this.#outgoing.post(ask(id));
    });
  }

  #told(tell: Tell): void {
    if (tell.kind === "done" || tell.kind === "failed") {
      const call = this.#calls.get(tell.id);
      this.#calls.delete(tell.id);
      if (tell.kind === "done") call?.resolve(tell.value);
      else call?.reject(new BusUnavailable(tell.why));
    } else if (this.#closing) return; // said before the other thread knew
    else if (tell.kind === "receive") this.#listener?.receive(tell.channel, tell.hint);
    else if (tell.kind === "down") this.#listener?.down(tell.why);
    else if (tell.kind === "silent") this.#listener?.silent(tell.isSilent);
    else this.#listener?.[tell.kind]();
  }
}

function closed(): BusUnavailable {
  return new BusUnavailable("the bus is closed");
}
