/** The server accepts connections more slowly when they close before a login. */
import { assertEquals, assertGreaterOrEqual } from "@std/assert";
import { Msg } from "../harness/protocol_numbers.ts";
import { FramedClient } from "../harness/framed_client.ts";
import { serverTest } from "../harness/server.ts";

const CONNECTIONS = 500; // each counts as 16 accepts of 4,000 a second, beyond the first 200
const CONCURRENCY = 50;
// ms: 7,800 accepts at 4,000 a second, less the time that the last ones do not wait
const MIN_DURATION_MS = 1_700;

serverTest(
  "accept rate: takes at least two seconds for 500 connections that close before login",
  {},
  async (server) => {
    const began = performance.now();
    let left = CONNECTIONS;
    const come = async () => {
      while (left-- > 0) {
        await using client = await FramedClient.connect(server);
        assertEquals((await client.request({ msgid: Msg.PING })).msgid, Msg.PONG);
      }
    };
    await Promise.all(Array.from({ length: CONCURRENCY }, come));
    assertGreaterOrEqual(performance.now() - began, MIN_DURATION_MS);
  },
);
