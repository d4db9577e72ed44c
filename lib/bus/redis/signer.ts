/**
 * Signs what nodes publish, so that nothing counts that another client of Redis publishes. The tag covers the text and
 * the channel. Its key is derived from the deployment's secret and the store's epoch. So a payload that was recorded is
 * worth nothing on another channel, or when a restored database gives its numbers out again.
 *
 * The tag is SipHash's: HMAC-SHA-256 takes this runtime 15 to 20 microseconds for a message, as much as all else that
 * a node does for it, and this takes one. An attacker can't try tags without publishing each: 2^64 of them.
 */
import { Buffer } from "node:buffer";
import { createHmac } from "node:crypto";
import { KEY_WORDS, sipHash, TAG_WORDS, wordsFor } from "./siphash.ts";

/** Bytes in front of the text for the channel. */
const CHANNEL_BYTES = 8;

/** At most so many bytes of UTF-8 does a UTF-16 code unit take. */
const MAX_BYTES_PER_UNIT = 3;

/** Hexadecimal digits of half a tag. */
const HALF_DIGITS = 8;

/** What is between a text that is an array's without its last bracket, and the tag; and what is behind that. */
const [BEFORE, AFTER] = [',"', '"]'];

/** Characters that a signature adds. It stands in for the array's last bracket. */
const SUFFIX_LENGTH = BEFORE.length + 2 * HALF_DIGITS + AFTER.length;

/** What the key is derived for: other uses of the secret would name other ones. */
const PURPOSE = "chat bus, epoch ";

/** Signs and checks payloads with a deployment's key. */
export class Signer {
  readonly #secret: Buffer;
  readonly #tag = new Int32Array(TAG_WORDS);
  readonly #encoder = new TextEncoder();
  #key = new Int32Array(KEY_WORDS);
  #words = new Int32Array(1_024); // grows up to the longest payload
  #text = this.#textBytes();

  /** `secret`: in hexadecimal, the same for all nodes of the deployment. */
  constructor(secret: string) {
    this.#secret = Buffer.from(secret, "hex");
    this.adopt("");
  }

  /** Signs and checks with the key of this epoch from now on. */
  adopt(epoch: string): void {
    const derived = createHmac("sha256", this.#secret).update(PURPOSE + epoch).digest();
    this.#key = Int32Array.from({ length: KEY_WORDS }, (_, i) => derived.readInt32LE(4 * i));
  }

  /** Signs a text that ends with a JSON array; the tag becomes the array's last element. */
  sign(channel: number, text: string): string {
    const body = text.slice(0, -1);
    this.#calculate(channel, body);
    return body + BEFORE + hex(this.#tag[0]!) + hex(this.#tag[1]!) + AFTER;
  }

  /** Whether a node of this deployment has signed this, in this epoch and for this channel. */
  verify(channel: number, payload: string): boolean {
    const end = payload.length - SUFFIX_LENGTH;
    if (end < 0 || !payload.endsWith(AFTER) || !payload.startsWith(BEFORE, end)) return false;
    this.#calculate(channel, payload.slice(0, end));
    const at = end + BEFORE.length;
    // Both halves are compared, whatever the first one is: the time tells nothing of the tag.
    const low = parseInt(payload.slice(at, at + HALF_DIGITS), 16) ^ this.#tag[0]!;
    const high = parseInt(payload.slice(at + HALF_DIGITS, at + 2 * HALF_DIGITS), 16) ^ this.#tag[1]!;
    return (low | high) === 0;
  }

  #calculate(channel: number, text: string): void {
    const most = wordsFor(CHANNEL_BYTES + MAX_BYTES_PER_UNIT * text.length);
    if (this.#words.length < most) {
      this.#words = new Int32Array(most);
      this.#text = this.#textBytes();
    }
    this.#words[0] = channel;
    this.#words[1] = Math.floor(channel / 2 ** 32);
    const { written } = this.#encoder.encodeInto(text, this.#text);
    sipHash(this.#words, CHANNEL_BYTES + written, this.#key, this.#tag);
  }

  #textBytes(): Uint8Array {
    return new Uint8Array(this.#words.buffer, CHANNEL_BYTES);
  }
}

function hex(half: number): string {
  return (half >>> 0).toString(16).padStart(HALF_DIGITS, "0");
}
