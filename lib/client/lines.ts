/** A script's input, a line at a time. */
import { MAX_CLIENT_FRAME_BYTES } from "../wire/protocol.ts";

/** Bytes of a line at most: a longer one says more than fits in the frame that would have to carry it. */
export const MAX_LINE_BYTES = MAX_CLIENT_FRAME_BYTES;

const LINE_FEED = 0x0a;

/**
 * The lines of a text in UTF-8, without their ends (LF or CRLF); the last one needs none. In place of a line of
 * more than {@link MAX_LINE_BYTES} bytes comes undefined, as soon as it is known to be one, and its rest is skipped.
 * Each byte is looked at a fixed number of times, and no more than one line is kept.
 */
export async function* readLines(input: AsyncIterable<Uint8Array>): AsyncGenerator<string | undefined> {
  const decoder = new TextDecoder();
  const line = new Uint8Array(MAX_LINE_BYTES);
  let length = 0; // of the line so far, with what was skipped
  const text = () => decoder.decode(line.subarray(0, length));
  for await (const chunk of input) {
    for (let at = 0, end; at < chunk.length; at = end + 1) {
      const feed = chunk.indexOf(LINE_FEED, at);
      end = feed < 0 ? chunk.length : feed;
      const before = length;
      length += end - at;
      if (length <= MAX_LINE_BYTES) line.set(chunk.subarray(at, end), before);
      else if (before <= MAX_LINE_BYTES) yield undefined;
      if (feed < 0) continue;
      if (length <= MAX_LINE_BYTES) yield text().replace(/\r$/, "");
      length = 0;
    }
  }
  if (length > 0 && length <= MAX_LINE_BYTES) yield text();
}
