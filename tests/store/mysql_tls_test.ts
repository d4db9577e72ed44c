/**
 * TLS to the database: the password goes only to a server with a valid certificate, and never over plain TCP.
 */
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

/** Starts a server with a certificate for a host, and an account that requires TLS. */
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

/** Returns a certificate's name in the runtime's notation. */
function alternative(host: string): string {
  return host === ADDRESS ? `IP Address:${host}` : `DNS:${host}`;
}

for (const [right, wrong] of [[ADDRESS, NAME], [NAME, ADDRESS]] as const) {
  Deno.test(`mysql TLS: accepts the certificate for ${right}, and no other`, async () => {
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
    const refusals: readonly [host: string, ca: string | undefined, message: string][] = [
      [wrong, authority.ca, `certificate is not for ${wrong}, but for ${alternative(right)}`],
      [right, stranger.ca, "set --mysql-ca to the file of the authority"],
      [right, undefined, "set --mysql-ca to the file of the authority"],
    ];
    for (const [host, ca, message] of refusals) {
      await assertRejects(() => open(urlOf("mysqls", host, server), ca), Error, message);
      await assertRejects(
        () => describeUpgrade(urlOf("mysqls", host, server), ca ? { ca } : {}),
        Error,
        message,
      );
    }
  });
}

Deno.test("mysql TLS: an account that requires TLS, or a server without it, is an error", async () => {
  await using authority = await Authority.make();
  await using server = await startTls(authority, ADDRESS);
  const url = urlOf("mysql", ADDRESS, server);
  for (const use of [open, describeUpgrade] as ((url: string) => Promise<unknown>)[]) {
    await assertRejects(() => use(url), Error, "name or password is wrong, or the account requires TLS");
  }
  await server.sql("SET GLOBAL require_secure_transport = ON");
  await assertRejects(() => open(urlOf("mysql", ADDRESS, server, "root")), Error, "requires TLS");
  await using plain = await startMariadb({ args: database.plain });
  const error = await assertRejects(() => open(urlOf("mysqls", ADDRESS, plain, "root"), authority.ca), Error);
  assertStringIncludes(error.message, "the server does not support TLS");
});

Deno.test("mysql TLS: a rejection of a connection without TLS names the option", () => {
  const refused = Object.assign(new Error("insecure transport"), {
    errno: 3_159,
    sqlState: "HY000",
    code: "X",
  });
  assertStringIncludes(
    reasonOf(toConnectError(refused, false, true, ADDRESS)),
    "the server requires TLS; mysqls://",
  );
  const denied = Object.assign(new Error("Access denied"), { errno: 1_045, sqlState: "28000", code: "X" });
  assertStringIncludes(reasonOf(toConnectError(denied, false, true, ADDRESS)), "TLS");
  assertEquals(reasonOf(toConnectError(denied, true, true, ADDRESS)).includes("TLS"), false);
});

Deno.test("mysql TLS: names the fault of a certificate, and the option", () => {
  const textOf = (message: string) => reasonOf(toConnectError(new Error(message), true, true, ADDRESS));
  for (
    const message of [
      "certificate has expired",
      "self-signed certificate in certificate chain",
      "unable to verify the first certificate",
    ]
  ) {
    assertStringIncludes(textOf(message), `is not trusted (${message}): set --mysql-ca`);
  }
  assertStringIncludes(textOf("connect ECONNREFUSED"), "the database is unreachable: connect ECONNREFUSED");
});

Deno.test("mysql TLS: is on with mysqls:// or an authority", () => {
  const verified = { rejectUnauthorized: true, verifyIdentity: true } as const;
  assertEquals(parseAddress("mysqls://ann@host/chat").tls, verified);
  assertEquals(parseAddress("mysql://ann@host/chat", { ca: "PEM" }).tls, { ...verified, ca: "PEM" });
  assertEquals(parseAddress("mysql://ann@host/chat").tls, undefined);
  assertThrows(() => parseAddress("mysqlss://ann@host/chat"), Error);
});

Deno.test("mysql TLS: waits for a large reply as long as bytes arrive", async () => {
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
