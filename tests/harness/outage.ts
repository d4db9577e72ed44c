/** A bus between nodes of this process that a test can make unavailable. */
import {
  type Bus,
  type BusListener,
  BusUnavailableError,
  type Channel,
  type Hint,
  type RateLimit,
} from "../../lib/bus/bus.ts";

/** The buses of several nodes, which become unavailable together. */
export class Outage {
  readonly #buses: CutBus[] = [];

  readonly bus = (bus: Bus): Bus => {
    const cut = new CutBus(bus);
    this.#buses.push(cut);
    return cut;
  };

  begin(): void {
    for (const bus of this.#buses) bus.cut();
  }

  end(): void {
    for (const bus of this.#buses) bus.restore();
  }
}

/**
 * A bus that a test can make unavailable. It then behaves as the interface requires of an unavailable bus.
 */
class CutBus implements Bus {
  readonly #bus: Bus;
  #listener: BusListener | undefined;
  #isCut = false;

  constructor(bus: Bus) {
    this.#bus = bus;
  }

  cut(): void {
    this.#isCut = true;
    this.#listener?.onBusDown(new Error("cut off on purpose"));
  }

  restore(): void {
    this.#isCut = false;
    this.#listener?.onBusUp();
  }

  adopt(epoch: string): void {
    this.#bus.adopt(epoch);
  }

  open(listener: BusListener): Promise<void> {
    this.#listener = listener;
    return this.#bus.open({
      onHint: (channel, hint) => this.#isCut || listener.onHint(channel, hint),
      onBusDown: (error) => listener.onBusDown(error),
      onBusUp: () => listener.onBusUp(),
      onNodeJoined: () => this.#isCut || listener.onNodeJoined(),
      onNodeLeft: () => this.#isCut || listener.onNodeLeft(),
      onSilenceChange: (isSilent) => this.#isCut || listener.onSilenceChange(isSilent),
    });
  }

  subscribe(channel: Channel): Promise<void> {
    return this.#bus.subscribe(channel);
  }

  unsubscribe(channel: Channel): Promise<void> {
    return this.#bus.unsubscribe(channel);
  }

  publish(channel: Channel, hint: Hint): void {
    if (!this.#isCut) this.#bus.publish(channel, hint);
  }

  online(users: readonly number[]): Promise<ReadonlySet<number>> {
    return this.#isCut ? Promise.reject(new BusUnavailableError("cut off")) : this.#bus.online(users);
  }

  lock(user: number): Promise<() => Promise<void>> {
    return this.#isCut ? Promise.reject(new BusUnavailableError("cut off")) : this.#bus.lock(user);
  }

  tryConsume(bucket: string, quota: RateLimit, count: number): Promise<number> {
    return this.#isCut
      ? Promise.reject(new BusUnavailableError("cut off"))
      : this.#bus.tryConsume(bucket, quota, count);
  }

  close(): Promise<void> {
    return this.#bus.close();
  }
}
