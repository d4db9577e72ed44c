/** What every client can do that can connect. */
import { MAX_FRAME, Msg } from "../harness/protocol_numbers.ts";
import { frame, objectFrame } from "../harness/frames.ts";
import { Random } from "../harness/random.ts";
import { pause } from "../harness/wait.ts";
import { frames, repeated, waitForever } from "./attack_steps.ts";
import type { Attacker } from "./attacker.ts";
import type { AttackType } from "./attack_type.ts";

const ATTEMPTS = 100; // logins or registrations in one write: all of them are under way at once
const GUESSED_IDS = 200; // the first accounts of a server, some of which there are
const SECOND = 1_000; // milliseconds
const TRICKLE = 100; // milliseconds between two small pieces of a large frame
const HALF_FRAME = frame('{"msgid":24', 2_000); // the length says more than comes

/** The largest JSON of `opening` and `closing` brackets, in an otherwise good request. */
function deep(opening: string, closing: string): Uint8Array {
  const levels = Math.floor((MAX_FRAME - 100) / (opening.length + closing.length));
  return frame(`{"msgid":${Msg.PING},"x":${opening.repeat(levels)}${closing.repeat(levels)}}`);
}

/** The largest request with as many fields as fit. */
function wide(): Uint8Array {
  const fields = Array.from({ length: 6_000 }, (_, at) => `"f${at}":1`);
  return frame(`{"msgid":${Msg.PING},${fields.join()}}`);
}

async function trickle(attacker: Attacker, bytes: Uint8Array, every: number): Promise<void> {
  for (;;) {
    await attacker.write(bytes);
    await pause(every);
  }
}

let registered = 0;
let guessed = 0;

/** Those kinds. */
export const unauthenticatedAttacks: readonly AttackType[] = [
  { name: "silent", what: "connects and says nothing", attack: waitForever },
  {
    name: "half-frame",
    what: "half a frame and then nothing",
    async attack(attacker) {
      await attacker.write(HALF_FRAME);
      await waitForever();
    },
  },
  {
    name: "byte-a-second",
    what: "a frame, a byte a second",
    async attack(attacker) {
      await attacker.write(HALF_FRAME);
      await trickle(attacker, Uint8Array.of(0x20), SECOND);
    },
  },
  {
    name: "largest-length",
    what: "the largest length, and then a little at a time",
    async attack(attacker) {
      await attacker.write(frame("{", MAX_FRAME));
      await trickle(attacker, new Uint8Array(100), TRICKLE);
    },
  },
  {
    name: "half-closed",
    what: "asks, shuts its sending side, and never reads",
    neverReads: () => true,
    async attack(attacker) {
      await attacker.write(repeated(objectFrame({ msgid: Msg.PING })));
      await attacker.endWriting();
      await pause(SECOND);
    },
  },
  {
    name: "churn",
    what: "connects and closes, with or without some bytes",
    async attack(attacker) {
      if (Math.random() < 0.5) await attacker.write(HALF_FRAME);
    },
  },
  {
    name: "pings",
    what: "floods of PING",
    attack: (attacker) => attacker.flood(repeated(objectFrame({ msgid: Msg.PING }))),
  },
  {
    name: "garbage-frames",
    what: "floods of frames of random bytes",
    attack: (attacker) => attacker.flood(repeated(frame(new Random(attacker.at).bytes(200)))),
  },
  {
    name: "empty-frames",
    what: "floods of frames of nothing",
    attack: (attacker) => attacker.flood(repeated(frame(""))),
  },
  {
    name: "garbage-classic",
    what: "floods of classic objects that are none",
    attack: (attacker) =>
      attacker.flood(repeated(new TextEncoder().encode('{"msgid":1,"x":{]"}\u0000{}{"msgid":"\\"}\u0000'))),
  },
  {
    name: "oversize",
    what: "lengths over the maximum, again and again",
    async attack(attacker) {
      await attacker.flood(repeated(frame("{", attacker.at % 2 ? MAX_FRAME + 1 : 0xffff_ffff)));
    },
  },
  {
    name: "deep-arrays",
    what: "floods of JSON nested as deep as a frame can be",
    attack: (attacker) => attacker.flood(deep("[", "]")),
  },
  {
    name: "deep-objects",
    what: "the same, of objects",
    attack: (attacker) => attacker.flood(deep('{"a":', "}")),
  },
  {
    name: "wide-json",
    what: "floods of requests with thousands of fields",
    attack: (attacker) => attacker.flood(wide()),
  },
  {
    name: "no-login",
    what: "floods of chat messages without a login",
    attack: (attacker) => attacker.flood(repeated(objectFrame({ msgid: Msg.ONE_CHAT, toid: 1, msg: "x" }))),
  },
  {
    name: "guess-ids",
    what: "floods of logins by id with wrong passwords",
    attack: (attacker) => {
      let id = attacker.at;
      return attacker.flood(
        frames(ATTEMPTS, () => ({ msgid: Msg.LOGIN, id: ++id % GUESSED_IDS + 1, password: `guess ${id}` })),
      );
    },
  },
  {
    name: "guess-names",
    what: "floods of logins by name, of users that aren't there",
    attack: (attacker) => {
      let count = 0;
      return attacker.flood(
        frames(
          ATTEMPTS,
          () => ({ msgid: Msg.LOGIN, name: `admin${attacker.at}-${++count}`, password: "admin" }),
        ),
      );
    },
  },
  {
    name: "guess-tokens",
    what: "floods of logins by tokens that were made up",
    attack: (attacker) =>
      attacker.flood(
        frames(
          ATTEMPTS,
          () => ({ msgid: Msg.LOGIN, token: `${++guessed % GUESSED_IDS + 1}.${"A".repeat(43)}` }),
        ),
      ),
  },
  {
    name: "register",
    what: "floods of registrations",
    async attack(attacker) {
      for (;;) {
        await attacker.write(frames(ATTEMPTS, () => ({
          msgid: Msg.REGISTER,
          name: `hostile ${attacker.at} ${++registered} ${Date.now()}`,
          password: "a password of theirs",
        })));
      }
    },
  },
];
