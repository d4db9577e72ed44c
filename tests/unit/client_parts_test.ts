/** The parts of the client that need no server. */
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  type CommandContext,
  CommandError,
  helpText,
  isChatCommand,
  needsServer,
  runCommand,
} from "../../lib/client/commands.ts";
import { Contacts } from "../../lib/client/contacts.ts";
import {
  escapeControls,
  formatMessage,
  formatTime,
  PLAIN_STYLE,
  quoteExcerpt,
  toJson,
  unansweredText,
} from "../../lib/client/format.ts";
import { Inbox } from "../../lib/client/inbox.ts";
import { type ChatMessage, readChat, retryAfterMs } from "../../lib/client/incoming.ts";
import { cleanPaste, PasteReader } from "../../lib/client/keys.ts";
import { MAX_LINE_BYTES, readLines } from "../../lib/client/lines.ts";
import { parseOptions, UsageError } from "../../lib/client/options.ts";
import { backoffMs } from "../../lib/client/servers.ts";
import type { RequestMessage } from "../../lib/client/transport.ts";
import { Random } from "../harness/random.ts";
import { until } from "../harness/wait.ts";

Deno.test("format: escapes all control characters", () => {
  assertEquals(escapeControls("a\x1b[31mb\r\n\x07\x7f\x9b2J"), "a␛[31mb␍␊␇␡<009b>2J");
  assertEquals(escapeControls("\u202egnp.exe"), "<202e>gnp.exe");
  assertEquals(escapeControls("é 中 😀"), "é 中 😀");
});

Deno.test("format: escapes control characters in text, name and state of a message", () => {
  const contacts = new Contacts();
  const evil = "\x1b]0;title\x07";
  const messages = [
    { msgid: 6, id: 2, toid: 1, name: evil, msg: evil, seq: 1, time: 0 },
    { msgid: 10, id: 2, groupid: 1, name: evil, msg: evil, seq: 1, time: 0 },
    { msgid: 26, id: 2, state: evil },
  ];
  for (const message of messages) {
    const line = formatMessage(message, contacts, PLAIN_STYLE);
    assertMatch(line!, /^\P{Cc}+$/u);
    assertStringIncludes(line!, "␛]0;title␇");
  }
});

Deno.test("format: escapes control characters in JSON without changing the value", () => {
  const message = { msgid: 6, msg: "\x1b\x7f\x9b\u202e\u2028 é" };
  const line = toJson(message);
  assertMatch(line, /^[\x20-\x7eé]+$/);
  assertEquals(JSON.parse(line), message);
});

Deno.test("format: omits the date of today's times", () => {
  const now = new Date(2024, 4, 6, 12, 0);
  assertEquals(formatTime(new Date(2024, 4, 6, 7, 5).getTime(), now), "07:05");
  assertEquals(formatTime(new Date(2024, 4, 5, 23, 59).getTime(), now), "2024-05-05 23:59");
});

Deno.test("incoming: finds the conversation of a chat message, and rejects other messages", () => {
  const base = { id: 2, name: "bob", msg: "hi", seq: 3, time: 4 };
  const peer = (message: Record<string, unknown>) => readChat({ msgid: 6, ...base, ...message }, 1)?.peer;
  assertEquals(peer({ toid: 1 }), 2);
  assertEquals(peer({ id: 1, toid: 2 }), 2);
  assertEquals(peer({ msgid: 10, groupid: 5 }), -5);
  for (const wrong of [{ seq: "3" }, { seq: 0 }, { id: null }, { msgid: 10 }, { msgid: 99 }]) {
    assertEquals(peer(wrong), undefined);
  }
});

Deno.test("incoming: bounds the server's retry_after", () => {
  const asked = [0, 250, 1e12, "soon", undefined];
  assertEquals(asked.map((retry_after) => retryAfterMs({ msgid: 20, retry_after })), [
    20,
    250,
    60_000,
    1_000,
    1_000,
  ]);
});

Deno.test("backoff: grows to a bound with a random part", () => {
  for (const [round, most] of [[1, 250], [2, 500], [6, 8_000], [50, 15_000]] as const) {
    const waits = Array.from({ length: 100 }, () => backoffMs(round));
    assert(waits.every((wait) => wait >= most / 2 && wait <= most), `round ${round}: ${waits}`);
    assert(new Set(waits).size > 50);
  }
});

Deno.test("inbox: confirms a burst once per conversation, and duplicates again", async () => {
  const sent: RequestMessage[] = [];
  const inbox = new Inbox((request) => {
    sent.push(request);
    return Promise.resolve();
  });
  const chat = (peer: number, seq: number): ChatMessage => ({
    peer,
    seq,
    id: 9,
    name: "",
    text: "",
    time: 0,
  });
  for (let seq = 1; seq <= 500; seq++) {
    for (const peer of [7, -7]) {
      assert(!inbox.isDuplicate(chat(peer, seq)));
      inbox.markShown(chat(peer, seq));
    }
  }
  await until(() => sent.length >= 2, "the confirmation");
  assertEquals(sent, [{ msgid: 21, id: 7, seq: 500 }, { msgid: 21, groupid: 7, seq: 500 }]);
  assert(inbox.isDuplicate(chat(7, 499)));
  await inbox.flush();
  assertEquals(sent.slice(2), [{ msgid: 21, id: 7, seq: 500 }]);
});

Deno.test("inbox: starts again in a new epoch, and drops the former confirmations", async () => {
  const sent: RequestMessage[] = [];
  const inbox = new Inbox((request) => Promise.resolve(void sent.push(request)));
  const chat = (seq: number): ChatMessage => ({ peer: 7, seq, id: 9, name: "", text: "", time: 0 });
  for (const epoch of ["one", "one"]) inbox.setEpoch(epoch);
  inbox.markShown(chat(3));
  inbox.setEpoch("one");
  assert(inbox.isDuplicate(chat(3)));
  inbox.setEpoch("two");
  await inbox.flush();
  assertEquals(sent, []);
  assert(!inbox.isDuplicate(chat(1)));
  inbox.markShown(chat(1));
  await inbox.flush();
  assertEquals(sent, [{ msgid: 21, id: 7, seq: 1 }]);
});

Deno.test("keys: finds the marks around a paste at any split of the input", () => {
  const text = "a\x1bb\x1b[200~one\x1b[2\rtwo\x1b[201~c\x1b[200~\x1b[201~";
  const joined = (pieces: { kind: string; text: string }[]) =>
    pieces.reduce<[string, string][]>((all, { kind, text }) => {
      const last = all.at(-1);
      if (kind === "keys" && last?.[0] === kind) last[1] += text;
      else all.push([kind, text]);
      return all;
    }, []);
  for (let first = 0; first <= text.length; first++) {
    for (let second = first; second <= text.length; second++) {
      if ([first, second].some((at) => text.slice(0, at).endsWith("\x1b") && text.startsWith("[200~", at))) {
        continue; // ESC alone is a key
      }
      const reader = new PasteReader();
      const cut = [text.slice(0, first), text.slice(first, second), text.slice(second)];
      assertEquals(
        joined(cut.flatMap((piece) => reader.push(piece))),
        [["keys", "a\x1bb"], ["paste", "one\x1b[2\rtwo"], ["keys", "c"], ["paste", ""]],
        `cut at ${first} and ${second}`,
      );
    }
  }
});

Deno.test("keys: normalizes line ends of a paste, and removes control characters", () => {
  assertEquals(cleanPaste("a\r\nb\rc\n\td\x1b[2Je\x07\x9b\r\n\n"), "a\nb\nc\n\td[2Je");
});

Deno.test("commands: lists all in help, and runs none from an incomplete line", async () => {
  for (
    const usage of ["chat:friendid:message", "creategroup:name[:desc]", "history:friendid[:seq]", "loginout"]
  ) {
    assertStringIncludes(helpText(), usage);
  }
  const wrong = [
    "chat",
    "chat:2",
    "chat:2:",
    "chat:two:hi",
    "chat:0:hi",
    "help:me",
    "history:1:x",
    "",
    ":",
  ];
  for (const line of wrong) {
    const error = await runCommand(line, {} as CommandContext).then(
      () => undefined,
      (error) => error,
    );
    assertEquals(error?.name, "CommandError", line);
  }
});

Deno.test("commands: help has no line over 80 columns", () => {
  assertEquals(helpText().split("\n").filter((line) => line.length > 80), []);
});

Deno.test("commands: accepts other usual names, a slash before a name, and names in upper case", async () => {
  const left: string[] = [];
  const printed: string[] = [];
  const context = {
    leave: (what: string) => void left.push(what),
    print: (text: string) => void printed.push(text),
  } as unknown as CommandContext;
  for (const line of ["quit", "exit", "/quit", "EXIT"]) await runCommand(line, context);
  for (const line of ["loginout", "logout", " /Logout"]) await runCommand(line, context);
  for (const line of ["help", "?", "/help", "HELP"]) await runCommand(line, context);
  assertEquals(left, [...Array(4).fill("program"), ...Array(3).fill("session")]);
  assertEquals(printed, Array(4).fill(helpText()));
  for (const text of ["chat:1:a\nb", "/chat:1:a", "CHAT:1:a", "groupchat:1:a"]) {
    assert(isChatCommand(text), text);
  }
});

Deno.test("commands: names the user's own id in an error, before any request", async () => {
  const context = { session: { contacts: { id: 7 } } } as unknown as CommandContext;
  for (const line of ["chat:7:hi", "addfriend:7"]) {
    const error = await assertRejects(() => runCommand(line, context), CommandError);
    assertEquals(error.message, "7 is your own id");
  }
});

Deno.test("commands: waits for a connection only with a command that needs the server", () => {
  for (const line of ["chat:1:a", "/friends", "History:1"]) assertEquals(needsServer(line), true, line);
  for (const line of ["quit", "exit", "logout", "help", "?", "dance", ""]) {
    assertEquals(needsServer(line), false, line);
  }
});

Deno.test("format: quotes at most 40 characters of a line in an error", () => {
  assertEquals(quoteExcerpt("chat:1:"), '"chat:1:"');
  assertEquals(quoteExcerpt("x".repeat(40)), `"${"x".repeat(40)}"`);
  assertEquals(quoteExcerpt("😀".repeat(41)), `"${"😀".repeat(39)}…"`);
});

Deno.test("format: counts the commands without a reply", () => {
  assertEquals([1, 2].map(unansweredText), [
    "the server did not reply to 1 command",
    "the server did not reply to 2 commands",
  ]);
});

async function linesOf(chunks: readonly Uint8Array[]): Promise<(string | undefined)[]> {
  return await Array.fromAsync(readLines(ReadableStream.from(chunks)));
}

Deno.test("lines: yields the same lines at any split of the input", async () => {
  const bytes = new TextEncoder().encode("a: é 中 😀\r\n\n\rb\r\r\nlast\r");
  const random = new Random(1);
  for (let round = 0; round < 100; round++) {
    const chunks = random.chunks(bytes, 1 + round % 8);
    assertEquals(await linesOf(chunks), ["a: é 中 😀", "", "\rb\r", "last\r"]);
  }
  assertEquals(await linesOf([]), []);
});

Deno.test("lines: yields undefined once, in place of an overlong line", async () => {
  const most = "x".repeat(MAX_LINE_BYTES);
  const bytes = new TextEncoder().encode(`${most}\na\n${most}x\nb\n${most}${most}\n\n${most}x`);
  for (const longest of [1_000, 65_536, bytes.length]) {
    const chunks = new Random(2).chunks(bytes, longest);
    assertEquals(await linesOf(chunks), [most, "a", undefined, "b", undefined, "", undefined]);
  }
});

Deno.test("lines: yields undefined before the end of an overlong line", async () => {
  let given = 0;
  async function* endless() {
    for (const chunk = new Uint8Array(1_000).fill(0x78);; given += chunk.length) {
      await Promise.resolve();
      assert(given < 2 * MAX_LINE_BYTES, "it was read on");
      yield chunk;
    }
  }
  assertEquals(await readLines(endless()).next(), { done: false, value: undefined });
});

Deno.test("options: parses the forms of server addresses", () => {
  const servers = (...args: string[]) => {
    const options = parseOptions(args);
    assert(typeof options !== "string");
    return options.servers.map(({ hostname, port }) => `${hostname} ${port}`);
  };
  assertEquals(servers("chat.example", "6000"), ["chat.example 6000"]);
  assertEquals(servers("::1", "6000"), ["::1 6000"]);
  assertEquals(servers("a:1", "b:2", "[::1]:3"), ["a 1", "b 2", "::1 3"]);
  for (const wrong of [["a"], ["a", "0"], ["a:1", "b"], ["::1:6000"], ["a", "1", "2"]]) {
    assertThrows(() => servers(...wrong), UsageError);
  }
});

Deno.test("options: takes an id up to 2147483647, and rejects a larger one", () => {
  const options = parseOptions(["a:1", "--id", "2147483647"]);
  assert(typeof options !== "string");
  assertEquals(options.user, { id: 2_147_483_647 });
  assertThrows(() => parseOptions(["a:1", "--id", "2147483648"]), UsageError, "--id must be");
});

Deno.test("options: rejects an option with a value that is given twice", () => {
  const repeated = (...args: string[]) =>
    assertThrows(() => parseOptions(["a:1", ...args]), UsageError).message;
  assertEquals(repeated("--user", "a", "--user", "b"), "--user is given twice");
  assertEquals(repeated("--wait=1", "--json", "--wait", "1"), "--wait is given twice");
  const options = parseOptions(["a:1", "--user", "--id", "--json", "--json"]);
  assert(typeof options !== "string");
  assertEquals(options.user, { name: "--id" }, "the value of an option is no option");
});

Deno.test("options: prints help in lines of at most 80 columns", () => {
  const help = parseOptions(["--help"]);
  assert(typeof help === "string");
  assertEquals(help.split("\n").filter((line) => line.length > 80), []);
});
