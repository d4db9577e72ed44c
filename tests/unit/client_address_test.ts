/** The client addresses of connections, without a socket. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { defaults } from "../../lib/config/config.ts";
import { Log } from "../../lib/log.ts";
import { ClientAddresses } from "../../lib/server/net/client_address.ts";

const LOCAL = new TextEncoder().encode("PROXY UNKNOWN\r\n");

function fromProxy(proxyRequired: "yes" | "no") {
  const config = { ...defaults(), trustedProxies: "192.0.2.1", proxyRequired };
  const addresses = new ClientAddresses(new Log("error", "text", () => {}), config);
  return addresses.resolve({ transport: "tcp", hostname: "192.0.2.1", port: 5_000 });
}

Deno.test("client address: a header without an address is the whole wait for one, unless one is required", () => {
  const optional = fromProxy("no");
  assertEquals(optional.stripHeader(LOCAL)?.length, 0);
  assert(optional.slot, "it may be silent, as all clients may");
  const required = fromProxy("yes");
  assertEquals([required.stripHeader(LOCAL), required.slot], [undefined, undefined], "a health check");
  assertThrows(() => required.stripHeader(new Uint8Array([0])), Error, "no address of a client");
});
