/** The rules for names of new users and groups. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { isNameLengthValid, normalizeName, validateName } from "../../lib/server/protocol/names.ts";

function problem(text: string, named: "user" | "group" = "user", confusable = false): string | undefined {
  return validateName(normalizeName(text), named, confusable);
}

Deno.test("names: accepts names of people in many languages", () => {
  const names =
    "alice|bob smith|O'Neill|zhang san 张三|阿布·艾山|ジョン・スミス|한국이|Иван|Νίκος|tiếng Việt|ß|〇|" +
    "אבג|محمد|नमस्ते|ไทย|བོད|ꆈꌠ|Łódź|Əli|😀|🦊fox|👍🏽|🇩🇪 fan|张三-Bob_1|١٢٣|ー|søren|đan|łuk|col·legi|Çelik|ộ|q̣̇";
  for (const name of names.split("|")) {
    for (const form of ["NFC", "NFD"] as const) {
      assertEquals(problem(name.normalize(form)), undefined, name);
      assertEquals(problem(name.normalize(form), "group"), undefined, name);
    }
  }
});

Deno.test("names: maps canonically equivalent names and other widths to one form", () => {
  for (
    const [given, kept] of [["e\u0301", "\u00e9"], ["\uff41\uff11", "a1"], ["\uff76\uff9e", "ガ"], [
      "a\u3000b",
      "a b",
    ]]
  ) {
    assertEquals(normalizeName(given!), kept);
  }
});

Deno.test("names: refuses invisible characters everywhere, also when confusable names are allowed", () => {
  const points = [
    0x00ad,
    0x034f,
    0x061c,
    0x115f,
    0x180e,
    0x200b,
    0x200d,
    0x200e,
    0x202a,
    0x202e,
    0x2060,
    0x2066,
    0x2800,
  ];
  points.push(0x3164, 0xfe0f, 0xfeff, 0xffa0, 0xfff9, 0xfffc, 0xe0041, 0xe0100, 0x2028);
  for (const point of points) {
    const character = String.fromCodePoint(point);
    for (const name of [character, `al${character}ice`, `alice${character}`]) {
      for (const named of ["user", "group"] as const) {
        assertStringIncludes(problem(name, named, true) ?? "", "cannot be seen", `U+${point.toString(16)}`);
      }
    }
  }
});

Deno.test("names: allows only single spaces between other characters", () => {
  for (const name of [" a", "a ", "\u3000a"]) assertStringIncludes(problem(name)!, "beginning or end");
  assertStringIncludes(problem("a  b")!, "two spaces");
  assertStringIncludes(problem("a\u00a0b")!, "U+00A0");
  assertStringIncludes(problem("\u0301a")!, "begins with a combining mark");
});

/** Asserts that all names are refused for users and groups, also when confusable names are allowed. */
function assertNever(names: readonly string[], words: string): void {
  for (const name of names) {
    for (const named of ["user", "group"] as const) {
      assertStringIncludes(
        problem(name, named, true) ?? "accepted",
        words,
        `${named} ${JSON.stringify(name)}`,
      );
    }
  }
}

Deno.test("names: refuses a combining mark on a space, however it gets there", () => {
  assertNever(["a \u0301b", "a-\u0304b", "😀\u0301"], "not on a letter or digit");
  assertNever(["za\uffe3qb"], "U+FFE3");
  assertEquals(problem("a\u0301 b"), undefined);
  assertEquals(problem("1\u0301"), undefined);
});

Deno.test("names: refuses private and unassigned characters, and names their code points", () => {
  assertNever(["\ue000"], "private use: U+E000");
  assertNever(["al\u0378ice"], "unassigned or for private use: U+0378");
  assertNever(["\u{10fffd}"], "U+10FFFD");
});

Deno.test("names: refuses conjoining jamo, and accepts the syllables they compose", () => {
  assertNever(["\u1100", "\u1112\u119e", "\u11a8a", "a\ua960", "\ud7b0"], "names cannot have: U+");
  assertNever(["\uffa1"], "names cannot have: U+FFA1");
  assertEquals(problem("\u1112\u1161\u11ab"), undefined);
});

Deno.test("names: refuses marks through or around a letter, which make it look like another", () => {
  const names = ["so\u0338ren", "d\u0335an", "l\u0335uk", "l\u0337uk", "margaret\u0335", "m\u0336a\u0336r"];
  names.push("a\u20d2", "a\u20d8", "a\u20ea", "d\u0322", "t\u0321", "a\u0334");
  for (const name of names) {
    for (const named of ["user", "group"] as const) {
      assertStringIncludes(problem(name, named) ?? "accepted", "through, around or hooked", name);
    }
  }
  for (const name of ["a\u0333b", "a\u0339b"]) assertEquals(problem(name), undefined, name); // next to the overlays
});

Deno.test("names: accepts a middle dot where RFC 5892 does, and between Chinese characters", () => {
  for (const name of ["l·l", "L·l", "阿布·艾山", "カ・ラ", "音・楽", "あ・a"]) {
    assertEquals(problem(name), undefined, name);
  }
  for (const name of ["a・b", "·", "l·", "a·l", "l·a", "阿·a", "カ・", "・カ", "カ・・ラ", "한・국"]) {
    assertStringIncludes(problem(name) ?? "accepted", "names cannot have", name);
  }
});

Deno.test("names: refuses symbols other than emoji for users", () => {
  for (const point of [0x2388, 0x1f774, 0x1f8b2, 0x2605, 0x2192, 0x1f1e6, 0xa9, 0x2764]) {
    const name = `a${String.fromCodePoint(point)}`;
    assertStringIncludes(problem(name) ?? "accepted", "names cannot have", name);
  }
  for (const name of ["🧿", "⌚", "👍🏽", "🇩🇪"]) assertEquals(problem(name), undefined, name);
});

Deno.test("names: refuses ornamental letters, and accepts marks of all scripts for groups", () => {
  for (const name of ["𝐚lice", "ﬁona", "①", "Ⅳ", "ⓐlice", "x²", "ـabc"]) {
    assertStringIncludes(problem(name, "user", true) ?? "", "names cannot have", name);
  }
  for (const name of ["O’Neill", "周末《徒步》", "a•b"]) {
    assertStringIncludes(problem(name) ?? "", "names cannot have", name);
    assertEquals(problem(name, "group"), undefined, name);
  }
});

Deno.test("names: refuses mixed scripts, mixed digits and hidden marks unless confusable names are allowed", () => {
  const names = [
    "\u0430lice",
    "ali\u03f2e",
    "Ivan Иван",
    "l\u0307",
    "i\u0307",
    "a\u0301\u0301",
    "1١",
    "ɑlice",
    "ᴀlice",
  ];
  for (const name of names) {
    for (const named of ["user", "group"] as const) {
      assertEquals(typeof problem(name, named), "string", name);
    }
    if (!name.includes("\u03f2")) assertEquals(problem(name, "user", true), undefined, name);
  }
});

Deno.test("names: bounds the length of the stored form", () => {
  assertEquals(problem("e\u0301".repeat(50)), undefined);
  const accepted = [
    "a",
    "é".repeat(50).normalize("NFD"),
    "\u1f82".repeat(50).normalize("NFD"),
    "😀".repeat(50),
  ];
  accepted.push("\uff76\uff9e".repeat(50), "\u0958".repeat(50));
  for (const name of accepted) assertEquals(isNameLengthValid(name), true, name);
  const refused = [
    "",
    "a".repeat(51),
    "é".repeat(51).normalize("NFD"),
    "\u1f82".repeat(50).normalize("NFD") + "a",
  ];
  refused.push("\u0344".repeat(201), "😀".repeat(51), "a".repeat(1_000_000));
  for (const name of refused) assertEquals(isNameLengthValid(name), false, name.slice(0, 300));
  assertStringIncludes(problem("\u0958".repeat(26))!, "more than 50 characters"); // each becomes two
});
