/** The server accepts connections that close without a login more slowly than others. */
import { assertEquals, assertGreaterOrEqual } from "@std/assert";
import { Msg } from "../harness/protocol_numbers.ts";
import { FramedClient } from "../harness/framed_client.ts";
import { serverTest } from "../harness/server.ts";

const COUNT = 500; // each counts as 16 of 4,000 a second, beyond the first 200
const CONCURRENCY = 50;
const MIN_MS = 1_700; // 7,800 at 4,000 a second, less some 100 ms for which the last ones need not wait

serverTest(
  "arrivals: accepts 500 connections that close without a login in two seconds",
  {},
  async (server) => {
    const startedAt = performance.now();
    let left = COUNT;
    const connect = async () => {
      while (left-- > 0) {
        await using client = await FramedClient.connect(server);
        assertEquals((await client.request({ msgid: Msg.PING })).msgid, Msg.PONG);
      }
    };
    await Promise.all(Array.from({ length: CONCURRENCY }, connect));
    assertGreaterOrEqual(performance.now() - startedAt, MIN_MS);
  },
);
