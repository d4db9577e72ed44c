/** The picture in the README is the output of the programs. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { ROOT } from "../harness/program.ts";
import { newPicture, pictureOf, RECORDING } from "./recording.ts";

Deno.test("recording: the README's picture shows what the client prints", async () => {
  const stored = await Deno.readTextFile(RECORDING);
  assertEquals(stored, await newPicture(), "deno run -A tests/repository/recording.ts writes it anew");
  for (const name of ["README.md", "README.zh-CN.md"]) {
    assertStringIncludes(await Deno.readTextFile(new URL(name, ROOT)), "](docs/session.svg)");
  }
});

Deno.test("recording: a picture has each line of each terminal, with markup escaped", () => {
  const picture = pictureOf([["a", ["a> chat:2:<b>", "1 & 2"]], ["b", ["choice: 1"]]]);
  assertStringIncludes(
    picture,
    '<tspan class="prompt">a&gt; </tspan><tspan class="typed">chat:2:&lt;b&gt;</tspan>',
  );
  assertStringIncludes(picture, ">1 &amp; 2</text>");
  assertStringIncludes(picture, '<tspan class="typed">1</tspan>');
});
