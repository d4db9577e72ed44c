/** The end of a port on the thread with the bus: carries out what a `PortBus` on another thread asks for. */
import type { Bus } from "./bus.ts";
import { type BusEvent, type BusRequest, MessageBatcher } from "./port_messages.ts";

type AnsweredRequest = Exclude<BusRequest, { kind: "publish" }>;

/**
 * Lends a node's connection to a bus, which must not have been opened yet, to the thread that has the port's
 * other end. What it gives back closes both, for a thread that has died; it need not be called after a
 * `close` from there.
 */
export function serveBus(bus: Bus, port: MessagePort): () => Promise<void> {
  const outgoing = new MessageBatcher<BusEvent>(port);
  const locks = new Map<number, () => Promise<void>>(); // by the id of the call that took it

  const execute = (request: AnsweredRequest): Promise<unknown> => {
    switch (request.kind) {
      case "open":
        return bus.open({
          onHint: (channel, hint) => outgoing.post({ kind: "receive", channel, hint }),
          onBusDown: (error) => outgoing.post({ kind: "down", error }),
          onBusUp: () => outgoing.post({ kind: "onBusUp" }),
          onNodeJoined: () => outgoing.post({ kind: "onNodeJoined" }),
          onNodeLeft: () => outgoing.post({ kind: "onNodeLeft" }),
          onSilenceChange: (isSilent) => outgoing.post({ kind: "silent", isSilent }),
        });
      case "subscribe":
        return bus.subscribe(request.channel);
      case "unsubscribe":
        return bus.unsubscribe(request.channel);
      case "online":
        return bus.online(request.users);
      case "lock":
        return bus.lock(request.user).then((release) => {
          locks.set(request.id, release);
          return request.id;
        });
      case "unlock": {
        const release = locks.get(request.lock);
        locks.delete(request.lock);
        return release?.() ?? Promise.resolve();
      }
      case "tryConsume":
        return bus.tryConsume(request.bucket, request.limit, request.count);
      case "close":
        return bus.close();
    }
  };

  const respond = async (request: AnsweredRequest): Promise<void> => {
    const { id } = request;
    try {
      outgoing.post({ kind: "done", id, value: await execute(request) });
    } catch (error) {
      outgoing.post({ kind: "failed", id, error: (error as Error).message });
    }
  };

  port.onmessage = ({ data }: MessageEvent<readonly BusRequest[]>) => {
    for (const request of data) {
      if (request.kind === "publish") bus.publish(request.channel, request.hint);
      else void respond(request);
    }
  };
  return async () => {
    await bus.close();
    port.close();
  };
}
