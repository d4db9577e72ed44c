/** The bus over a port between threads of one process. */
import { assertEquals, assertRejects } from "@std/assert";
import { type Bus, type BusListener, BusUnavailableError } from "../../lib/bus/bus.ts";
import { LocalHub } from "../../lib/bus/local.ts";
import { PortBus } from "../../lib/bus/port_bus.ts";
import { serveBus } from "../../lib/bus/port_server.ts";
import { busContract } from "./bus_contract.ts";
import { EventRecorder } from "./bus_fixture.ts";
import { wrapped } from "../harness/nodes.ts";
import { until, within } from "../harness/wait.ts";

/** A bus over a port to a served bus, and the function that ends it from the other side. */
function overPort(served: Bus): { bus: PortBus; port: MessagePort; end: () => Promise<void> } {
  const { port1, port2 } = new MessageChannel();
  return { bus: new PortBus(port1), port: port1, end: serveBus(served, port2) };
}

busContract("bus over a port", () => {
  const hub = new LocalHub();
  const [a, b] = [overPort(hub.attach()), overPort(hub.attach())];
  return Promise.resolve({
    a: a.bus,
    b: b.bus,
    close: async () => {
      for (const { bus, end } of [a, b]) {
        await bus.close();
        await end();
      }
    },
  });
});

Deno.test("bus over a port: releases the channels and locks of a dead thread", async () => {
  const hub = new LocalHub();
  const dead = overPort(hub.attach());
  const other = overPort(hub.attach());
  const events = new EventRecorder();
  await Promise.all([dead.bus.open(new EventRecorder()), other.bus.open(events)]);
  await dead.bus.subscribe(1);
  await dead.bus.lock(1);
  assertEquals(await other.bus.online([1]), new Set([1]));
  dead.port.close(); // as the death of its thread does
  await dead.end();
  await (await within(other.bus.lock(1), "the lock"))();
  assertEquals(await other.bus.online([1]), new Set());
  await events.until(() => events.left === 1, () => `${events.left} reports`);
  await other.bus.close();
  await other.end();
});

Deno.test("bus over a port: forwards the events of an outage", async () => {
  let listener: BusListener | undefined;
  const local = new LocalHub().attach();
  const { bus, end } = overPort(wrapped(local, (name, go, args) => {
    if (name === "open") listener = args[0] as BusListener;
    return go();
  }));
  const events = new EventRecorder();
  await bus.open(events);
  listener!.onBusDown(new Error("the cable"));
  listener!.onSilenceChange(true);
  listener!.onSilenceChange(false);
  listener!.onBusUp();
  await events.until(() => events.upCount === 1, () => "not up");
  assertEquals(events.downErrors.map(({ message }) => message), ["the cable"]);
  assertEquals(events.silences, [true, false]);
  await bus.close();
  await end();
});

Deno.test("bus over a port: forwards the error of a call", async () => {
  const local = new LocalHub().attach();
  const { bus, end } = overPort(wrapped(local, (name, go) => {
    return name === "online" ? Promise.reject(new BusUnavailableError("no reply")) : go();
  }));
  await bus.open(new EventRecorder());
  await assertRejects(() => bus.online([1]), BusUnavailableError, "no reply");
  await bus.close();
  await end();
});

Deno.test("bus over a port: sends the calls of one microtask run as one message", async () => {
  const { port1, port2 } = new MessageChannel();
  const bus = new PortBus(port1);
  const sizes: number[] = [];
  port2.onmessage = ({ data }) => void sizes.push(data.length);
  for (let channel = 1; channel <= 100; channel++) bus.publish(channel, { kind: "resync" });
  await until(() => sizes.length > 0, "a message");
  assertEquals(sizes, [100]);
  port1.close();
  port2.close();
});

Deno.test("bus over a port: delivers nothing after close, and rejects waiting calls", async () => {
  const hub = new LocalHub();
  const other = hub.attach();
  const { bus, end } = overPort(wrapped(hub.attach(), (name, go) => {
    return name === "online" ? new Promise(() => {}) : go();
  }));
  const events = new EventRecorder();
  await Promise.all([bus.open(events), other.open(new EventRecorder())]);
  await bus.subscribe(1);
  const waiting = assertRejects(() => bus.online([1]), BusUnavailableError);
  other.publish(1, { kind: "resync" }); // it is in flight when the other thread gets the close
  await within(bus.close(), "the end");
  await within(waiting, "the reply");
  assertEquals(events.hints, []);
  await end();
  await other.close();
});
