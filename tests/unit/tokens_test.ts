/** Session tokens: what their text contains, and what their hash protects. */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import {
  hashesEqual,
  issueToken,
  makeDeviceCookie,
  parseDeviceId,
  parseToken,
} from "../../lib/server/sessions/tokens.ts";

const HOUR_MS = 3_600_000;
const NOW = Date.UTC(2026, 11, 24, 18);

Deno.test("tokens: identify a device by any of its tokens while the password is unchanged", () => {
  const device = makeDeviceCookie(7, "$argon2id$hash");
  const [one, two] = [issueToken(7, NOW, device), issueToken(7, NOW, device)];
  assertNotEquals(one.text, two.text);
  const id = parseDeviceId(one.text, 7, "$argon2id$hash")!;
  assertEquals(id.length, 8);
  assertEquals(parseDeviceId(two.text, 7, "$argon2id$hash"), id);
  assertEquals(makeDeviceCookie(7, "$argon2id$hash", id), device, "the device is still known");
  const anew = issueToken(7, NOW, makeDeviceCookie(7, "$argon2id$other", id));
  assertEquals(parseDeviceId(anew.text, 7, "$argon2id$other"), id);
  for (const [user, password] of [[8, "$argon2id$hash"], [7, "$argon2id$other"]] as const) {
    assertEquals(parseDeviceId(one.text, user, password), undefined);
  }
  assertEquals(parseDeviceId(issueToken(7, NOW).text, 7, "$argon2id$hash"), undefined);
  assertEquals(parseDeviceId("7.short", 7, "$argon2id$hash"), undefined);
  const [user, secret] = one.text.split(".");
  const last = `${user}.${secret!.slice(0, 42)}${secret!.at(-1) === "A" ? "E" : "A"}`;
  assertEquals(parseDeviceId(last, 7, "$argon2id$hash"), id, "the other half is not part of the text");
  const first = `${user}.${secret!.at(0) === "A" ? "E" : "A"}${secret!.slice(1)}`;
  assertEquals(parseDeviceId(first, 7, "$argon2id$hash"), undefined);
});

Deno.test("tokens: are random, verified by their hash only, and distinguished from other texts", () => {
  const { text: token, hash } = issueToken(7, NOW);
  assertEquals(parseToken(token, NOW)!.user, 7);
  assert(hashesEqual(parseToken(token, NOW)!.hash, hash));
  assert(!hashesEqual(parseToken(issueToken(7, NOW).text, NOW)!.hash, hash));
  for (const bad of ["", "7", "7.", "0.x", token + "x", token.slice(0, -1), `x${token}`]) {
    assertEquals(parseToken(bad, NOW), undefined, bad);
  }
  // the hash differs from the one stored for user 8
  assertEquals(parseToken(token.replace("7.", "8."), NOW)!.user, 8);
});

Deno.test("tokens: carry the hour of their creation, which their hash protects", () => {
  for (
    const [made, told] of [[NOW, NOW], [NOW + 1, NOW + HOUR_MS], [NOW + HOUR_MS, NOW + HOUR_MS]] as const
  ) {
    const { text } = issueToken(7, made);
    assertEquals(parseToken(text, made)!.issuedAt, told);
    assertEquals(parseToken(text, told + 10 * 365 * 24 * HOUR_MS)!.issuedAt, told);
  }
  const { text, hash } = issueToken(7, NOW);
  assertEquals(parseToken(text, NOW - 2 * HOUR_MS)!.issuedAt, NOW, "by a node whose clock is ahead");
  assertEquals(parseToken(text, NOW - 2 * HOUR_MS - 1)!.issuedAt, undefined, "retry_after is in the future");
  const younger = issueToken(7, NOW + 24 * HOUR_MS).text;
  const forged = text.slice(0, -4) + younger.slice(-4);
  assertEquals(parseToken(forged, NOW + 24 * HOUR_MS)!.issuedAt, NOW + 24 * HOUR_MS);
  assert(!hashesEqual(parseToken(forged, NOW)!.hash, hash));
  // possible tokens of an earlier version
  for (const bytes of [new Uint8Array(32), new Uint8Array(32).fill(255)]) {
    const old = `7.${bytes.toBase64({ alphabet: "base64url", omitPadding: true })}`;
    assertEquals(parseToken(old, NOW)!.issuedAt, undefined);
  }
});
