/** Reads a script's input by lines. */
import { MAX_CLIENT_FRAME_BYTES } from "../wire/protocol.ts";

/** Maximum length of a line: a frame cannot contain more. */
export const MAX_LINE_BYTES = MAX_CLIENT_FRAME_BYTES;

const LINE_FEED = 0x0a;

/**
 * Yields the lines of a text in UTF-8, without their ends (LF or CRLF). The last line may have none. For a
 * line of more than {@link MAX_LINE_BYTES} bytes it yields undefined as soon as the limit is exceeded, and
 * skips the rest. The time is linear, and the memory is that of one line.
 */
export async function* readLines(input: AsyncIterable<Uint8Array>): AsyncGenerator<string | undefined> {
  const decoder = new TextDecoder();
  const line = new Uint8Array(MAX_LINE_BYTES);
  let length = 0; // of the line so far, with skipped bytes
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
