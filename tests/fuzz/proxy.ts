/** PROXY headers as a target: any bytes are read as the header says, or refused finally. */
import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import { MAX_PROXY_HEADER_BYTES, type ProxyHeader, readProxyHeader } from "../../lib/wire/proxy.ts";
import { joined, objectFrame } from "../harness/frames.ts";
import { proxyHeaderV1, proxyHeaderV2 } from "../harness/proxy.ts";
import type { Random } from "../harness/random.ts";
import { mutated } from "./mutate.ts";
import { latin1, randomOf, type Target } from "./target.ts";

const FIXED_HEADER_BYTES = 16; // bytes of version 2 before the addresses
const MAX_PREFIXES = 64; // prefixes of an input that are checked, besides the shortest ones

/** The target: PROXY headers of both versions. */
export const proxy: Target = {
  name: "proxy",
  generate(random) {
    const header = random.below(2) === 0 ? textual(random) : binary(random);
    const behind = random.below(2) === 0 ? objectFrame({ msgid: 24 }) : random.bytes(random.below(300));
    return joined(mutated(random, header, random.below(4)), behind);
  },
  check(input) {
    if (input.length === 0) return;
    const lengths = new Set(
      [...Array(Math.min(input.length, 2 * MAX_PREFIXES)).keys()].map((length) => length + 1),
    );
    const random = randomOf(input);
    for (let count = 0; count < MAX_PREFIXES; count++) lengths.add(1 + random.below(input.length));
    let known: ProxyHeader | Error | undefined;
    for (const length of [...lengths.add(input.length)].sort((a, b) => a - b)) {
      const header = readProxyHeader(input.slice(0, length));
      if (header === undefined) {
        assert(known === undefined, "what is known stays known");
        assert(length < MAX_PROXY_HEADER_BYTES, "no more bytes are waited for than a header has");
      } else if (header instanceof Error) {
        assert(known === undefined || known instanceof Error, "what was read isn't refused later");
        assert(header.message.length > 0);
      } else {
        assertLessOrEqual(header.length, Math.min(length, MAX_PROXY_HEADER_BYTES));
        if (known !== undefined) assertEquals(header, known);
        if (header.source) checkSource(header, input);
      }
      known = header;
    }
  },
};

/** Checks that an independent writer makes the same header of the source. */
function checkSource({ length, source }: ProxyHeader, input: Uint8Array): void {
  const { host, port } = source!;
  const family = host.includes(":") ? 2 : 1;
  const again = proxyHeaderV2({ family, source: { host, port } });
  assertEquals(readProxyHeader(again), { length: again.length, source: { host, port } });
  const size = family === 1 ? 4 : 16;
  const written = [
    again.subarray(FIXED_HEADER_BYTES, FIXED_HEADER_BYTES + size),
    again.subarray(FIXED_HEADER_BYTES + 2 * size, FIXED_HEADER_BYTES + 2 * size + 2),
  ];
  if (input[0] === 0x0d) {
    const stands = [
      input.subarray(FIXED_HEADER_BYTES, FIXED_HEADER_BYTES + size),
      input.subarray(FIXED_HEADER_BYTES + 2 * size, FIXED_HEADER_BYTES + 2 * size + 2),
    ];
    assertEquals(written, stands);
    return;
  }
  const words = latin1(input.subarray(0, length)).trimEnd().split(" ");
  assertEquals([words[1], Number(words[4])], [family === 1 ? "TCP4" : "TCP6", port]);
  if (family === 1) assertEquals(words[2], host);
  // URLs of the runtime have one form for all forms of an address.
  else assertEquals(new URL(`http://[${words[2]}]/`).hostname, `[${host}]`);
}

function textual(random: Random): Uint8Array {
  const family = random.pick([1, 2] as const);
  return proxyHeaderV1(family, { host: hostOf(random, family), port: random.pick([0, 1, 6_000, 65_535]) });
}

function binary(random: Random): Uint8Array {
  const family = random.below(4);
  const more = random.bytes(
    random.pick([0, 0, 1, 3, 84, 216, MAX_PROXY_HEADER_BYTES - FIXED_HEADER_BYTES - 12]),
  );
  const head = { command: random.below(3) === 0 ? 0 : 1, family, transport: random.below(3), more };
  if (family !== 1 && family !== 2) return proxyHeaderV2(head);
  return proxyHeaderV2({ ...head, source: { host: hostOf(random, family), port: random.below(65_536) } });
}

function hostOf(random: Random, family: 1 | 2): string {
  if (family === 1) return Array.from({ length: 4 }, () => random.pick([0, 1, 10, 127, 192, 255])).join(".");
  const groups = Array.from({ length: 8 }, () => random.pick(["0", "0", "1", "db8", "2001", "ffff"]));
  return new URL(`http://[${groups.join(":")}]/`).hostname.slice(1, -1);
}
