/** The client on a terminal: a pseudo-terminal of script(1), and the screen that a user would see. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { FramedClient } from "../harness/framed_client.ts";
import { logIn, PASSWORD, Person, register } from "../harness/person.ts";
import { runClient } from "../harness/program.ts";
import { serverTest } from "../harness/server.ts";
import { pause } from "../harness/wait.ts";

serverTest("terminal: registers and logs in by the menu without showing a password", {}, async (server) => {
  await using alice = new Person(server);
  await register(alice, "alice");
  await logIn(alice, "alice");
  await alice.atPrompt("alice> ");
  await alice.sees(/^Logged in as alice \(1\)/);
  await alice.sees(/^Friends: none yet$/);
  await alice.types("\x1b[A"); // the arrow key up must not show a name or a password
  await alice.types("creategroup:club:all: welcome\r");
  await alice.sees(/^created the group club \(1\)$/);
  await alice.types("loginout\r");
  await alice.atPrompt("choice: ");
  await alice.types("\x1b[A"); // nor a command, to the next user
  await logIn(alice, "1");
  await alice.sees(/^ {4}alice \(1\) online creator$/);
  await alice.types("quit\r");
  assertEquals(await alice.client.end(), 0);
  assertEquals(alice.client.stdout.includes(PASSWORD), false);
});

serverTest("terminal: reports an empty password without sending it", {}, async (server) => {
  await using alice = new Person(server);
  await alice.atPrompt("choice: ");
  for (
    const [choice, question, failure] of [["1", "user id or name", "login"], ["2", "name", "registration"]]
  ) {
    await alice.types(`${choice}\r`);
    await alice.atPrompt(`${question}: `);
    await alice.types("alice\r");
    await alice.atPrompt("password: ");
    await alice.types("\r");
    await alice.sees(new RegExp(`^${failure} failed: the password is empty$`));
    await alice.atPrompt("choice: ");
  }
});

serverTest("terminal: keeps the typed line when a message arrives", {}, async (server) => {
  const env = { CHAT_PASSWORD: PASSWORD };
  const to = [server.host, `${server.port}`];
  await using alice = new Person(server);
  await register(alice, "alice");
  await logIn(alice, "alice");
  await alice.atPrompt("alice> ");
  await alice.types("chat:2:half a though");
  await alice.types("\x1b[D\x1b[D\x1b[D"); // the arrow key left moves the cursor into the word
  await alice.atPrompt("alice> chat:2:half a though");
  const sent = await runClient([...to, "--user", "bob", "--register"], { env, stdin: "chat:1:\x1b[2Jboo\n" });
  assertEquals(sent.code, 0, sent.stderr);
  await alice.sees(/^\[\d\d:\d\d\] bob \(2\): ␛\[2Jboo$/);
  await alice.atPrompt("alice> chat:2:half a though");
  await alice.types("!\x05t\r"); // first at the cursor, then at the end
  await alice.sees(/^sent to 2 as #2$/);
  assertMatch(alice.screen.join("\n"), /^alice> chat:2:half a tho!ught$/m);
  await alice.types("\x03"); // Ctrl-C
  assertEquals(await alice.client.end(), 0);
  const read = await runClient([...to, "--user", "bob"], { env, stdin: "history:1\n" });
  assertMatch(read.stdout, /half a tho!ught$/m);
});

serverTest("terminal: sends messages typed without a connection after the reconnect", {}, async (server) => {
  await using alice = new Person(server);
  await register(alice, "bob");
  await register(alice, "alice");
  await logIn(alice, "alice");
  await alice.atPrompt("alice> ");
  server.kill("SIGKILL");
  await server.wait();
  await alice.sees(/^\* connection lost: /);
  await alice.types("help\r"); // needs no server, so the client prints no note
  await alice.sees(/^ {2}quit +leave the program$/);
  assertEquals(alice.client.stdout.includes("* not connected"), false);
  await alice.types("chat:1:are you there?\r");
  await alice.sees(/^\* not connected: /);
  await server.restart();
  await alice.sees(/^\* reconnected$/);
  await alice.sees(/^sent to 1 as #1$/);
  await alice.atPrompt("alice> ");
});

serverTest("terminal: asks for the password after the token's expiry, and keeps the typed line", {
  args: ["--token-ttl", "1s", "--max-failed-logins", "1"],
}, async (server) => {
  await using alice = new Person(server);
  await register(alice, "alice");
  await logIn(alice, "alice");
  await alice.atPrompt("alice> ");
  await alice.types("chat:1:unfin");
  await alice.atPrompt("alice> chat:1:unfin");
  server.kill("SIGKILL");
  await server.wait();
  await alice.sees(/^\* connection lost: /);
  await pause(1_100); // longer than the token's lifetime
  await server.restart();
  await alice.atPrompt("password: ");
  // The expired token proves a known device, so failed logins from its address do not delay it.
  await using guesser = await FramedClient.connect(server);
  const guess = { msgid: Msg.LOGIN, name: "alice", password: "guess" };
  assertEquals((await guesser.request(guess)).errno, Errno.FAILED);
  assertEquals((await guesser.request(guess)).errno, Errno.RATE_LIMITED);
  await alice.types(`${PASSWORD}\r`);
  await alice.sees(/^\* reconnected$/);
  await alice.atPrompt("alice> chat:1:unfin");
  await alice.types("\x15quit\r"); // Ctrl-U clears the line
  assertEquals(await alice.client.end(), 0);
  assertEquals(alice.client.stdout.includes(PASSWORD), false);
});

serverTest("terminal: ends at Ctrl-D and Ctrl-C in any session", {}, async (server) => {
  for (const [name, key] of [["alice", "\x04"], ["bob", "\x03"]] as const) {
    await using person = new Person(server);
    await register(person, name);
    await logIn(person, name);
    await person.atPrompt(`${name}> `);
    await person.types("loginout\r");
    await logIn(person, name);
    await person.atPrompt(`${name}> `);
    await person.types(key);
    assertEquals(await person.client.end(), 0);
  }
});

serverTest("terminal: takes an account over after a confirmation", {}, async (server) => {
  await using alice = new Person(server);
  await register(alice, "alice");
  await logIn(alice, "alice");
  await alice.atPrompt("alice> ");
  await using second = new Person(server);
  await logIn(second, "alice");
  await second.atPrompt("This account is in use elsewhere. Take it over? (y/n) ");
  await second.types("n\r");
  await second.sees(/^login failed: the account is in use on another connection$/);
  await logIn(second, "alice");
  await second.atPrompt("This account is in use elsewhere. Take it over? (y/n) ");
  await second.types("y\r");
  await second.atPrompt("alice> ");
  await alice.sees(/^the server ended the session: /);
  await alice.atPrompt("choice: ");
  await alice.types("3\r");
  assertEquals(await alice.client.end(), 0);
});

/** A paste of a terminal that marks pastes, and of one that does not. */
const PASTES: readonly (readonly [string, (text: string) => string])[] = [
  ["marked", (text) => `\x1b[200~${text}\x1b[201~`],
  ["unmarked", (text) => text],
];

for (const [kind, paste] of PASTES) {
  serverTest(
    `terminal: asks before it sends or runs several pasted lines: ${kind}`,
    {},
    async (server) => {
      const env = { CHAT_PASSWORD: PASSWORD };
      const to = [server.host, `${server.port}`];
      await using alice = new Person(server);
      await register(alice, "bob");
      await register(alice, "alice");
      await logIn(alice, "alice");
      await alice.atPrompt("alice> ");
      assert(alice.client.stdout.includes("\x1b[?2004h"));

      await alice.types(paste("friends\rquit\u2028chat:1:no\r")); // readline also ends lines at U+2028
      await alice.atPrompt("Run the 3 pasted lines as commands? (y/n) ");
      await alice.types("n\r");
      await alice.sees(/^\* dropped the 3 pasted lines$/);
      await alice.atPrompt("alice> ");

      await alice.types("chat:1:");
      await alice.atPrompt("alice> chat:1:");
      await alice.types(paste("one: é\r\nquit\n\u2029three\r"));
      await alice.atPrompt("Send the 4 pasted lines as one message? (y/n) ");
      await alice.types(paste("y\ry\ry\r"));
      await alice.sees(/^\* a paste of several lines cannot be an answer$/);
      await alice.types("y\r");
      await alice.sees(/^sent to 1 as #1$/);
      await alice.atPrompt("alice> ");
      await alice.types("quit\r");
      assertEquals(await alice.client.end(), 0);
      assert(alice.client.stdout.includes("\x1b[?2004l"));

      const read = await runClient([...to, "--user", "bob", "--json"], { env, stdin: "history:2\n" });
      assertEquals(read.stdout.match(/"msg":"(.*?)"/)?.[1], "one: é\\nquit\\n\\nthree", read.stdout);
      assertEquals(read.stdout.includes('"no"'), false);
    },
  );
}

serverTest("terminal: runs one pasted line only after Enter", {}, async (server) => {
  await using alice = new Person(server);
  await register(alice, "alice");
  await logIn(alice, "alice");
  await alice.atPrompt("alice> ");
  await alice.types("\x1b[200~quit\r\x1b[20");
  await alice.types("1~"); // the mark may arrive in pieces
  await alice.atPrompt("alice> quit");
  await alice.types("\r");
  assertEquals(await alice.client.end(), 0);
});

serverTest("terminal: runs a command pasted after a login only after Enter", {}, async (server) => {
  await using alice = new Person(server);
  await register(alice, "alice");
  await alice.types(`1\ralice\r${PASSWORD}\rcreategroup:team:of pasted\r`);
  await alice.atPrompt("alice> creategroup:team:of pasted");
  await alice.types("\x15quit\r"); // Ctrl-U clears the line
  assertEquals(await alice.client.end(), 0);
  const env = { CHAT_PASSWORD: PASSWORD };
  const to = [server.host, `${server.port}`, "--user", "alice", "--no-save"];
  const { stdout } = await runClient(to, { env, stdin: "groups\n" });
  assertEquals(stdout.includes("team"), false, stdout);
});

serverTest(
  "terminal: logs in with a name of digits after name: or beyond the range of ids",
  {},
  async (server) => {
    await using alice = new Person(server);
    for (const name of ["2", "15551234567", "777"]) await register(alice, name);
    for (
      const [typed, name] of [["name:2", "2"], ["15551234567", "15551234567"], [
        "name:777",
        "777",
      ]] as const
    ) {
      await logIn(alice, typed);
      await alice.atPrompt(`${name}> `);
      await alice.types("loginout\r");
    }
    // A try with the name would count as a failed login of another user.
    await logIn(alice, "777");
    await alice.sees(/^\* if 777 is a name, write name:777$/);
    await alice.atPrompt("choice: ");
    const env = { CHAT_PASSWORD: PASSWORD };
    const sent = await runClient([server.host, `${server.port}`, "--user", "name:2"], {
      env,
      stdin: "chat:2:hi\n",
    });
    assertEquals(sent.code, 0, sent.stderr);
  },
);

serverTest(
  "terminal: releases the terminal at Ctrl-Z, and restores the typed line",
  {},
  async (server) => {
    await using alice = new Person(server);
    await register(alice, "alice");
    await logIn(alice, "alice");
    await alice.atPrompt("alice> ");
    await alice.types("half");
    await alice.atPrompt("alice> half");
    await alice.types("\x1a"); // stops nothing here, without a shell that could resume it
    await alice.client.until(
      ({ stdout }) => /2004l[^]*2004h/.test(stdout),
      "the marks around pastes off, and on",
    );
    await alice.types("s\x17quit\r"); // Ctrl-W deletes the word
    assertEquals(await alice.client.end(), 0);
  },
);
