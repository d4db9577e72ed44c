/** Attacks of clients that are not logged in. */
import { MAX_FRAME, Msg } from "../harness/protocol_numbers.ts";
import { frame, objectFrame } from "../harness/frames.ts";
import { Random } from "../harness/random.ts";
import { pause } from "../harness/wait.ts";
import { frames, repeatToFill, waitForever } from "./attack_steps.ts";
import type { Attacker } from "./attacker.ts";
import type { AttackType } from "./attack_type.ts";

const ATTEMPTS_PER_WRITE = 100; // logins or registrations of one write, all of them in flight at once
const GUESSED_IDS = 200; // the lowest ids of a server, some of which exist
const MS_PER_SECOND = 1_000; // milliseconds
const TRICKLE_INTERVAL_MS = 100; // milliseconds between two small parts of a large frame
const HALF_FRAME = frame('{"msgid":24', 2_000); // the announced length exceeds the bytes sent

/**
 * Returns a valid request with the deepest JSON of `opening` and `closing` brackets that fits into a frame.
 */
function nestedJson(opening: string, closing: string): Uint8Array {
  const levels = Math.floor((MAX_FRAME - 100) / (opening.length + closing.length));
  return frame(`{"msgid":${Msg.PING},"x":${opening.repeat(levels)}${closing.repeat(levels)}}`);
}

/** Returns a request with as many fields as fit into a frame. */
function wideJson(): Uint8Array {
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

/** Attack types that need no login. */
export const unauthenticatedAttacks: readonly AttackType[] = [
  { name: "silent", description: "connects and sends nothing", attack: waitForever },
  {
    name: "half-frame",
    description: "half a frame and then nothing",
    async attack(attacker) {
      await attacker.write(HALF_FRAME);
      await waitForever();
    },
  },
  {
    name: "byte-a-second",
    description: "a frame, a byte a second",
    async attack(attacker) {
      await attacker.write(HALF_FRAME);
      await trickle(attacker, Uint8Array.of(0x20), MS_PER_SECOND);
    },
  },
  {
    name: "largest-length",
    description: "the largest length, and then a little at a time",
    async attack(attacker) {
      await attacker.write(frame("{", MAX_FRAME));
      await trickle(attacker, new Uint8Array(100), TRICKLE_INTERVAL_MS);
    },
  },
  {
    name: "half-closed",
    description: "sends requests, closes its sending side, and never reads",
    neverReads: () => true,
    async attack(attacker) {
      await attacker.write(repeatToFill(objectFrame({ msgid: Msg.PING })));
      await attacker.endWriting();
      await pause(MS_PER_SECOND);
    },
  },
  {
    name: "churn",
    description: "connects and closes, with or without some bytes",
    async attack(attacker) {
      if (Math.random() < 0.5) await attacker.write(HALF_FRAME);
    },
  },
  {
    name: "pings",
    description: "floods of PING",
    attack: (attacker) => attacker.flood(repeatToFill(objectFrame({ msgid: Msg.PING }))),
  },
  {
    name: "garbage-frames",
    description: "floods of frames of random bytes",
    attack: (attacker) => attacker.flood(repeatToFill(frame(new Random(attacker.at).bytes(200)))),
  },
  {
    name: "empty-frames",
    description: "floods of empty frames",
    attack: (attacker) => attacker.flood(repeatToFill(frame(""))),
  },
  {
    name: "garbage-classic",
    description: "floods of invalid classic objects",
    attack: (attacker) =>
      attacker.flood(
        repeatToFill(new TextEncoder().encode('{"msgid":1,"x":{]"}\u0000{}{"msgid":"\\"}\u0000')),
      ),
  },
  {
    name: "oversize",
    description: "repeated lengths over the maximum",
    async attack(attacker) {
      await attacker.flood(repeatToFill(frame("{", attacker.at % 2 ? MAX_FRAME + 1 : 0xffff_ffff)));
    },
  },
  {
    name: "deep-arrays",
    description: "floods of JSON nested as deep as a frame can be",
    attack: (attacker) => attacker.flood(nestedJson("[", "]")),
  },
  {
    name: "deep-objects",
    description: "the same, of objects",
    attack: (attacker) => attacker.flood(nestedJson('{"a":', "}")),
  },
  {
    name: "wide-json",
    description: "floods of requests with thousands of fields",
    attack: (attacker) => attacker.flood(wideJson()),
  },
  {
    name: "no-login",
    description: "floods of chat messages without a login",
    attack: (attacker) =>
      attacker.flood(repeatToFill(objectFrame({ msgid: Msg.ONE_CHAT, toid: 1, msg: "x" }))),
  },
  {
    name: "guess-ids",
    description: "floods of logins by id with wrong passwords",
    attack: (attacker) => {
      let id = attacker.at;
      return attacker.flood(
        frames(
          ATTEMPTS_PER_WRITE,
          () => ({ msgid: Msg.LOGIN, id: ++id % GUESSED_IDS + 1, password: `guess ${id}` }),
        ),
      );
    },
  },
  {
    name: "guess-names",
    description: "floods of logins by name of unknown users",
    attack: (attacker) => {
      let count = 0;
      return attacker.flood(
        frames(
          ATTEMPTS_PER_WRITE,
          () => ({ msgid: Msg.LOGIN, name: `admin${attacker.at}-${++count}`, password: "admin" }),
        ),
      );
    },
  },
  {
    name: "guess-tokens",
    description: "floods of logins by invented tokens",
    attack: (attacker) =>
      attacker.flood(
        frames(
          ATTEMPTS_PER_WRITE,
          () => ({ msgid: Msg.LOGIN, token: `${++guessed % GUESSED_IDS + 1}.${"A".repeat(43)}` }),
        ),
      ),
  },
  {
    name: "register",
    description: "floods of registrations",
    async attack(attacker) {
      for (;;) {
        await attacker.write(frames(ATTEMPTS_PER_WRITE, () => ({
          msgid: Msg.REGISTER,
          name: `hostile ${attacker.at} ${++registered} ${Date.now()}`,
          password: "a password of theirs",
        })));
      }
    },
  },
];
