/** Splits Markdown into sentences and finds those that break the writing rules of CONTRIBUTING.md. */

/** Words in a sentence of reference text. Longer ones have to be read twice. */
export const MAX_SENTENCE_WORDS = 30;

/** Words for which the glossary, or the standard terminology, has a better one. */
const FORBIDDEN =
  /\b(nobody|everybody|somebody|anybody|no one|everyone|someone|anyone|whoever|whomever|is away|is back|has a turn|said to have|mended|doubled)\b/i;

/** A clause in the place of a subject: "Who joins a group gets …". A question is none. */
const CLAUSE_AS_SUBJECT = /^(?:Who|Whom|What)\b[^?]*$/;

/** `can't`, `doesn't`, `it's`, `they're`. A possessive `s` is not one. */
const CONTRACTION = /\b(?:\w+n['’]t|(?:it|that|there|here|he|she|who|what|let)['’]s|\w+['’](?:re|ve|ll))\b/i;

/** One sentence, with the line on which its paragraph begins. */
export interface Sentence {
  readonly line: number;
  readonly text: string;
}

/** Returns the sentences of a Markdown text outside code blocks, generated regions, comments and tables. */
export function sentencesIn(markdown: string): Sentence[] {
  return paragraphsIn(withoutCode(markdown), (line) => line.startsWith("|"))
    .flatMap(({ line, text }) => split(plain(text)).map((sentence) => ({ line, text: sentence })));
}

/** Returns the cells of the tables of a Markdown text, each with its line. */
export function cellsIn(markdown: string): Sentence[] {
  return withoutCode(markdown).split("\n").flatMap((row, index) =>
    row.startsWith("|")
      ? row.split(/(?<!\\)\|/).slice(1, -1).map((cell) => ({ line: index + 1, text: plain(cell.trim()) }))
      : []
  );
}

/** Returns the words of a sentence. Inline code is one word. */
export function wordsOf(sentence: string): string[] {
  return sentence.split(/[\s\u2013\u2014/]+/).filter((word) => /[\p{L}\p{N}]/u.test(word));
}

/** Returns one line for each rule that a sentence or a cell breaks, with its line number. */
export function faultsIn(markdown: string): string[] {
  const sentences = sentencesIn(markdown);
  const tooLong = sentences.filter(({ text }) => wordsOf(text).length > MAX_SENTENCE_WORDS)
    .map(({ line, text }) => `line ${line}: ${wordsOf(text).length} words: ${text}`);
  const wrong = [...sentences, ...cellsIn(markdown)].flatMap(({ line, text }) => {
    const quoted = text.replace(/"[^"]*"/g, ""); // names of tests, and what programs print
    const found = [FORBIDDEN, CLAUSE_AS_SUBJECT, CONTRACTION].map((rule) => rule.exec(quoted)?.[0]).find((
      match,
    ) => match !== undefined);
    return found === undefined ? [] : [`line ${line}: "${found}": ${text}`];
  });
  return [...tooLong, ...wrong];
}

/** Blanks code blocks, generated regions and comments, and leaves the line numbers as they are. */
function withoutCode(markdown: string): string {
  const blank = (part: string) => part.replace(/[^\n]/g, "");
  return markdown
    .replace(/^<!-- generated: [^]*?^<!-- \/generated -->$/gm, blank)
    .replace(/^( *)```[^]*?^\1```$/gm, blank)
    .replace(/<!--[^]*?-->/g, blank);
}

/** Paragraphs, list items and headings. A line for which `skip` is true belongs to none. */
function paragraphsIn(text: string, skip: (line: string) => boolean): Sentence[] {
  const found: { line: number; text: string }[] = [];
  let open = false;
  for (const [index, line] of text.split("\n").entries()) {
    const starts = /^\s*(?:[-*+] |\d+\. |#+ |> |\[\^)/.test(line);
    if (line.trim() === "" || skip(line)) open = false;
    else if (open && !starts) found.at(-1)!.text += ` ${line.trim()}`;
    else {
      found.push({ line: index + 1, text: line.replace(/^\s*(?:[-*+] |\d+\. |#+ |> )/, "").trim() });
      open = !line.startsWith("#");
    }
  }
  return found;
}

/** Returns the text as it is read: a link is its label, images and footnotes are nothing, code is one word. */
function plain(text: string): string {
  return text
    .replace(/!\[[^\]]*\]\([^)]*\)|\[\^[^\]]+\]:?/g, "")
    .replace(/\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replace(/`[^`]*`/g, "CODE")
    .replaceAll("**", "");
}

/** Splits after a mark behind a word, before a new word that does not begin with a small letter. */
function split(text: string): string[] {
  return text.split(/(?<=[^\s.][.!?][")*]*)\s+(?=[^\p{Ll}])/u).map((part) => part.trim()).filter((part) =>
    part !== ""
  );
}
