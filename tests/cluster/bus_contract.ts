/** The contract of the bus. Every implementation runs this suite, with two nodes for each test. */
import { assertEquals } from "@std/assert";
import type { Bus } from "../../lib/bus/bus.ts";
import { bucketContract } from "./bus_bucket_contract.ts";
import { EventRecorder, type TwoNodes } from "./bus_fixture.ts";
import { hintContract } from "./bus_hint_contract.ts";
import { lockContract } from "./bus_lock_contract.ts";
import { presenceContract } from "./bus_presence_contract.ts";

/** Registers the whole suite as tests whose names begin with `name`. */
export function busContract(name: string, openTwo: () => Promise<TwoNodes>): void {
  const test = (
    property: string,
    body: (a: Bus, b: Bus, atA: EventRecorder, atB: EventRecorder) => Promise<void>,
  ) => {
    Deno.test(`${name}: ${property}`, async () => {
      const { a, b, close } = await openTwo();
      try {
        const [atA, atB] = [new EventRecorder(), new EventRecorder()];
        await Promise.all([a.open(atA), b.open(atB)]);
        await body(a, b, atA, atB);
        for (const { downErrors, upCount } of [atA, atB]) {
          assertEquals([downErrors, upCount], [[], 0], "no outage");
        }
      } finally {
        await close();
      }
    });
  };
  hintContract(test);
  presenceContract(test);
  lockContract(test);
  bucketContract(test);
}
