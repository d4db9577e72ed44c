/** TLS to the database: the server is who it says it is, or no password is sent; and nothing falls back to plain text. */
import { assertEquals, assertLess, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { parseAddress } from "../../lib/store/mysql/address.ts";
import { reasonOf, toConnectError } from "../../lib/store/mysql/errors.ts";
import { MysqlStore } from "../../lib/store/mysql/mysql_store.ts";
import { describeUpgrade } from "../../lib/store/mysql/upgrade_check.ts";
import { database } from "../harness/database_program.ts";
import { type Mariadb, startMariadb } from "../harness/mariadb.ts";
import { Relay } from "../harness/relay.ts";
import { Authority } from "../harness/tls.ts";
import { granted, makeUsers, ROOMY, send, whole } from "./store_fixture.ts";

const DATABASE = "chat";
const ADDRESS = "127.0.0.1";
const NAME = "localhost";

/** A server with a certificate for a host, and an account that demands TLS. */
async function startTls(authority: Authority, host: string): Promise<Mariadb> {
  const { cert, key } = await authority.issue(host);
  const server = await startMariadb({ args: [`--ssl-cert=${cert}`, `--ssl-key=${key}`] });
  await server.sql(`CREATE USER careful@'${ADDRESS}' REQUIRE SSL`);
  await server.sql(`GRANT ALL ON *.* TO careful@'${ADDRESS}'`);
  return server;
}

function open(url: string, ca?: string): Promise<MysqlStore> {
  const options = { log: { info() {}, warn() {} }, maxConnections: 2, ...(ca === undefined ? {} : { ca }) };
  return MysqlStore.open(url, ROOMY, options);
}

function urlOf(scheme: string, host: string, { port }: Mariadb, user = "careful"): string {
  return `${scheme}://${user}@${host}:${port}/${DATABASE}`;
}

/** A certificate's name as the runtime writes it. */
function alternative(host: string): string {
  return host === ADDRESS ? `IP Address:${host}` : `DNS:${host}`;
}

for (const [right, wrong] of [[ADDRESS, NAME], [NAME, ADDRESS]] as const) {
  Deno.test(`mysql: TLS is to the server with the certificate for ${right}, and to no other`, async () => {
    await using authority = await Authority.make();
    await using stranger = await Authority.make();
    await using server = await startTls(authority, right);
    for (const scheme of ["mysql", "mysqls"]) {
      const store = await open(urlOf(scheme, right, server), authority.ca);
      try {
        const [a, b] = await makeUsers(store, 2) as [number, number];
        granted(await send(store, a, b, "1"));
      } finally {
        await store.close();
        await server.sql(`DROP DATABASE ${DATABASE}`);
      }
    }
    await describeUpgrade(urlOf("mysqls", right, server), { ca: authority.ca });
    const refusals: readonly [host: string, ca: string | undefined, words: string][] = [
      [wrong, authority.ca, `certificate is not for ${wrong}, but for ${alternative(right)}`],
      [right, stranger.ca, "--mysql-ca must name the file of the authority"],
      [right, undefined, "--mysql-ca must name the file of the authority"],
    ];
    for (const [host, ca, words] of refusals) {
      await assertRejects(() => open(urlOf("mysqls", host, server), ca), Error, words);
      await assertRejects(
        () => describeUpgrade(urlOf("mysqls", host, server), ca ? { ca } : {}),
        Error,
        words,
      );
    }
  });
}

Deno.test("mysql: without TLS, an account that demands it is told so, and TLS that isn't offered is not done without", async () => {
  await using authority = await Authority.make();
  await using server = await startTls(authority, ADDRESS);
  const url = urlOf("mysql", ADDRESS, server);
  for (const use of [open, describeUpgrade] as ((url: string) => Promise<unknown>)[]) {
    await assertRejects(() => use(url), Error, "the server demands TLS of this account, or");
  }
  await server.sql("SET GLOBAL require_secure_transport = ON");
  await assertRejects(() => open(urlOf("mysql", ADDRESS, server, "root")), Error, "the server demands TLS");
  await using plain = await startMariadb({ args: database.plain });
  const error = await assertRejects(() => open(urlOf("mysqls", ADDRESS, plain, "root"), authority.ca), Error);
  assertStringIncludes(error.message, "the server offers no TLS");
});

Deno.test("mysql: a server's refusal of plain text says what to do", () => {
  const refused = Object.assign(new Error("insecure transport"), {
    errno: 3_159,
    sqlState: "HY000",
    code: "X",
  });
  assertStringIncludes(
    reasonOf(toConnectError(refused, false, true, ADDRESS)),
    "the server demands TLS; mysqls://",
  );
  const denied = Object.assign(new Error("Access denied"), { errno: 1_045, sqlState: "28000", code: "X" });
  assertStringIncludes(reasonOf(toConnectError(denied, false, true, ADDRESS)), "TLS");
  assertEquals(reasonOf(toConnectError(denied, true, true, ADDRESS)).includes("TLS"), false);
});

Deno.test("mysql: what is wrong with a server's certificate is said, with the option that mends it", () => {
  const told = (message: string) => reasonOf(toConnectError(new Error(message), true, true, ADDRESS));
  for (
    const words of [
      "certificate has expired",
      "self-signed certificate in certificate chain",
      "unable to verify the first certificate",
    ]
  ) {
    assertStringIncludes(told(words), `is not trusted (${words}): --mysql-ca`);
  }
  assertStringIncludes(told("connect ECONNREFUSED"), "the database can't be reached: connect ECONNREFUSED");
});

Deno.test("mysql: mysqls:// or an authority makes the connections TLS", () => {
  const verified = { rejectUnauthorized: true, verifyIdentity: true } as const;
  assertEquals(parseAddress("mysqls://ann@host/chat").tls, verified);
  assertEquals(parseAddress("mysql://ann@host/chat", { ca: "PEM" }).tls, { ...verified, ca: "PEM" });
  assertEquals(parseAddress("mysql://ann@host/chat").tls, undefined);
  assertThrows(() => parseAddress("mysqlss://ann@host/chat"), Error);
});

Deno.test("mysql: by TLS too a large answer is waited for as long as more of it comes", async () => {
  await using authority = await Authority.make();
  await using server = await startTls(authority, ADDRESS);
  await using relay = new Relay(server);
  const store = await open(`mysqls://careful@${ADDRESS}:${relay.port}/${DATABASE}`, authority.ca);
  try {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    const body = "x".repeat(8_000);
    const cids = Array.from({ length: 40 }, (_, i) => `${i}`);
    await Promise.all(cids.map((cid) => send(store, a, b, cid, { body })));
    relay.speed = 25_000;
    const began = performance.now();
    assertEquals((await whole(store, a, b)).length, cids.length);
    assertLess(11_000, performance.now() - began, "longer than silence is waited for");
  } finally {
    await store.close();
  }
});
