/** The deliberate bugs of the chaos suite apply to the present source. */
import { assert } from "@std/assert";
import { bugNames, plant } from "./bugs.ts";

Deno.test("chaos: every deliberate bug applies to the source, which compiles with all of them", async () => {
  await using tree = await plant(...bugNames);
  const check = new Deno.Command(Deno.execPath(), { args: ["check", "main.ts"], cwd: tree.root });
  const { success, stderr } = await check.output();
  assert(success, new TextDecoder().decode(stderr));
});
