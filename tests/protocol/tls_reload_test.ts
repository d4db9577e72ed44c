/** The renewal of a certificate by SIGHUP, which disturbs no client. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { Errno } from "../harness/protocol_numbers.ts";
import { FramedClient, newUser } from "../harness/framed_client.ts";
import { type Server, withServer } from "../harness/server.ts";
import { Authority, type Certificate, tlsArgs } from "../harness/tls.ts";
import { events } from "../harness/workers.ts";
import { pause, until, within } from "../harness/wait.ts";

const HOST = "127.0.0.1";
const RELOADS = 20;
/**
 * Milliseconds between two connections of each loop. Without a pause the loops would occupy all file threads
 * of this process, as its runtime uses one for some time to close a TLS connection.
 */
const PAUSE_MS = 10;
const RELOADED = "TLS certificate reloaded";
const NOT_RELOADED = "Cannot reload the TLS certificate";

/** Two authorities with a certificate each, and the path of the server's certificate. */
interface Certificates {
  readonly authorities: readonly [Authority, Authority];
  readonly place: Certificate;
  /** Copies the certificate of one authority to the server's path. */
  put(which: 0 | 1): void;
}

async function withCertificates(body: (certificates: Certificates) => Promise<void>): Promise<void> {
  await using first = await Authority.make();
  await using second = await Authority.make();
  const issued = [await first.issue(HOST), await second.issue(HOST)] as const;
  const place = { cert: `${first.caFile}.cert`, key: `${first.caFile}.key` };
  const put = (which: 0 | 1) => {
    Deno.copyFileSync(issued[which].cert, place.cert);
    Deno.copyFileSync(issued[which].key, place.key);
  };
  put(0);
  await body({ authorities: [first, second], place, put });
}

/** Sends SIGHUP, and waits until all nodes of the server have read the certificate. */
async function reload(server: Server, nodes = 1, event = RELOADED): Promise<void> {
  const from = server.logSize;
  server.kill("SIGHUP");
  await until(() => events(server, event, from).length === nodes, `a line ${event} of each node`);
}

/** Connects and trusts these authorities only. Rejects for a certificate of another one. */
async function connect({ port }: Server, ...trusted: readonly Authority[]): Promise<void> {
  using conn = await Deno.connectTls({ hostname: HOST, port, caCerts: trusted.map(({ ca }) => ca) });
  await within(conn.handshake(), "the handshake");
}

Deno.test("tls: renews the certificate at SIGHUP without refusing or ending a connection", () =>
  withCertificates(async ({ authorities, place, put }) => {
    const [first, second] = authorities;
    await withServer({ args: tlsArgs(place), ca: first.ca + second.ca }, async (server) => {
      await using alice = await newUser(server);
      await using bob = await newUser(server);
      await connect(server, first);
      let isOver = false;
      let connected = 0;
      const hammer = async () => {
        for (; !isOver; connected++) {
          await connect(server, first, second);
          await pause(PAUSE_MS);
        }
      };
      const hammers = Array.from({ length: 3 }, hammer);
      try {
        for (let round = 1; round <= RELOADS; round++) {
          const which = round % 2 === 1 ? 1 : 0;
          put(which);
          await reload(server);
          await connect(server, authorities[which]);
          await assertRejects(() => connect(server, authorities[1 - which]!), Error, "UnknownIssuer");
          assertEquals((await alice.chat(bob.id, `${round}`)).errno, Errno.OK);
          const before = connected;
          await until(() => connected > before, "others to connect");
        }
      } finally {
        isOver = true;
        await Promise.all(hammers); // rejects when a connection was refused or reset
      }
      for (let round = 1; round <= RELOADS; round++) {
        assertEquals((await bob.next(({ msg }) => msg !== undefined)).msg, `${round}`);
      }
      assert(server.running);
    });
  }));

Deno.test("tls: retains the certificate on every worker when files are invalid at SIGHUP", () =>
  withCertificates(async ({ authorities, place, put }) => {
    const [first, second] = authorities;
    const args = [...tlsArgs(place), "--workers", "2"];
    await withServer({ args, ca: first.ca }, async (server) => {
      await Deno.writeTextFile(place.cert, "no certificate");
      await reload(server, 2, NOT_RELOADED);
      put(1);
      await Deno.copyFile((await first.issue(HOST)).key, place.key);
      await reload(server, 2, NOT_RELOADED);
      for (let at = 0; at < 10; at++) await connect(server, first);
      await using client = await FramedClient.connect(server);
      await client.settle();
      put(1);
      await reload(server, 2);
      for (let at = 0; at < 10; at++) await connect(server, second); // reaches both workers
      await client.settle();
    });
  }));
