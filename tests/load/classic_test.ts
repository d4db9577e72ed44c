/** The classic dialect of the load program, without a server. */
import { assertEquals } from "@std/assert";
import { type ClassicReceived, Msg, type Sent } from "../harness/protocol_numbers.ts";
import { ClassicPair } from "./classic_chat.ts";
import { ClassicReader } from "./classic_peer.ts";
import { Run } from "./run.ts";

const SENDER = 1;

/** Returns a pair, its run, the numbers that were sent, and a function that delivers a number. */
function pairOf(size = 5): {
  pair: ClassicPair;
  run: Run;
  sent: Sent[];
  numbers: () => number[];
  arrive: (number: number) => void;
} {
  const [run, sent]: [Run, Sent[]] = [new Run(size), []];
  const pair = new ClassicPair({ id: SENDER, name: "alice", send: (message) => sent.push(message) }, 2, run);
  run.isSending = pair.isRefilling = true;
  const numbers = () => sent.map(({ msg }) => Number.parseInt(msg as string));
  const arrive = (number: number) => pair.take(sent[number - 1]! as unknown as ClassicReceived);
  return { pair, run, sent, numbers, arrive };
}

Deno.test("load: reads classic objects with and without a NUL, in any pieces", () => {
  const objects = ['{"a":"}{\\"\\\\"}', '{"b":{"c":[{}]}}', "{}"];
  const bytes = new TextEncoder().encode(objects[0] + "\0" + objects[1] + objects[2] + "\0\r\n" + objects[0]);
  for (let size = 1; size <= bytes.length; size++) {
    const reader = new ClassicReader();
    const read: string[] = [];
    for (let at = 0; at < bytes.length; at += size) read.push(...reader.push(bytes.subarray(at, at + size)));
    assertEquals(read, [...objects, objects[0]], `in pieces of ${size} bytes`);
  }
});

Deno.test("load: a classic delivery makes room for the next message", () => {
  const { pair, run, sent, numbers, arrive } = pairOf(120);
  for (let at = 0; at < 2; at++) pair.send(performance.now());
  arrive(1);
  assertEquals(numbers(), [1, 2, 3]);
  pair.take({ msgid: Msg.ONE_CHAT, id: SENDER + 1, msg: "2 from another user" });
  assertEquals([run.arrived, pair.arrived], [1, 1]);
  assertEquals(`${sent[2]!.msg}`.length, 120);
  run.isSending = false;
  arrive(2);
  assertEquals([run.sent, run.arrived], [3, 2]);
});

Deno.test("load: a classic message that another overtakes is lost, and makes room", () => {
  const { pair, run, numbers, arrive } = pairOf();
  for (let at = 0; at < 3; at++) pair.send(performance.now());
  arrive(3);
  assertEquals(numbers(), [1, 2, 3, 4, 5, 6]);
  run.isSending = false;
  for (const number of [4, 5, 6]) arrive(number);
  assertEquals(pair.balance, { delivered: 4, lost: 2, duplicated: 0, outOfOrder: 0 });
  for (const number of [2, 6]) arrive(number);
  assertEquals(pair.balance, { delivered: 5, lost: 1, duplicated: 1, outOfOrder: 2 });
});

Deno.test("load: a classic pair without deliveries gives up the messages in flight", () => {
  const { pair, numbers, arrive } = pairOf();
  for (let at = 0; at < 2; at++) pair.send(performance.now());
  pair.giveUp();
  assertEquals(numbers(), [1, 2, 3, 4]);
  arrive(1);
  assertEquals(numbers(), [1, 2, 3, 4], "a late message makes no room again");
  arrive(3);
  assertEquals(numbers(), [1, 2, 3, 4, 5]);
});
