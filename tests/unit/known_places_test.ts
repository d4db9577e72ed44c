/** The places from which users have logged in before. */
import { assertEquals } from "@std/assert";
import { KnownPlaces, type LoginPlace } from "../../lib/server/limits/known_places.ts";

const DEVICE = Uint8Array.of(1, 2, 254, 255, 0, 6, 7, 8);

Deno.test("known places: knows an address when the user has logged in from it", () => {
  const places = new KnownPlaces();
  const unknown: LoginPlace = { address: "192.0.2.1", knownBy: undefined, standing: "new" };
  assertEquals(places.get(1, "192.0.2.1"), unknown);
  places.add(1, "192.0.2.1");
  assertEquals(places.get(1, "192.0.2.1"), {
    address: "192.0.2.1",
    knownBy: "address 192.0.2.1",
    standing: "known",
  });
  assertEquals(places.get(2, "192.0.2.1"), unknown);
  assertEquals(places.get(undefined, "192.0.2.1"), unknown);
  assertEquals(places.get(1, "192.0.2.2"), { ...unknown, address: "192.0.2.2" });
  places.add(1, undefined); // an address that isn't counted tells of no place
  assertEquals(places.get(1, undefined), { ...unknown, address: undefined });
});

Deno.test("known places: prefers the device to the address, and needs no address", () => {
  const places = new KnownPlaces();
  places.add(1, "192.0.2.1");
  for (const address of ["192.0.2.1", "192.0.2.2", undefined]) {
    assertEquals(places.get(1, address, DEVICE), {
      address,
      knownBy: "device 0102feff00060708",
      standing: "known",
    });
  }
});

Deno.test("known places: gives priority to five logins per address, and to five of all devices", () => {
  const places = new KnownPlaces();
  for (const address of ["192.0.2.1", "192.0.2.2"]) places.add(1, address);
  const standings = (ask: (at: number) => string) => Array.from({ length: 6 }, (_, at) => ask(at)).join(" ");
  const five = "known known known known known frequent";
  assertEquals(standings(() => places.get(1, "192.0.2.1").standing), five);
  assertEquals(standings(() => places.get(1, "192.0.2.2").standing), five, "each place has its own");
  assertEquals(standings((at) => places.get(1, undefined, DEVICE.map((byte) => byte ^ at)).standing), five);
  assertEquals(places.get(1, "192.0.2.1").knownBy, "address 192.0.2.1", "it is known all the same");
});

Deno.test("known places: evicts the place that was used the longest ago", () => {
  const places = new KnownPlaces(2);
  const known = () => [1, 2, 3].map((user) => places.get(user, "192.0.2.1").knownBy !== undefined);
  places.add(1, "192.0.2.1");
  places.add(2, "192.0.2.1");
  assertEquals(known(), [true, true, false]);
  places.add(1, "192.0.2.1");
  places.add(3, "192.0.2.1");
  assertEquals(known(), [true, false, true]);
});
