/** Checks the documents against the writing rules of CONTRIBUTING.md. */
import { assert, assertEquals } from "@std/assert";
import { documents } from "./documents.ts";
import { cellsIn, faultsIn, sentencesIn, wordsOf } from "./prose.ts";

Deno.test("documents: follow the writing rules", async () => {
  const texts = await documents();
  assert(texts.has("docs/PROTOCOL.md"), "the documents are found");
  for (const [path, text] of texts) assertEquals(faultsIn(text), [], path);
});

Deno.test("prose: sentences end at a mark before a capital letter", () => {
  const text =
    "# A heading\n\nOne, e.g. this one.\nTwo (a `b. C` d)? Three\n\n- four. Five: [six](a.md)\n\n| no | table |\n";
  assertEquals(sentencesIn(text).map((sentence) => sentence.text), [
    "A heading",
    "One, e.g. this one.",
    "Two (a CODE d)?",
    "Three",
    "four.",
    "Five: six",
  ]);
  assertEquals(sentencesIn(text).at(-1)!.line, 6);
  assertEquals(cellsIn(text).map((cell) => cell.text), ["no", "table"]);
});

Deno.test("prose: code blocks, generated regions and comments have no sentences", () => {
  const text = "```sh\nA b.\n```\n<!-- c. D -->\n<!-- generated: x -->\n| e |\nF.\n<!-- /generated -->\nG\n";
  assertEquals(sentencesIn(text), [{ line: 9, text: "G" }]);
  assertEquals(cellsIn(text), []);
});

Deno.test("prose: a link, inline code and a number are one word each", () => {
  assertEquals(wordsOf("A CODE, 16,000 – and/or 1/17").length, 7);
});

Deno.test("prose: a long sentence, a forbidden word, a contraction and a clause as a subject are faults", () => {
  const long = `${"word ".repeat(31).trim()}.`;
  for (
    const fault of [long, "Nobody knows.", "It doesn't.", "Who joins a group gets it.", "| a | whoever |"]
  ) {
    assertEquals(faultsIn(`${fault}\n`).length, 1, fault);
  }
  const right = `${"word ".repeat(30).trim()}.`;
  for (const text of [right, "A user's name.", "Who may log in?", 'It prints "nobody".', "`nobody`"]) {
    assertEquals(faultsIn(`${text}\n`), [], text);
  }
});
