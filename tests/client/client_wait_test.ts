/**
 * Logins that the server defers: the client reports the wait and retries. Also the tokens that a login saves.
 */
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import type { Message } from "../../lib/wire/message.ts";
import { Msg } from "../../lib/wire/protocol.ts";
import { RefusedError } from "../../lib/client/incoming.ts";
import type { TokenStore } from "../../lib/client/login.ts";
import { Servers } from "../../lib/client/servers.ts";
import { ChatSession, type SessionListener } from "../../lib/client/session.ts";
import { ClientProcess } from "../harness/client_process.ts";
import { PASSWORD, Person } from "../harness/person.ts";
import { type Outcome, runClient } from "../harness/program.ts";
import { withScripted } from "../harness/scripted.ts";
import { type Address, type Server, serverTest } from "../harness/server.ts";

function client({ host, port }: Server, args: string, password = PASSWORD): Promise<Outcome> {
  return runClient([host, `${port}`, ...args.split(" ")], { env: { CHAT_PASSWORD: password } });
}

/** Makes the one failed login that alice's account may have. */
async function lockAlice(server: Server): Promise<void> {
  const made = await client(server, "--user alice --register");
  assertEquals(made.code, 0, made.stderr);
  assertEquals((await client(server, "--user alice", "guess")).code, 1);
}

serverTest("login wait: retries a deferred password until the server accepts it", {
  // The server closes a connection without a login before that.
  args: ["--max-failed-logins", "1", "--attempts-window", "15s", "--login-timeout", "2s"],
}, async (server) => {
  await lockAlice(server);
  const { code, stdout, stderr } = await client(server, "--user alice --json");
  assertEquals(code, 0, stderr);
  assertMatch(stderr, /^the server deferred a request: too many wrong passwords .*; retrying in \d+ s$/m);
  assertMatch(stdout, /"msgid":2,"errno":0/);
});

serverTest("login wait: ends after its maximum time, at Ctrl-C and at SIGINT", {
  args: ["--max-failed-logins", "1", "--attempts-window", "12h"],
}, async (server) => {
  await lockAlice(server);
  const given = await client(server, "--user alice --login-wait 1");
  assertEquals(given.code, 1);
  assertMatch(given.stderr, /^Cannot log in: too many wrong passwords [^\n]*\n$/);

  const env = { CHAT_PASSWORD: PASSWORD };
  await using alice = new Person(server, ["--user", "alice"], { env });
  await alice.sees(
    /^\* the server deferred a request: too many wrong .*; retrying in \d+ s \(Ctrl-C cancels\)$/,
  );
  await alice.types("\x03");
  assertEquals(await alice.client.end(), 0);

  await using script = new ClientProcess([server.host, `${server.port}`, "--user", "alice"], { env });
  await script.until(({ stderr }) => stderr.includes("retrying in"), "the wait");
  script.signal("SIGINT");
  assertEquals(await script.end(), 1); // no request succeeded
  assertEquals(script.stderr.includes("Cannot log in"), false, script.stderr);
});

const later = (ms: number) => ({ msgid: Msg.LOGIN_ACK, errno: 8, errmsg: "busy", retry_after: ms });
const ACK = { msgid: Msg.LOGIN_ACK, errno: 0, id: 1, name: "me", token: "1.t", friends: [], groups: [] };
const SIGNAL = new AbortController().signal; // never aborts

/** A listener that only records deferred requests. */
class Silent implements SessionListener {
  readonly waits: number[] = [];
  onMessage(): void {}
  onOnline(_contacts: unknown, _again: boolean): void {}
  onOffline(): void {}
  onDeferred(_: string, ms: number): void {
    this.waits.push(ms);
  }
  askPassword(): Promise<undefined> {
    return Promise.resolve(undefined);
  }
  confirmTakeover(): Promise<boolean> {
    return Promise.resolve(false);
  }
}

/** Returns the scripted server as the only one. */
function serversAt({ host, port }: Address): Servers {
  return new Servers([{ hostname: host, port }]);
}

function open(at: Address, listener: SessionListener, loginWait: number): Promise<ChatSession> {
  return ChatSession.open(serversAt(at), { id: 1 }, { password: "x", loginWait }, listener, SIGNAL);
}

Deno.test("login wait: waits as long as its maximum time, and no longer", async () => {
  let asked = 0;
  const answer = () => ++asked === 1 ? later(1_500) : ACK;
  await withScripted(1, answer, async (at) => {
    await assertRejects(() => open(at, new Silent(), 1_499), RefusedError, "busy");
  });
  assertEquals(asked, 1);
  asked = 0;
  const listener = new Silent();
  await withScripted(1, answer, async (at) => {
    await (await open(at, listener, 60_000)).close();
  });
  assertEquals([asked, listener.waits], [2, [1_500]]);
});

Deno.test("login wait: backs off with a server that asks for retries at once", async () => {
  let asked = 0;
  const answer = () => {
    asked++;
    return later(0);
  };
  await withScripted(1, answer, async (at) => {
    await assertRejects(() => open(at, new Silent(), 4_000), RefusedError, "busy");
  });
  // Five waits of 20 ms, then at least 125 ms, doubling each time. Waits of 20 ms would be two hundred tries.
  assert(asked >= 2 && asked <= 12, `${asked}`);
});

Deno.test("login wait: retries after a closed connection only for a deferred login", async () => {
  let asked = 0;
  const listener = new Silent();
  await withScripted(2, () => [later(20), "end" as const, ACK][asked++]!, async (at) => {
    await (await open(at, listener, 60_000)).close();
  });
  assertEquals(asked, 3);
  await withScripted(1, () => "end", async (at) => {
    const error = await assertRejects(() => open(at, listener, 60_000), Error);
    assertStringIncludes(error.message, "the server closed the connection");
  });
});

Deno.test("login wait: closes the connection during a long wait", async () => {
  let asked = 0;
  const listener = new Silent();
  await withScripted(2, () => ++asked === 1 ? later(10_500) : ACK, async (at) => {
    await (await open(at, listener, 60_000)).close(); // the server accepts it after the end of the first one
  });
  assertEquals([asked, listener.waits], [2, [10_500]]);
});

Deno.test("login: saves each new token, uses the last one, and removes it at a logout", async () => {
  const events: string[] = [];
  const tokenStore: TokenStore = {
    save: ({ id, name, token }) => void events.push(`save ${id} ${name} ${token}`),
    remove: (token) => void events.push(`remove ${token}`),
  };
  const answer = ({ msgid, token, password }: Message) => {
    if (msgid === Msg.LOGOUT) return { msgid: Msg.ACK, of: Msg.LOGOUT, errno: 0 };
    if (msgid !== Msg.LOGIN) return "end" as const;
    events.push(`login ${token ?? password}`);
    return { ...ACK, token: token === undefined ? "1.first" : "1.second" };
  };
  await withScripted(2, answer, async (at) => {
    const listener = new Silent();
    const again = Promise.withResolvers<void>();
    listener.onOnline = (_: unknown, isAgain: boolean) => isAgain ? again.resolve() : undefined;
    const session = await ChatSession.open(
      serversAt(at),
      { id: 1 },
      { password: "x", tokenStore },
      listener,
      SIGNAL,
    );
    // The server closes the connection.
    const lost = session.request({ msgid: Msg.CREATE_GROUP }, false).catch(() => {});
    await again.promise;
    await lost;
    await session.logOut();
  });
  const saved = ["login x", "save 1 me 1.first", "login 1.first", "save 1 me 1.second"];
  assertEquals(events, [...saved, "remove 1.second"]);
});
