/** Buffers that are used again: which are, how many, and that no user sees another's bytes. */
import { assert, assertEquals } from "@std/assert";
import { ReadBuffer } from "../../lib/server/net/read_buffer.ts";
import { acquireBuffer, releaseBuffer } from "../../lib/wire/buffers.ts";
import { WireError } from "../../lib/wire/decoder.ts";
import { encodeFrame, FramedDecoder } from "../../lib/wire/framed.ts";

const KEPT = 4 * 1_024 * 1_024; // bytes

Deno.test("buffers: one that was given back is taken again, but not a small one", () => {
  const [small, large] = [acquireBuffer(1_023), acquireBuffer(1_024)];
  releaseBuffer(small);
  releaseBuffer(large);
  assert(acquireBuffer(1_023) !== small);
  assert(acquireBuffer(1_024) === large);
  assert(acquireBuffer(1_024) !== large, "it is taken");
});

Deno.test("buffers: small ones are parts of a larger one, and share no bytes", () => {
  const all = Array.from({ length: 40 }, () => acquireBuffer(256));
  all.forEach((buffer, i) => buffer.fill(i));
  all.forEach((buffer, i) => assertEquals(buffer, new Uint8Array(256).fill(i)));
  const held = new Set(all.map(({ buffer }) => buffer));
  assert(held.size <= 4, `${held.size} larger ones hold 40 small ones`);
  for (const { byteLength } of held) {
    assertEquals(byteLength, 4_096, "what is held as long as one of them is");
  }
});

Deno.test("buffers: so many bytes are kept, and no more", () => {
  const size = 1_024 * 1_024 - 7; // that is not used elsewhere
  const most = Math.floor(KEPT / size);
  const all = Array.from({ length: most + 2 }, () => acquireBuffer(size));
  all.forEach(releaseBuffer);
  const again = Array.from({ length: most + 2 }, () => acquireBuffer(size));
  const known = again.filter((buffer) => all.includes(buffer)).length;
  assert(known <= most && known >= most - 1, `${known} of ${most}`); // others may have given some
});

Deno.test("buffers: a connection reads into more when it is full, and into less when little comes", () => {
  const buffer = new ReadBuffer();
  const lengths = [256, 255, 256, 1_024, 4_096, 16_384, 65_536, 65_536, 8_192, 8_191, 2_047, 511, 100, 10]
    .map(
      (read) => {
        buffer.filled(read);
        return buffer.next().length;
      },
    );
  assertEquals(lengths, [
    ...[1_024, 1_024, 1_024, 4_096, 16_384, 65_536, 65_536, 65_536],
    ...[65_536, 16_384, 4_096, 1_024, 256, 256],
  ]);
  buffer.release();
});

Deno.test("buffers: what one connection has begun is not mixed up with another's", () => {
  const texts = Array.from({ length: 40 }, (_, n) => `{"n":${n},"text":"${`${n} `.repeat(1 + n * n * 3)}"}`);
  const streams = [0, 1, 2].map((n) => ({
    decoder: new FramedDecoder(65_536),
    bytes: texts.slice(n).flatMap((text) => [...encodeFrame(text)]),
    at: 0,
    came: [] as string[],
  }));
  for (let turn = 0; streams.some(({ bytes, at }) => at < bytes.length); turn++) {
    const stream = streams[turn % 3]!;
    const chunk = new Uint8Array(stream.bytes.slice(stream.at, stream.at += 1 + (turn * 37) % 5_000));
    stream.decoder.push(chunk);
    for (let body; (body = stream.decoder.next());) {
      assert(!(body instanceof WireError));
      stream.came.push(new TextDecoder().decode(body));
    }
    if (turn === 7) streams[2]!.decoder.close(); // what it held is the others' from here on
  }
  assertEquals(streams[0]!.came, texts);
  assertEquals(streams[1]!.came, texts.slice(1));
  assert(streams[2]!.came.length < texts.length - 2);
});
