/** A bus that can be cut off, between nodes in this process and the hub that connects them. */
import {
  type Bus,
  BusUnavailable,
  type Channel,
  type Hint,
  type Listener,
  type Quota,
} from "../../lib/bus/bus.ts";

/** The buses of some nodes, which can all be cut off. */
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
    for (const bus of this.#buses) bus.mend();
  }
}

/** A bus that can be cut off: then it does what the port says of one that can't be reached. */
class CutBus implements Bus {
  readonly #bus: Bus;
  #listener: Listener | undefined;
  #isCut = false;

  constructor(bus: Bus) {
    this.#bus = bus;
  }

  cut(): void {
    this.#isCut = true;
    this.#listener?.down(new Error("cut off on purpose"));
  }

  mend(): void {
    this.#isCut = false;
    this.#listener?.up();
  }

  adopt(epoch: string): void {
    this.#bus.adopt(epoch);
  }

  open(listener: Listener): Promise<void> {
    this.#listener = listener;
    return this.#bus.open({
      receive: (channel, hint) => this.#isCut || listener.receive(channel, hint),
      down: (why) => listener.down(why),
      up: () => listener.up(),
      came: () => this.#isCut || listener.came(),
      gone: () => this.#isCut || listener.gone(),
      silent: (isSilent) => this.#isCut || listener.silent(isSilent),
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
    return this.#isCut ? Promise.reject(new BusUnavailable("cut off")) : this.#bus.online(users);
  }

  lock(user: number): Promise<() => Promise<void>> {
    return this.#isCut ? Promise.reject(new BusUnavailable("cut off")) : this.#bus.lock(user);
  }

  spend(bucket: string, quota: Quota, count: number): Promise<number> {
    return this.#isCut
      ? Promise.reject(new BusUnavailable("cut off"))
      : this.#bus.spend(bucket, quota, count);
  }

  close(): Promise<void> {
    return this.#bus.close();
  }
}
