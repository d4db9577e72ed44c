/** A server's certificate is renewed while it runs: SIGHUP reloads it without disturbing clients. */
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
 * Milliseconds between two connections of each client. Without a pause the clients would use up the runtime's
 * threads for files: it occupies one for some time to close a TLS connection.
 */
const PACE = 10;
const AGAIN = "TLS certificate reloaded";
const NOT_AGAIN = "cannot reload the TLS certificate";

/** Two authorities with a certificate each, and the files of the certificate that the server uses. */
interface Certificates {
  readonly authorities: readonly [Authority, Authority];
  readonly place: Certificate;
  /** Installs the certificate of the first or the second authority. */
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

/** Makes all nodes of the server reload the certificate. */
async function reload(server: Server, nodes = 1, event = AGAIN): Promise<void> {
  const from = server.logSize;
  server.kill("SIGHUP");
  await until(() => events(server, event, from).length === nodes, `a line ${event} of each node`);
}

/** Connects with these trusted authorities. Rejects if the server's certificate is of none of them. */
async function connect({ port }: Server, ...trusted: readonly Authority[]): Promise<void> {
  using conn = await Deno.connectTls({ hostname: HOST, port, caCerts: trusted.map(({ ca }) => ca) });
  await within(conn.handshake(), "the handshake");
}

Deno.test("tls: SIGHUP reloads the certificate, and no connection is refused or closed", () =>
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
          await pause(PACE);
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
        await Promise.all(hammers); // rejected if any was refused or reset
      }
      for (let round = 1; round <= RELOADS; round++) {
        assertEquals((await bob.next(({ msg }) => msg !== undefined)).msg, `${round}`);
      }
      assert(server.running);
    });
  }));

Deno.test("tls: invalid files leave the certificate unchanged on every worker, and valid ones replace it", () =>
  withCertificates(async ({ authorities, place, put }) => {
    const [first, second] = authorities;
    const args = [...tlsArgs(place), "--workers", "2"];
    await withServer({ args, ca: first.ca }, async (server) => {
      await Deno.writeTextFile(place.cert, "no certificate");
      await reload(server, 2, NOT_AGAIN);
      put(1);
      await Deno.copyFile((await first.issue(HOST)).key, place.key);
      await reload(server, 2, NOT_AGAIN);
      for (let at = 0; at < 10; at++) await connect(server, first);
      await using client = await FramedClient.connect(server);
      await client.settle();
      put(1);
      await reload(server, 2);
      for (let at = 0; at < 10; at++) await connect(server, second); // some of them on either worker
      await client.settle();
    });
  }));
