/** Targets in the wire code, which turns bytes into bodies, messages, headers or errors. */
import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import { ClassicDecoder } from "../../lib/wire/classic.ts";
import { type Decoder, WireError } from "../../lib/wire/decoder.ts";
import { FramedDecoder } from "../../lib/wire/framed.ts";
import { parseMessage } from "../../lib/wire/message.ts";
import { Errno } from "../harness/protocol_numbers.ts";
import { frame, joined } from "../harness/frames.ts";
import type { Random } from "../harness/random.ts";
import { hostileBody } from "./hostile.ts";
import { mutated } from "./mutate.ts";
import { latin1, randomOf, type Target } from "./target.ts";

const MAX_BODY_BYTES = 1_000; // small, so that inputs reach it
const SHAPE = { maxJsonDepth: 8, maxJsonValues: 40 }; // likewise
const PIECES = [1, 2, 7, 100, 2_000]; // bytes of the longest part of an input

/** The result of decoding: bodies and error texts. */
type Item = { readonly body: string } | { readonly error: string; readonly fatal: boolean };

/** The framed dialect: it agrees with an independent reader, however the bytes are split. */
export const framed: Target = {
  name: "framed",
  generate(random) {
    const frames = Array.from({ length: random.below(6) }, () => {
      const body = random.below(4) > 0 ? shortBody(random) : random.bytes(random.below(40));
      const length = random.pick([
        body.length,
        body.length,
        body.length + 1,
        0,
        1,
        MAX_BODY_BYTES,
        MAX_BODY_BYTES + 1,
        2 ** 32 - 1,
      ]);
      return frame(body, length);
    });
    return mutated(random, joined(...frames), random.below(4));
  },
  check: (input) => assertEquals(items(() => new FramedDecoder(MAX_BODY_BYTES), input), framesIn(input)),
};

/** The classic dialect: it finds the objects of an independent reader, however the bytes are split. */
export const classic: Target = {
  name: "classic",
  generate(random) {
    const objects = Array.from({ length: random.below(6) }, () => [
      shortBody(random),
      new TextEncoder().encode(random.pick(["\0", "", "\n", " \r\n\t", "\0\0", "x", "}"])),
    ]);
    return mutated(random, joined(...objects.flat()), random.below(4));
  },
  check(input) {
    const bodies = items(() => new ClassicDecoder(MAX_BODY_BYTES), input).filter((item) => "body" in item);
    assertEquals(bodies.map(({ body }) => body), objectsIn(latin1(input)));
  },
};

/** Bodies: JSON objects are messages, and everything else is an error. */
export const body: Target = {
  name: "body",
  generate: (random) =>
    random.below(8) > 0 ? mutated(random, hostileBody(random), random.below(3)) : deep(random),
  check(input) {
    const parsed = parseMessage(input, SHAPE);
    const value = objectIn(input);
    const { msgid, rid } = value ?? {};
    const isRid = typeof rid === "string" || Number.isFinite(rid);
    const isRight = value !== undefined && Number.isSafeInteger(msgid) && (isRid || rid === undefined) &&
      depthOf(value) <= SHAPE.maxJsonDepth && !hasMore(input, SHAPE.maxJsonValues);
    assertEquals(
      !(parsed instanceof WireError),
      isRight,
      parsed instanceof WireError ? parsed.message : "taken",
    );
    if (!(parsed instanceof WireError)) {
      assertEquals(asSent(parsed), asSent(value));
      return;
    }
    assertEquals([parsed.errno, parsed.fatal, parsed.message.length > 0], [Errno.BAD_REQUEST, false, true]);
    if (!value) return;
    const { about } = parsed;
    if (about.msgid !== undefined) {
      assertEquals(asSent(about.msgid), asSent(msgid), "it says whose error it is");
    }
    if (about.rid !== undefined) assertEquals(asSent(about.rid), asSent(rid));
  },
};

/** Returns a body that rarely exceeds the maximum. */
function shortBody(random: Random): Uint8Array {
  return hostileBody(random).subarray(0, MAX_BODY_BYTES + 1);
}

/** Decodes bytes, and asserts that the result does not depend on their parts. */
function items(make: () => Decoder, input: Uint8Array): Item[] {
  const random = randomOf(input);
  const whole = decoded(make(), [input.slice()]);
  for (const longest of PIECES) {
    assertEquals(
      decoded(make(), random.chunks(input, longest)),
      whole,
      `in pieces of up to ${longest} bytes`,
    );
  }
  return whole;
}

function decoded(decoder: Decoder, chunks: readonly Uint8Array[]): Item[] {
  const found: Item[] = [];
  for (const chunk of chunks) {
    decoder.push(chunk);
    for (let next; (next = decoder.next()) !== undefined;) {
      assert(!found.some((item) => "fatal" in item && item.fatal), "nothing comes behind a fatal error");
      found.push(
        next instanceof WireError ? { error: next.message, fatal: next.fatal } : { body: latin1(next) },
      );
      assertLessOrEqual(decoder.bufferedBytes, 2 * MAX_BODY_BYTES);
    }
    assertLessOrEqual(decoder.bufferedBytes, 2 * MAX_BODY_BYTES);
    chunk.fill(0x7b); // detects a decoder that retains the chunk
  }
  return found;
}

/** Reads the framed dialect in the simplest way. */
function framesIn(input: Uint8Array): Item[] {
  const found: Item[] = [];
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  for (let at = 0; at + 4 <= input.length;) {
    const size = view.getUint32(at);
    if (size > MAX_BODY_BYTES) {
      const error = `the frame's length is ${size} bytes, over the maximum of ${MAX_BODY_BYTES}`;
      return [...found, { error, fatal: true }];
    }
    if (at + 4 + size > input.length) break;
    found.push({ body: latin1(input.subarray(at + 4, at + 4 + size)) });
    at += 4 + size;
  }
  return found;
}

/** Returns the objects of the classic dialect up to one that is too long. A NUL ends an open object. */
function objectsIn(text: string): string[] {
  const found: string[] = [];
  const parts = text.split("\0");
  for (const part of parts) {
    for (let start = 0; (start = part.indexOf("{", start)) >= 0;) {
      const end = endOf(part, start);
      if ((end ?? part.length + 1) - start > MAX_BODY_BYTES) return found; // the NUL is included
      if (end === undefined) break;
      found.push(part.slice(start, end));
      start = end;
    }
  }
  return found;
}

/** Returns the end of the object that begins at `start`, or undefined for an open one. */
function endOf(text: string, start: number): number | undefined {
  const token = /"(?:\\[^]|[^"\\])*(?:"|\\?$)|[{}]/g; // a string, closed or not, or a brace
  token.lastIndex = start;
  for (let depth = 0, next; (next = token.exec(text)) !== null;) {
    if (next[0] === "{") depth++;
    else if (next[0] === "}" && --depth === 0) return token.lastIndex;
  }
  return undefined;
}

/** Returns a value as JSON transports it: -0 becomes 0. */
function asSent(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}

/** Returns the JSON object of a body, or undefined. */
function objectIn(input: Uint8Array): Record<string, unknown> | undefined {
  try {
    const value = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(input));
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Returns whether a body over 1 KiB has too many values: containers, and values after commas. */
function hasMore(body: Uint8Array, most: number): boolean {
  if (body.length <= 1_024) return false;
  const bare = latin1(body).replace(/"(?:\\[^]|[^"\\])*"/g, "");
  return (bare.match(/[,[{]/g)?.length ?? 0) > most;
}

function depthOf(value: unknown): number {
  if (typeof value !== "object" || value === null) return 0;
  return 1 + Object.values(value).reduce((most: number, inner) => Math.max(most, depthOf(inner)), 0);
}

/** Returns a message with nested values near the greatest depth, or far beyond it. */
function deep(random: Random): Uint8Array {
  const levels = random.pick([SHAPE.maxJsonDepth - 2, SHAPE.maxJsonDepth - 1, SHAPE.maxJsonDepth, 1_000]);
  const [open, close] = random.pick([["[", "]"], ['{"x":', "}"], ['[1,{"y":', "}]"]] as const);
  const inner = random.pick(["1", "{}", "[]", '""']);
  return new TextEncoder().encode(`{"msgid":24,"x":${open.repeat(levels)}${inner}${close.repeat(levels)}}`);
}
