/** The end of a port on the thread with the bus: carries out what a `PortBus` on another thread asks for. */
import type { Bus } from "./bus.ts";
import { type Ask, Outgoing, type Tell } from "./port_messages.ts";

type Call = Exclude<Ask, { kind: "publish" }>;

/**
 * Lends a node's connection to a bus, which must not have been opened yet, to the thread that has the port's
 * other end. What it gives back closes both, for a thread that has died; it need not be called after a
 * `close` from there.
 */
export function serveBus(bus: Bus, port: MessagePort): () => Promise<void> {
  const outgoing = new Outgoing<Tell>(port);
  const locks = new Map<number, () => Promise<void>>(); // by the id of the call that took it

  const carryOut = (ask: Call): Promise<unknown> => {
    switch (ask.kind) {
      case "open":
        return bus.open({
          receive: (channel, hint) => outgoing.post({ kind: "receive", channel, hint }),
          down: (why) => outgoing.post({ kind: "down", why }),
          up: () => outgoing.post({ kind: "up" }),
          came: () => outgoing.post({ kind: "came" }),
          gone: () => outgoing.post({ kind: "gone" }),
          silent: (isSilent) => outgoing.post({ kind: "silent", isSilent }),
        });
      case "subscribe":
        return bus.subscribe(ask.channel);
      case "unsubscribe":
        return bus.unsubscribe(ask.channel);
      case "online":
        return bus.online(ask.users);
      case "lock":
        return bus.lock(ask.user).then((release) => {
          locks.set(ask.id, release);
          return ask.id;
        });
      case "unlock": {
        const release = locks.get(ask.lock);
        locks.delete(ask.lock);
        return release?.() ?? Promise.resolve();
      }
      case "spend":
        return bus.spend(ask.bucket, ask.quota, ask.count);
      case "close":
        return bus.close();
    }
  };

  const answer = async (ask: Call): Promise<void> => {
    const { id } = ask;
    try {
      outgoing.post({ kind: "done", id, value: await carryOut(ask) });
    } catch (error) {
      outgoing.post({ kind: "failed", id, why: (error as Error).message });
    }
  };

  port.onmessage = ({ data }: MessageEvent<readonly Ask[]>) => {
    for (const ask of data) {
      if (ask.kind === "publish") bus.publish(ask.channel, ask.hint);
      else void answer(ask);
    }
  };
  return async () => {
    await bus.close();
    port.close();
  };
}
