/** Headers of the PROXY protocol, and the addresses trusted to send them. */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { ConfigError, parseCommand } from "../../lib/config/config.ts";
import { CidrList } from "../../lib/wire/networks.ts";
import {
  beginsProxyHeader,
  MAX_PROXY_HEADER_BYTES,
  type ProxyHeader,
  readProxyHeader,
} from "../../lib/wire/proxy.ts";
import { joined, objectFrame } from "../harness/frames.ts";
import { proxyHeaderV1, proxyHeaderV2 } from "../harness/proxy.ts";
import { Random } from "../harness/random.ts";

const encoder = new TextEncoder();

/**
 * Returns the header in `bytes`. Asserts that any prefix is incomplete and that further bytes change nothing.
 */
function wholeHeader(bytes: Uint8Array, name: string): ProxyHeader {
  for (let length = 1; length < bytes.length; length++) {
    assertEquals(readProxyHeader(bytes.subarray(0, length)), undefined, `${name}: ${length} bytes`);
  }
  const header = readProxyHeader(bytes);
  assert(header && !(header instanceof Error), `${name}: ${header}`);
  assertEquals(header.length, bytes.length, name);
  const amidst = joined(new Uint8Array(5), bytes, objectFrame({ msgid: 24 })).subarray(5);
  assertEquals(readProxyHeader(amidst), header, name);
  return header;
}

/**
 * Returns the error text and the number of bytes that show the error. Asserts that further bytes change
 * nothing.
 */
function refusal(bytes: Uint8Array, name: string): { readonly words: string; readonly after: number } {
  for (let after = 1; after <= bytes.length; after++) {
    const header = readProxyHeader(bytes.subarray(0, after));
    if (header === undefined) continue;
    assert(header instanceof Error, `${name} is refused`);
    const later = readProxyHeader(joined(bytes, new Uint8Array(MAX_PROXY_HEADER_BYTES)));
    assert(later instanceof Error, `${name} stays refused`);
    return { words: header.message, after };
  }
  throw new Error(`${name} is still waited for after ${bytes.length} bytes`);
}

Deno.test("proxy: reads the client address of version 1, split anywhere", () => {
  const cases: readonly (readonly [text: string, source: ProxyHeader["source"]])[] = [
    ["PROXY TCP4 192.0.2.1 198.51.100.2 56324 8000\r\n", { host: "192.0.2.1", port: 56_324 }],
    ["PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", { host: "0.0.0.0", port: 0 }],
    ["PROXY TCP6 2001:DB8::1 ::1 65535 0\r\n", { host: "2001:db8::1", port: 65_535 }],
    [`PROXY TCP6 ${"ffff:".repeat(7)}ffff ${"ffff:".repeat(7)}ffff 65535 65535\r\n`, {
      host: `${"ffff:".repeat(7)}ffff`,
      port: 65_535,
    }],
    ["PROXY UNKNOWN\r\n", undefined],
    ["PROXY UNKNOWN whatever it is\r\n", undefined],
    [`PROXY UNKNOWN ${"x".repeat(91)}\r\n`, undefined],
  ];
  for (const [text, source] of cases) {
    assertEquals(wholeHeader(encoder.encode(text), text).source, source);
  }
});

Deno.test("proxy: refuses an invalid version 1 header", () => {
  const cases: readonly (readonly [text: string, words: string])[] = [
    ["POST / HTTP/1.1\r\n", "PROXY "],
    ["PROXX TCP4", "PROXY "],
    ["PROXY\r\n", "PROXY "],
    ["PROXY \r\n", "neither"],
    ["PROXY  TCP4 1.2.3.4 1.2.3.4 1 1\r\n", "neither"],
    ["PROXY tcp4 1.2.3.4 1.2.3.4 1 1\r\n", "neither"],
    ["PROXY TCP 1.2.3.4 1.2.3.4 1 1\r\n", "neither"],
    ["PROXY UDP4 1.2.3.4 1.2.3.4 1 1\r\n", "neither"],
    ["PROXY UNKNOWNS\r\n", "neither"],
    ["PROXY TCP4\r\n", "two addresses"],
    ["PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", "two addresses"],
    ["PROXY TCP4 1.2.3.4 1.2.3.4 1 1 \r\n", "two addresses"],
    ["PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n", "two addresses"],
    ["PROXY TCP4 1.2.3.4  1.2.3.4 1 1\r\n", "two addresses"],
    ["PROXY TCP4 1.2.3 1.2.3.4 1 1\r\n", "not one of TCP4"],
    ["PROXY TCP4 1.2.3.4 1.2.3.256 1 1\r\n", "not one of TCP4"],
    ["PROXY TCP4 01.2.3.4 1.2.3.4 1 1\r\n", "not one of TCP4"],
    ["PROXY TCP4 ::1 ::1 1 1\r\n", "not one of TCP4"],
    ["PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n", "not one of TCP6"],
    ["PROXY TCP6 ::1%lo ::1 1 1\r\n", "not one of TCP6"],
    ["PROXY TCP6 ::1 1::2::3 1 1\r\n", "not one of TCP6"],
    ["PROXY TCP4 1.2.3.4 1.2.3.4 65536 1\r\n", "port"],
    ["PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n", "port"],
    ["PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n", "port"],
    ["PROXY TCP4 1.2.3.4 1.2.3.4 -1 1\r\n", "port"],
    ["PROXY TCP4 1.2.3.4 1.2.3.4 1e3 1\r\n", "port"],
    ["PROXY TCP4 1.2.3.4 1.2.3.4 ٣ 1\r\n", "port"],
    ["PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\r\n", "CR without"],
    ["PROXY TCP4 1.2.3.4 1.2.3.4 1 1\rx", "CR without"],
    [`PROXY UNKNOWN ${"x".repeat(92)}\r\n`, "107 bytes"],
    [`PROXY UNKNOWN ${"x".repeat(5_000)}`, "107 bytes"],
  ];
  for (const [text, words] of cases) assertStringIncludes(refusal(encoder.encode(text), text).words, words);
  // A single LF ends no line, and the reader waits at most for the longest line.
  const endless = refusal(encoder.encode("PROXY TCP4 1.2.3.4 1.2.3.4 1 1\n".repeat(9)), "no CR");
  assertEquals([endless.words.includes("107 bytes"), endless.after], [true, 107]);
  assertEquals(refusal(encoder.encode("PROXIED"), "a word").after, 5, "the first wrong byte shows the error");
});

Deno.test("proxy: reads the client address of version 2, split anywhere, and skips extensions", () => {
  const v4 = { host: "192.0.2.1", port: 56_324 };
  const v6 = { host: "2001:db8::1:0:0:1", port: 65_535 };
  for (const extras of [0, 1, 3, 100, MAX_PROXY_HEADER_BYTES - 16 - 216]) {
    const more = new Random(extras).bytes(extras);
    for (
      const [name, header, source] of [
        ["TCP4", proxyHeaderV2({ family: 1, source: v4, more }), v4],
        ["UDP4", proxyHeaderV2({ family: 1, transport: 2, source: v4, more }), v4],
        ["TCP6", proxyHeaderV2({ family: 2, source: v6, more }), v6],
        ["TCP4, local", proxyHeaderV2({ command: 0, family: 1, source: v4, more }), undefined],
        ["unspecified", proxyHeaderV2({ family: 0, transport: 0, more }), undefined],
        ["unspecified, local", proxyHeaderV2({ command: 0, family: 0, transport: 0, more }), undefined],
        ["UNIX", proxyHeaderV2({ family: 3, more: joined(new Uint8Array(216), more) }), undefined],
        ["local of any family", proxyHeaderV2({ command: 0, family: 15, transport: 15, more }), undefined],
        [
          "local without addresses",
          proxyHeaderV2({ command: 0, family: 2, more: new Uint8Array(5) }),
          undefined,
        ],
      ] as const
    ) {
      assertEquals(wholeHeader(header, `${name} and ${extras} bytes`).source, source, name);
    }
  }
});

Deno.test("proxy: refuses an invalid version 2 header at the first byte that shows it", () => {
  const source = { host: "192.0.2.1", port: 1 };
  const good = proxyHeaderV2({ family: 1, source });
  const changed = (at: number, ...bytes: number[]) => {
    const copy = good.slice();
    copy.set(bytes, at);
    return copy;
  };
  for (let at = 1; at < 12; at++) {
    const { words, after } = refusal(changed(at, good[at]! ^ 0x40), `signature byte ${at}`);
    assertStringIncludes(words, "signature");
    assertEquals(after, at + 1);
  }
  const cases: readonly (readonly [at: number, bytes: readonly number[], words: string, after: number])[] = [
    [12, [0x11], "version 1", 13],
    [12, [0x31], "version 3", 13],
    [12, [0x22], "command 2", 13],
    [12, [0x2f], "command 15", 13],
    [13, [0x41], "transport 0x41", 14],
    [13, [0xf1], "transport 0xf1", 14],
    [13, [0x13], "transport 0x13", 14],
    [13, [0x10], "transport 0x10", 14],
    [13, [0x01], "transport 0x1", 14],
    [13, [0x20], "transport 0x20", 14],
    [13, [0x30], "transport 0x30", 14],
    [14, [0, 11], "too short", 16],
    [14, [0, 0], "too short", 16],
    [14, [0x0f, 0xf1], "4097 bytes", 16],
    [14, [0xff, 0xff], "65551 bytes", 16],
  ];
  for (const [at, bytes, words, after] of cases) {
    const refused = refusal(changed(at, ...bytes), `${bytes} at ${at}`);
    assertStringIncludes(refused.words, words);
    assertEquals(refused.after, after, words);
  }
  assertStringIncludes(refusal(changed(13, 0x21, 0, 35), "short for IPv6").words, "too short");
  assertStringIncludes(refusal(changed(13, 0x31, 0, 215), "short for UNIX").words, "too short");
});

Deno.test("proxy: finds no header before the first bytes of either dialect", () => {
  for (let first = 0; first < 256; first++) {
    const isOne = first === 0x50 || first === 0x0d;
    assertEquals(beginsProxyHeader(first), isOne);
    if (!isOne) assertEquals(readProxyHeader(Uint8Array.of(first, 0x50)), { length: 0 });
  }
});

Deno.test("proxy: returns the address of any header unchanged, whatever follows", () => {
  for (let seed = 0; seed < 2_000; seed++) {
    const random = new Random(seed);
    const family = random.pick([1, 2] as const);
    const bytes = random.bytes(family === 1 ? 4 : 16);
    // Zeros in all positions, for the short form of IPv6.
    for (let at = 0; at < bytes.length; at++) if (random.below(2)) bytes[at] = 0;
    const groups = Array.from(
      { length: 8 },
      (_, at) => (bytes[2 * at]! << 8 | bytes[2 * at + 1]!).toString(16),
    );
    const host = family === 1
      ? bytes.join(".")
      : new URL(`http://[${groups.join(":")}]`).hostname.slice(1, -1);
    const source = { host, port: random.below(65_536) };
    const header = random.pick([
      proxyHeaderV2({ family, source, more: random.bytes(random.below(50)) }),
      proxyHeaderV1(family, source),
    ]);
    const read = readProxyHeader(joined(header, random.bytes(random.below(200))));
    assertEquals(read, { length: header.length, source }, `seed ${seed}`);
  }
});

Deno.test("proxy: turns any bytes into a header, an error or a wait that ends", () => {
  const seen = { header: 0, error: 0, wait: 0 };
  const good = [
    proxyHeaderV1(1, { host: "192.0.2.1", port: 1 }),
    proxyHeaderV2({ family: 2, source: { host: "::1", port: 1 }, more: new Uint8Array(9) }),
  ];
  for (let seed = 0; seed < 5_000; seed++) {
    const random = new Random(seed);
    const bytes = random.pick(good).slice(0, 1 + random.below(70));
    for (let changes = random.below(3); changes > 0; changes--) {
      bytes[random.below(bytes.length)] = random.below(256);
    }
    const header = readProxyHeader(bytes);
    if (header === undefined) {
      seen.wait++;
      const filled = joined(bytes, random.bytes(MAX_PROXY_HEADER_BYTES - bytes.length));
      assert(readProxyHeader(filled) !== undefined, `seed ${seed}: it would be waited for without end`);
    } else if (header instanceof Error) seen.error++;
    else {
      seen.header++;
      assert(header.length <= bytes.length, `seed ${seed}`);
    }
  }
  for (const [kind, times] of Object.entries(seen)) assert(times > 100, `${kind}: ${times}`);
});

Deno.test("networks: match addresses and networks of both families, and IPv4 written as IPv6", () => {
  const networks = CidrList.parse("10.0.0.0/8,127.0.0.1,::1,fd00::/8,192.0.2.128/25");
  const inside = [
    "10.0.0.0",
    "10.255.255.255",
    "::ffff:10.1.2.3",
    "127.0.0.1",
    "::1",
    "0:0:0:0:0:0:0:1",
    "fd00::",
    "fdff:ffff::1",
    "192.0.2.128",
    "192.0.2.255",
  ];
  const outside = [
    "9.255.255.255",
    "11.0.0.0",
    "127.0.0.2",
    "::2",
    "fc00::1",
    "fe00::",
    "192.0.2.127",
    "::ffff:11.0.0.0",
    "",
    "localhost",
    "10.0.0",
  ];
  for (const address of inside) assert(networks.contains(address), address);
  for (const address of outside) assert(!networks.contains(address), address);
  assert(!CidrList.parse("").contains("127.0.0.1"), "none is none");
  const all = CidrList.parse("0.0.0.0/0,::/0");
  assert(all.contains("1.2.3.4") && all.contains("2001:db8::1"), "all are all");
});

Deno.test("networks: report an invalid entry in one line that names it", () => {
  for (
    const item of [
      "localhost",
      "10.0.0.0/33",
      "::/129",
      "10.0.0.0/",
      "10.0.0.0/08",
      "10.0.0.0/8/8",
      "10.0.0.0/-1",
      "10.0.0",
      "fe80::1%eth0",
      " 10.0.0.1",
      "",
    ]
  ) {
    const { message } = assertThrows(() => CidrList.parse(`127.0.0.1,${item}`), Error);
    assertStringIncludes(message, `("${item}" is neither)`);
    assert(message.startsWith("must be ") && !message.includes("\n"));
  }
});

Deno.test("networks: are taken by --trusted-proxies, also an empty list", () => {
  const trusted = (...args: string[]) => {
    const command = parseCommand(args, { get: () => undefined, names: () => [] });
    assert("run" in command);
    return command.run.trustedProxies;
  };
  assertEquals([trusted(), trusted("--trusted-proxies", "none")], ["", ""]);
  assertEquals(trusted("--trusted-proxies", "127.0.0.1,fd00::/8"), "127.0.0.1,fd00::/8");
  const { message } = assertThrows(() => trusted("--trusted-proxies", "nginx"), ConfigError);
  assert(message.startsWith("--trusted-proxies must be addresses and networks"));
});
