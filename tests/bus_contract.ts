/** What every implementation of the bus must do: each runs this suite, with two nodes for each test. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  type Bus,
  BusUnavailable,
  type Channel,
  type Hint,
  type Listener,
  type Quota,
} from "../lib/bus/bus.ts";

/** Two nodes' connections to one bus that nobody else is on. */
export interface TwoNodes {
  readonly a: Bus;
  readonly b: Bus;
  /** Closes what the test has not, and removes what the bus needed. */
  close(): Promise<void>;
}

/** Milliseconds that a condition may take to come true: far more than any should, on a busy machine. */
const PATIENCE = 20_000;

/** Milliseconds by which a timer may be early, by a clock that isn't its own. */
const TIMER_SLACK = 5;

/** A hint of a message that tests a bus's encoding. */
export const message = (seq: number): Hint => ({
  kind: "message",
  message: {
    seq,
    sender: 7,
    senderName: "ann",
    cid: `c\u0000${seq}`,
    body: "hi\u0000 😀",
    time: 1_700_000_000_000,
  },
});
const hints: readonly Hint[] = [
  message(1),
  { kind: "look" },
  { kind: "presence", user: 7 },
  { kind: "joined", group: 7 },
  { kind: "takeover", login: 2 ** 53 - 1 },
];

/** What a node is told, as it comes. */
export class Heard implements Listener {
  readonly hints: [Channel, Hint][] = [];
  /** The reasons of the outages. */
  readonly downs: Error[] = [];
  ups = 0;
  /** How often a node was said to have come, or to have left. */
  arrived = 0;
  left = 0;
  /** Whether some node was said to be silent, at each change. */
  readonly silences: boolean[] = [];
  #changed = Promise.withResolvers<void>();

  receive(channel: Channel, hint: Hint): void {
    this.hints.push([channel, hint]);
    this.#tell();
  }

  down(why: Error): void {
    this.downs.push(why);
    this.#tell();
  }

  up(): void {
    this.ups++;
    this.#tell();
  }

  came(): void {
    this.arrived++;
    this.#tell();
  }

  gone(): void {
    this.left++;
    this.#tell();
  }

  silent(isSilent: boolean): void {
    this.silences.push(isSilent);
    this.#tell();
  }

  /** Waits for as many hints, and gives all there are. */
  async atLeast(count: number): Promise<[Channel, Hint][]> {
    await this.until(() => this.hints.length >= count, () => `only ${this.hints.length} hints of ${count}`);
    return this.hints;
  }

  /** Waits until something it was told has made `condition` true. `otherwise` says what is the case instead. */
  async until(condition: () => boolean, otherwise: () => string): Promise<void> {
    const deadline = Promise.withResolvers<never>();
    const timer = setTimeout(() => deadline.reject(new Error(otherwise())), PATIENCE);
    try {
      while (!condition()) await Promise.race([this.#changed.promise, deadline.promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  #tell(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

/** Registers the whole suite as tests whose names begin with `name`. */
export function busContract(name: string, openTwo: () => Promise<TwoNodes>): void {
  const test = (what: string, body: (a: Bus, b: Bus, atA: Heard, atB: Heard) => Promise<void>) => {
    Deno.test(`${name}: ${what}`, async () => {
      const { a, b, close } = await openTwo();
      try {
        const [atA, atB] = [new Heard(), new Heard()];
        await Promise.all([a.open(atA), b.open(atB)]);
        await body(a, b, atA, atB);
        for (const { downs, ups } of [atA, atB]) {
          assertEquals([downs, ups], [[], 0], "the bus was there all along");
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

type BusTest = (
  what: string,
  body: (a: Bus, b: Bus, atA: Heard, atB: Heard) => Promise<void>,
) => void;

function hintContract(test: BusTest): void {
  test("hints of every kind arrive whole, on users' and groups' channels", async (a, b, _, atB) => {
    await b.subscribe(5);
    await b.subscribe(-5);
    for (const hint of hints) {
      a.publish(5, hint);
      a.publish(-5, hint);
    }
    const expected = hints.flatMap((hint) => [[5, hint], [-5, hint]]);
    assertEquals(await atB.atLeast(expected.length), expected);
  });

  test("one node's hints on a channel stay in order", async (a, b, _, atB) => {
    const channels = [1, -2, 3];
    await Promise.all(channels.map((channel) => b.subscribe(channel)));
    for (let seq = 1; seq <= 1_000; seq++) for (const channel of channels) a.publish(channel, message(seq));
    const came = await atB.atLeast(3_000);
    for (const channel of channels) {
      assertEquals(
        came.filter(([on]) => on === channel),
        Array.from({ length: 1_000 }, (_, i) => [channel, message(i + 1)]),
      );
    }
  });

  test("a hint goes to other nodes only, and not while it is being published", async (a, b, atA, atB) => {
    await Promise.all([a.subscribe(1), b.subscribe(1)]);
    a.publish(1, message(1));
    assertEquals([atA.hints, atB.hints], [[], []]);
    await atB.atLeast(1);
    b.publish(1, message(2));
    assertEquals(await atA.atLeast(1), [[1, message(2)]]);
    assertEquals(atB.hints, [[1, message(1)]]);
  });

  test("only subscribed channels are heard, until they are given up", async (a, b, _, atB) => {
    await b.subscribe(1);
    await b.subscribe(2);
    a.publish(3, message(3));
    a.publish(-1, message(4));
    a.publish(1, message(1));
    await atB.atLeast(1);
    await b.unsubscribe(1);
    await b.unsubscribe(99);
    a.publish(1, message(5));
    a.publish(2, message(2));
    assertEquals(await atB.atLeast(2), [[1, message(1)], [2, message(2)]]);
  });

  test(
    "a channel subscribed twice is one subscription, and can be subscribed again",
    async (a, b, _, atB) => {
      await b.subscribe(1);
      await b.subscribe(1);
      a.publish(1, message(1));
      await atB.atLeast(1);
      await b.unsubscribe(1);
      assertEquals(await a.online([1]), new Set());
      await b.subscribe(1);
      a.publish(1, message(2));
      assertEquals(await atB.atLeast(2), [[1, message(1)], [1, message(2)]]);
    },
  );
}

function presenceContract(test: BusTest): void {
  test("a user is online while any node is subscribed, the asking one included", async (a, b) => {
    await Promise.all([a.subscribe(1), b.subscribe(2), a.subscribe(3), b.subscribe(3), b.subscribe(-4)]);
    for (const node of [a, b]) assertEquals(await node.online([1, 2, 3, 4, 5]), new Set([1, 2, 3]));
    assertEquals(await a.online([5, 2]), new Set([2]));
    assertEquals(await a.online([]), new Set());
    await Promise.all([a.unsubscribe(3), a.unsubscribe(1)]);
    assertEquals(await a.online([1, 2, 3]), new Set([2, 3]));
    await b.unsubscribe(3);
    assertEquals(await a.online([1, 2, 3]), new Set([2]));
  });

  test("a node that closes is gone for the others, and not for itself", async (_, b, atA, atB) => {
    await b.close();
    await atA.until(() => atA.left > 0, () => "nobody was told to have left");
    assertEquals(atB.left, 0);
  });

  test("a node that closes takes its users offline and hears no more", async (a, b, _, atB) => {
    await Promise.all([a.subscribe(1), b.subscribe(1), b.subscribe(2)]);
    await b.close();
    const users = await until(() => a.online([1, 2]), (online) => online.size === 1);
    assertEquals(users, new Set([1]));
    a.publish(2, message(1));
    await a.online([2]);
    assertEquals(atB.hints, []);
  });
}

function lockContract(test: BusTest): void {
  test("a lock has one holder at a time, within a node and between nodes", async (a, b) => {
    let holders = 0;
    let most = 0;
    await Promise.all(Array.from({ length: 20 }, async (_, i) => {
      const release = await (i % 2 === 0 ? a : b).lock(1);
      most = Math.max(most, ++holders);
      await a.online([1]); // some time passes
      holders--;
      await release();
    }));
    assertEquals(most, 1);
  });

  test("locks of different users don't wait for each other", async (a, b) => {
    const releases = await Promise.all([a.lock(1), b.lock(2), a.lock(3)]);
    await Promise.all(releases.map((release) => release()));
  });

  test("who waits for a lock gets it when it is given back, once", async (a, b) => {
    const release = await a.lock(1);
    let taken = false;
    const second = b.lock(1).then((release) => {
      taken = true;
      return release;
    });
    await a.online([1]);
    assert(!taken);
    await release();
    const releaseSecond = await second;
    await release(); // a second time: it must not give away what is another's now
    let third = false;
    const last = a.lock(1).then((release) => {
      third = true;
      return release;
    });
    await a.online([1]);
    assert(!third);
    await releaseSecond();
    await (await last)();
  });

  test("a node that closes lets go of its locks, and gets none that it waited for", async (a, b) => {
    const release = await a.lock(1);
    const other = await b.lock(2);
    const waiting = [a.lock(2), a.lock(1)]; // behind the other node, and behind itself
    const [results] = await Promise.all([Promise.allSettled(waiting), a.close()]);
    assertEquals(results.map(({ status }) => status), ["rejected", "rejected"]);
    await (await b.lock(1))();
    await release(); // too late, and harmless
    await other();
    await (await b.lock(2))();
  });

  test("a bus that was closed takes no more calls, and publishes nothing", async (a, b, atA, atB) => {
    await b.subscribe(1);
    await a.close();
    await a.close();
    await assertRejects(() => a.subscribe(1), BusUnavailable);
    await assertRejects(() => a.lock(1), BusUnavailable);
    await assertRejects(() => a.online([1]), BusUnavailable);
    await assertRejects(() => a.spend(freshBucket(), HOURLY, 1), BusUnavailable);
    a.publish(1, message(1));
    await a.unsubscribe(1);
    await b.online([1]);
    assertEquals([atA.hints, atB.hints], [[], []]);
  });
}

/** A quota of which so little comes back during a test that it may be taken for nothing. */
const HOURLY: Quota = { size: 7, within: 3_600_000 };

let buckets = 0;

/** A bucket that nobody has used. */
function freshBucket(): string {
  return `test:${++buckets}:2001:db8::/64`;
}

function bucketContract(test: BusTest): void {
  test("a bucket holds exactly its size, whatever that is", async (a) => {
    for (const size of [1, 2, 3, 7, 10, 300, 999]) {
      const bucket = freshBucket();
      const quota = { size, within: 3_600_000 };
      for (let count = 1; count <= size; count++) {
        assertEquals(await a.spend(bucket, quota, 1), 0, `${count} of ${size}`);
      }
      const wait = await a.spend(bucket, quota, 1);
      assert(Number.isInteger(wait), `${wait}`);
      const each = Math.ceil(quota.within / size);
      assert(wait <= each && wait > each - PATIENCE, `${wait} ms for 1 of ${size}`);
    }
  });

  test("several may be taken at once; what isn't there whole leaves the bucket as it is", async (a) => {
    const bucket = freshBucket();
    assertEquals(await a.spend(bucket, HOURLY, 5), 0);
    const each = HOURLY.within / HOURLY.size;
    for (const [count, missing] of [[3, 1], [7, 5], [3, 1]] as const) {
      const wait = await a.spend(bucket, HOURLY, count);
      assert(wait <= missing * each + 1 && wait > missing * each - PATIENCE, `${wait} ms for ${count}`);
    }
    assertEquals(await a.spend(bucket, HOURLY, 2), 0);
    assert(await a.spend(bucket, HOURLY, 1) > 0);
    assertEquals(await a.spend(bucket, HOURLY, 0), 0, "nothing is always there");
  });

  test("what is given back is there again, and never more than the size", async (a) => {
    const bucket = freshBucket();
    assertEquals(await a.spend(bucket, HOURLY, 7), 0);
    assertEquals(await a.spend(bucket, HOURLY, -2), 0);
    assertEquals(await a.spend(bucket, HOURLY, 2), 0);
    assert(await a.spend(bucket, HOURLY, 1) > 0);
    assertEquals(await a.spend(bucket, HOURLY, -7), 0);
    for (let more = 0; more < 3; more++) assertEquals(await a.spend(bucket, HOURLY, -7), 0);
    assertEquals(await a.spend(bucket, HOURLY, 7), 0);
    assert(await a.spend(bucket, HOURLY, 1) > 0);
  });

  test("nodes share a bucket, and each has its own name", async (a, b) => {
    const [bucket, other] = [freshBucket(), freshBucket()];
    for (const node of [a, b, a, b, a, b, a]) assertEquals(await node.spend(bucket, HOURLY, 1), 0);
    for (const node of [a, b]) assert(await node.spend(bucket, HOURLY, 1) > 0);
    assertEquals(await b.spend(other, HOURLY, 7), 0);
    assertEquals(await b.spend(bucket, HOURLY, -1), 0);
    assertEquals(await a.spend(bucket, HOURLY, 1), 0);
  });

  test("takers at the same time never get more than there is", async (a, b) => {
    const bucket = freshBucket();
    const quota = { size: 50, within: 3_600_000 };
    const waits = await Promise.all(
      Array.from({ length: 200 }, (_, i) => (i % 2 === 0 ? a : b).spend(bucket, quota, 1)),
    );
    assertEquals(waits.filter((wait) => wait === 0).length, quota.size);
  });

  test("after the time that is told it is there, and not before", async (a, b) => {
    // It may be there after all where this machine stood still between two calls: then another bucket must do.
    for (const quota of [{ size: 4, within: 400 }, { size: 4, within: 4_000 }, { size: 4, within: 40_000 }]) {
      const bucket = freshBucket();
      const begun = performance.now();
      assertEquals(await a.spend(bucket, quota, 4), 0);
      const half = await b.spend(bucket, quota, 2);
      const asked = performance.now();
      if (half === 0) continue;
      assert(half >= Math.floor(quota.within / 2 - (asked - begun)) && half <= quota.within / 2, `${half}`);
      await new Promise((resolve) => setTimeout(resolve, half + TIMER_SLACK));
      assertEquals(await a.spend(bucket, quota, 2), 0);
      const third = await b.spend(bucket, quota, 2);
      const passed = performance.now() - begun;
      assert(third > 0 || passed >= quota.within, `${passed} ms gave back more than they should`);
      return;
    }
  });

  test("a bucket is as good with another quota", async (a) => {
    const bucket = freshBucket();
    assertEquals(await a.spend(bucket, HOURLY, 7), 0);
    const shorter = { size: 7, within: 60_000 };
    const wait = await a.spend(bucket, shorter, 7);
    assert(wait > 0 && wait <= shorter.within, `${wait}: it is empty, and not more than that`);
  });
}

/** Asks until the answer is as wanted, or time is up; gives the last answer. */
async function until<T>(ask: () => Promise<T>, wanted: (answer: T) => boolean): Promise<T> {
  const deadline = Date.now() + PATIENCE;
  while (true) {
    const answer = await ask();
    if (wanted(answer) || Date.now() > deadline) return answer;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
