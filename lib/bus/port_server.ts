/** The end of a port on the thread of the bus. It runs the calls of a `PortBus` on another thread. */
import type { Bus } from "./bus.ts";
import { type BusEvent, type BusRequest, MessageBatcher } from "./port_messages.ts";

type AnsweredRequest = Exclude<BusRequest, { kind: "publish" }>;

/**
 * Serves a node's connection to a bus, which must not be open yet, to the thread at the port's other end.
 * Returns a function that closes both, for a thread that has died. After a `close` from the other thread,
 * that call is optional.
 */
export function serveBus(bus: Bus, port: MessagePort): () => Promise<void> {
  const outgoing = new MessageBatcher<BusEvent>(port);
  const locks = new Map<number, () => Promise<void>>(); // by the id of the `lock` request

  const execute = (request: AnsweredRequest): Promise<unknown> => {
    switch (request.kind) {
      case "open":
        return bus.open({
          onHint: (channel, hint) => outgoing.post({ kind: "onHint", channel, hint }),
          onBusDown: (error) => outgoing.post({ kind: "onBusDown", error }),
          onBusUp: () => outgoing.post({ kind: "onBusUp" }),
          onNodeJoined: () => outgoing.post({ kind: "onNodeJoined" }),
          onNodeLeft: () => outgoing.post({ kind: "onNodeLeft" }),
          onSilenceChange: (isSilent) => outgoing.post({ kind: "onSilenceChange", isSilent }),
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
