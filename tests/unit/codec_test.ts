/** Properties of the wire code for any message, any bytes and any split by the network. */
import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import { ClassicDecoder } from "../../lib/wire/classic.ts";
import { type Decoder, ReassemblyBuffer, WireError } from "../../lib/wire/decoder.ts";
import { encodeFrame, FramedDecoder } from "../../lib/wire/framed.ts";
import { parseMessage } from "../../lib/wire/message.ts";
import { Errno, MAX_FRAME } from "../harness/protocol_numbers.ts";
import { frame, joined } from "../harness/frames.ts";
import { Random } from "../harness/random.ts";

const encoder = new TextEncoder();
const utf8 = new TextDecoder();
const MAX_BYTES = 2_000; // small, so that random bodies reach it

type Item = string | WireError;

/** Returns all results of a decoder, and overwrites each chunk after its use. */
function decodeAll(decoder: Decoder, chunks: readonly Uint8Array[], max: number): Item[] {
  const items: Item[] = [];
  for (const chunk of chunks) {
    decoder.push(chunk);
    for (let item; (item = decoder.next()) !== undefined;) {
      items.push(item instanceof WireError ? item : utf8.decode(item));
    }
    assertLessOrEqual(decoder.bufferedBytes, 2 * max);
    chunk.fill(0x7b);
  }
  return items;
}

/** Returns random objects as JSON, none over the maximum. */
function randomBodies(random: Random): string[] {
  const bodies = Array.from({ length: 1 + random.below(8) }, () => JSON.stringify(random.object(3)));
  return bodies.filter((body) => encoder.encode(body).length <= MAX_BYTES);
}

Deno.test("framed: decodes encoded bodies at any split of the bytes", () => {
  for (let seed = 0; seed < 400; seed++) {
    const random = new Random(seed);
    const bodies = randomBodies(random);
    const bytes = joined(...bodies.map(encodeFrame));
    const chunks = random.chunks(bytes, random.pick([1, 3, 7, 100, 5_000]));
    assertEquals(decodeAll(new FramedDecoder(MAX_BYTES), chunks, MAX_BYTES), bodies, `seed ${seed}`);
  }
});

Deno.test("framed: decodes two frames split at every position", () => {
  const bodies = ['{"msgid":24,"text":"é😀"}', '{"msgid":24}'];
  const bytes = joined(...bodies.map(encodeFrame));
  for (let at = 0; at <= bytes.length; at++) {
    const chunks = [bytes.slice(0, at), bytes.slice(at)];
    assertEquals(decodeAll(new FramedDecoder(MAX_BYTES), chunks, MAX_BYTES), bodies, `cut at ${at}`);
  }
});

Deno.test("framed: encodes a text as its length and its UTF-8, at sizes around the encoder's limits", () => {
  for (const length of [0, 1, 2, 340, 341, 342, 1_022, 1_023, 1_024, 1_025, 3_072, 65_536, 262_144]) {
    for (const character of ["a", "é", "中", "😀"]) {
      const text = character.repeat(length);
      assertEquals(encodeFrame(text), frame(text), `${length} × ${character}`);
    }
  }
});

Deno.test("framed: does not change a frame by encoding the next one", () => {
  const first = encodeFrame('{"msgid":1}');
  encodeFrame('{"msgid":2}');
  assertEquals(first, frame('{"msgid":1}'));
});

Deno.test("framed: accepts the longest body, and rejects one byte more, at any split", () => {
  for (const pieces of [1, 2, 5, 1_000, 100_000]) {
    const longest = "x".repeat(MAX_FRAME);
    const random = new Random(pieces);
    assertEquals(
      decodeAll(new FramedDecoder(MAX_FRAME), random.chunks(frame(longest), pieces), MAX_FRAME),
      [longest],
    );
    const items = decodeAll(
      new FramedDecoder(MAX_FRAME),
      random.chunks(joined(frame(longest + "x"), frame("{}")), pieces),
      MAX_FRAME,
    );
    assertEquals(items.length, 1, "no result follows it");
    assert(items[0] instanceof WireError && items[0].fatal);
    assertEquals(items[0].errno, Errno.TOO_LARGE);
  }
});

Deno.test("framed: allocates no memory for a length alone", () => {
  const framed = new FramedDecoder(MAX_FRAME);
  framed.push(frame("", MAX_FRAME));
  assertEquals(framed.next(), undefined);
  assertLessOrEqual(framed.bufferedBytes, 1_024);
});

Deno.test("framed: turns any bytes into bodies and at most one error at the end", () => {
  let [bodies, errors] = [0, 0];
  for (let seed = 0; seed < 2_000; seed++) {
    const random = new Random(seed);
    const bytes = random.bytes(random.below(300));
    // Half of them get small lengths, so that bodies occur, too.
    if (seed % 2 === 0) { for (let at = 0; at + 4 < bytes.length; at += 20) bytes.fill(0, at, at + 3); }
    const items = decodeAll(
      new FramedDecoder(MAX_BYTES),
      random.chunks(bytes, random.pick([1, 10, 300])),
      MAX_BYTES,
    );
    for (const [at, item] of items.entries()) {
      if (typeof item === "string") bodies++;
      else assert(++errors && item.fatal && at === items.length - 1, `seed ${seed}`);
    }
  }
  assert(bodies > 100 && errors > 100, `both kinds occur: ${bodies} bodies, ${errors} errors`);
});

Deno.test("classic: decodes objects with any separator at any split of the bytes", () => {
  for (let seed = 0; seed < 400; seed++) {
    const random = new Random(seed);
    const bodies = randomBodies(random);
    const text = bodies.map((body) => body + random.pick(["\0", "", "\n", " \r\n\t", "\0\0"])).join("");
    const chunks = random.chunks(encoder.encode(text), random.pick([1, 3, 7, 100, 5_000]));
    assertEquals(decodeAll(new ClassicDecoder(MAX_BYTES), chunks, MAX_BYTES), bodies, `seed ${seed}`);
  }
});

Deno.test("classic: decodes two objects split at every position", () => {
  const bodies = ['{"a":"}\\"{\\\\","b":{"c":{}}}', '{"msgid":24,"text":"é😀"}'];
  const bytes = encoder.encode(bodies.join("\0"));
  for (let at = 0; at <= bytes.length; at++) {
    const chunks = [bytes.slice(0, at), bytes.slice(at)];
    assertEquals(decodeAll(new ClassicDecoder(MAX_BYTES), chunks, MAX_BYTES), bodies, `cut at ${at}`);
  }
});

Deno.test("classic: ends an incomplete object at a NUL, and decodes the next one", () => {
  for (const broken of ['{"a":1', '{"a":"{', '{"a":"\\', "{{{", "garbage"]) {
    const items = decodeAll(
      new ClassicDecoder(MAX_BYTES),
      [encoder.encode(`${broken}\0{"b":2}\0`)],
      MAX_BYTES,
    );
    assertEquals(items.length, 2, broken);
    assert(items[0] instanceof WireError && !items[0].fatal, broken);
    assertEquals(items[0].errno, Errno.BAD_REQUEST);
    assertEquals(items[1], '{"b":2}');
  }
});

Deno.test("classic: accepts the longest object, and rejects one byte more, at any split", () => {
  const object = (bytes: number) => `{"a":"${"x".repeat(bytes - 8)}"}`;
  for (const longest of [1, 7, 100, 10_000]) {
    const chunks = (text: string) => new Random(longest).chunks(encoder.encode(text), longest);
    assertEquals(decodeAll(new ClassicDecoder(MAX_BYTES), chunks(object(MAX_BYTES)), MAX_BYTES), [
      object(MAX_BYTES),
    ]);
    for (const text of [object(MAX_BYTES + 1), "{".repeat(MAX_BYTES + 1), `{"${"x".repeat(5 * MAX_BYTES)}`]) {
      const items = decodeAll(new ClassicDecoder(MAX_BYTES), chunks(`${text}\0{}`), MAX_BYTES);
      assertEquals(items.length, 1, "no result follows it");
      assert(items[0] instanceof WireError && items[0].fatal);
      assertEquals(items[0].errno, Errno.TOO_LARGE);
    }
  }
});

Deno.test("classic: turns any bytes into bodies and errors", () => {
  const likely = encoder.encode('{}"\\\0 a');
  for (let seed = 0; seed < 2_000; seed++) {
    const random = new Random(seed);
    const length = random.below(300);
    const bytes = seed % 2 === 0
      ? random.bytes(length)
      : Uint8Array.from({ length }, () => likely[random.below(likely.length)]!);
    for (const item of decodeAll(new ClassicDecoder(200), random.chunks(bytes, random.pick([1, 10])), 200)) {
      if (typeof item === "string") assert(item.startsWith("{") && item.endsWith("}"), `seed ${seed}`);
    }
  }
});

Deno.test("classic: reports consecutive invalid bytes once, and again after a NUL", () => {
  const errorsOf = (...chunks: string[]) =>
    decodeAll(new ClassicDecoder(MAX_BYTES), chunks.map((chunk) => encoder.encode(chunk)), MAX_BYTES).length;
  assertEquals(errorsOf("x".repeat(1_000), "yy"), 1);
  assertEquals(errorsOf("xx\0", "yy\0"), 2);
});

Deno.test("message: parses a sent message, and returns an error for any other bytes", () => {
  for (let seed = 0; seed < 500; seed++) {
    const random = new Random(seed);
    const message = { ...random.object(3), msgid: random.below(100) };
    const json = JSON.stringify(message);
    assertEquals(parseMessage(encoder.encode(json)), JSON.parse(json), `seed ${seed}`);
    const bytes = random.bytes(random.below(40));
    assert(parseMessage(bytes) instanceof WireError, `seed ${seed}`);
    const at = random.below(json.length);
    parseMessage(encoder.encode(json.slice(0, at) + random.text(3) + json.slice(at + 1)));
  }
});

Deno.test("message: returns an error with the reason and the known fields of an invalid body", () => {
  const errorOf = (body: string | Uint8Array) => {
    const parsed = parseMessage(typeof body === "string" ? encoder.encode(body) : body);
    assert(parsed instanceof WireError, String(body));
    assertEquals(parsed.errno, Errno.BAD_REQUEST);
    assert(!parsed.fatal && parsed.message.length > 0);
    return parsed;
  };
  for (const body of ["", " ", "{", "nonsense", '{"msgid":24}x', '\ufeff{"msgid":24}', "{'msgid':24}"]) {
    errorOf(body);
  }
  for (const body of ["[]", "null", "24", '"24"', "true", '[{"msgid":24}]', "{}"]) errorOf(body);
  for (const msgid of ['"24"', "24.5", "null", "[24]", "1e300", "true"]) {
    assertEquals(errorOf(`{"msgid":${msgid},"rid":7}`).about, { rid: 7 });
  }
  for (const rid of ["null", "[]", "{}", "true", "1e999"]) {
    assertEquals(errorOf(`{"msgid":24,"rid":${rid}}`).about, { msgid: 24 });
  }
  errorOf(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d)); // not UTF-8
  errorOf(Uint8Array.of(0xed, 0xa0, 0x80)); // half of a surrogate pair, as UTF-8
  errorOf("[".repeat(MAX_FRAME)); // deeper than the stack of any parser
});

Deno.test("message: preserves the notation of a rid unless the body is too deeply nested", () => {
  const ridOf = (body: string) => {
    const parsed = parseMessage(encoder.encode(body));
    assert(!(parsed instanceof WireError));
    return JSON.stringify(parsed.rid);
  };
  for (const rid of ["7", '"x"', "9223372036854775807", "1.50", "-0.0", "1e300"]) {
    assertEquals(ridOf(`{"msgid":24,"rid":${rid}}`), rid === "-0.0" ? "0" : rid);
  }
  const deep = "[".repeat(30_000) + "]".repeat(30_000);
  assert(["1e300", "1e+300"].includes(ridOf(`{"msgid":24,"rid":1e300,"x":${deep}}`)!));
});

Deno.test("message: rejects a body of more than 256 values before parsing it", () => {
  const pad = "x".repeat(1_100); // shorter bodies are parsed without counting
  const shape = { maxJsonDepth: 32, maxJsonValues: 256 };
  const isAccepted = (body: string) => !(parseMessage(encoder.encode(body), shape) instanceof WireError);
  const wide = (values: number) => `{"msgid":24,"pad":"${pad}","list":[${Array(values - 3).fill(0).join()}]}`;
  for (const values of [250, 251, 252, 253, 254, 255, 256, 257, 300]) {
    const parsed = parseMessage(encoder.encode(wide(values)), shape);
    const counted = wide(values).replaceAll(/[^,[{]/g, "").length;
    if (counted <= 256) assert(!(parsed instanceof WireError), `${counted}`);
    else {
      assert(parsed instanceof WireError, `${counted}`);
      assertEquals([parsed.errno, parsed.message], [Errno.BAD_REQUEST, "a body of more than 256 values"]);
    }
  }
  for (const text of [",[{".repeat(500), ',\\",'.repeat(500), "\\\\".repeat(500) + ","]) {
    assert(isAccepted(`{"msgid":24,"pad":"${pad}","text":"${text}"}`), text.slice(0, 10));
  }
  assert(
    !isAccepted(`{"msgid":24,"text":"\\\\","list":[${Array(600).fill(0).join()}]}`),
    "an escaped backslash does not continue a string",
  );
  const aboutOf = (beginning: string) => {
    const parsed = parseMessage(
      encoder.encode(`${beginning},"pad":"${pad}","list":[${Array(600).fill(0).join()}]}`),
      shape,
    );
    assert(parsed instanceof WireError);
    return parsed.about;
  };
  assertEquals(aboutOf('{"msgid":24,"rid":"x"'), { msgid: 24, rid: "x" });
  assertEquals(aboutOf(' { "rid" : 7 , "msgid" : 6'), { msgid: 6, rid: 7 });
  for (
    const odd of [
      '{"x":1,"rid":7',
      '{"rid":01',
      '{"rid":"a\\n"',
      '{"rid":"\u0001"',
      '{"rid":[7]',
      '{"msgid":"6"',
    ]
  ) {
    assertEquals(aboutOf(odd), {}, odd);
  }
  assert(isAccepted(`{"msgid":24,"list":[${Array(400).fill(0).join()}]}`), "a short body has no limit");
});

Deno.test("message: treats __proto__ as a key without special meaning", () => {
  const parsed = parseMessage(encoder.encode('{"msgid":24,"__proto__":{"name":"x","msgid":1}}'));
  assert(!(parsed instanceof WireError));
  assertEquals([parsed.msgid, parsed.name], [24, undefined]);
});

Deno.test("reassembly buffer: doubles, preserves its bytes, and releases a large buffer", () => {
  const buffer = new ReassemblyBuffer();
  const random = new Random(1);
  let all: Uint8Array = new Uint8Array(0);
  const sizes = new Set<number>();
  while (all.length < 100_000) {
    const piece = random.bytes(random.below(700));
    buffer.append(piece);
    all = joined(all, piece);
    sizes.add(buffer.capacity);
    assertLessOrEqual(buffer.capacity, Math.max(256, 2 * all.length));
  }
  assertEquals([buffer.length, buffer.view().length], [all.length, all.length]);
  assertEquals(buffer.view(), all);
  assertEquals(buffer.view(99_990), all.subarray(99_990));
  assertLessOrEqual(sizes.size, 12, "each size is twice the one before");
  buffer.clear();
  assertEquals([buffer.length, buffer.capacity], [0, 0]);
  buffer.append(Uint8Array.of(1, 2, 3));
  const small = buffer.capacity;
  buffer.clear();
  assertEquals([buffer.length, buffer.capacity], [0, small], "a small buffer stays");
});
