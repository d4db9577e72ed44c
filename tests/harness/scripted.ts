/** A server with scripted replies, which a real one sends rarely or never. */
import { encodeFrame, FramedDecoder } from "../../lib/wire/framed.ts";
import { type Message, parseMessage } from "../../lib/wire/message.ts";
import { MAX_CLIENT_FRAME_BYTES } from "../../lib/wire/protocol.ts";
import type { Address } from "./server.ts";

const READ_BYTES = 65_536;

/** The reply to a message; "end" closes the connection, undefined sends nothing. */
export type Scripted = Record<string, unknown> | "end" | undefined;

/**
 * Accepts `connections` connections one after the other, and passes their messages to `answer`, while `body`
 * runs.
 */
export async function withScripted(
  connections: number,
  answer: (message: Message) => Scripted,
  body: (at: Address) => Promise<void>,
): Promise<void> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serve = async () => {
    using conn = await listener.accept();
    const [decoder, buffer] = [new FramedDecoder(MAX_CLIENT_FRAME_BYTES), new Uint8Array(READ_BYTES)];
    for (let size; (size = await conn.read(buffer)) !== null;) {
      decoder.push(buffer.subarray(0, size));
      for (let frame; (frame = decoder.next());) {
        const message = parseMessage(frame as Uint8Array) as Message;
        const reply = answer(message);
        if (reply === "end") return;
        if (reply) await conn.write(encodeFrame(JSON.stringify({ rid: message.rid, ...reply })));
      }
    }
  };
  const serving = (async () => {
    for (let count = 0; count < connections; count++) await serve();
  })();
  await body({ host: "127.0.0.1", port: (listener.addr as Deno.NetAddr).port });
  await serving;
}
