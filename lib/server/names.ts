/**
 * Names that users and groups may newly get: RFC 8265 (PRECIS, UsernameCasePreserved) for users and RFC 8264's
 * FreeformClass for groups, as far as properties of Unicode tell, and the mixing of scripts by UTS 39. Names that exist
 * already are not looked at.
 */
import { Limit } from "../wire/protocol.ts";

/** What is named. Groups are found by their ids, so that their names may have marks and symbols of all scripts. */
export type Named = "user" | "group";

const INVISIBLE = /[\p{Default_Ignorable_Code_Point}\p{Bidi_Control}\p{Cf}\u2800]/u;
const NEVER = /[\p{Cc}\p{Cn}\p{Co}\p{Cs}\p{Zl}\p{Zp}\ufff9-\ufffd]/u;
/** Of other widths than the usual one: mapped by the rule of RFC 8265, section 3.4.1. */
const OF_OTHER_WIDTH = /[\u3000\uff01-\uffee]/gu;

/** RFC 8264's ASCII7 and LetterDigits, and U+3007 of its Exceptions. */
const IDENTIFIER = /[\x20-\x7e\p{Ll}\p{Lu}\p{Lo}\p{Nd}\p{Lm}\p{Mn}\p{Mc}\u3007]/u;
/** Not in the profile, but in many names. Emoji of several code points have invisible ones in them, and are refused. */
const EMOJI = /[\p{Emoji_Presentation}\p{Extended_Pictographic}\p{Emoji_Modifier}\p{Regional_Indicator}]/u;
/** Between the parts of a name in Chinese and Japanese: CONTEXTO in RFC 5892. */
const MIDDLE_DOT = /(?<=[\p{L}\p{M}])[\u00b7\u30fb](?=\p{L})/gu;
/** Letters without a meaning of their own, which the Exceptions of RFC 5892 forbid. */
const EXCEPTIONS = /[\u0640\u07fa\u302e\u302f\u3031-\u3035\u303b]/u;
const FREEFORM = /[\p{P}\p{S}\p{N}]/u;

/** Marks that hide in the letter before: a second one of a kind, a dot over a dotted letter, or a pile of them. */
const HIDDEN_MARK = /(\p{Mn})\1|[\p{Soft_Dotted}l\u0131\u0237]\u0307|\p{Mn}{5}/u;

/** Latin letters of phonetic notation, which look like others; those that languages are written with aside. */
const PHONETIC = /(?![əɓɔɖɗɛɣɨɩɲɵʃʉʊʋʒʔ])[\u0250-\u02af\u1d00-\u1dbf]/u;

/** The scripts of UAX 31 in use, recommended (the first 30) and limited. */
const SCRIPTS =
  ("Latin Han Hiragana Katakana Bopomofo Hangul Arabic Armenian Bengali Cyrillic Devanagari Ethiopic " +
    "Georgian Greek Gujarati Gurmukhi Hebrew Kannada Khmer Lao Malayalam Myanmar Oriya Sinhala Tamil Telugu Thaana " +
    "Thai Tibetan Mongolian Adlam Balinese Bamum Batak Canadian_Aboriginal Chakma Cham Cherokee Hanifi_Rohingya " +
    "Javanese Kayah_Li Lepcha Limbu Lisu Mandaic Meetei_Mayek Miao New_Tai_Lue Newa Nko Nyiakeng_Puachue_Hmong " +
    "Ol_Chiki Osage Saurashtra Sundanese Syloti_Nagri Syriac Tai_Le Tai_Tham Tai_Viet Tifinagh Vai Wancho Yi")
    .split(
      " ",
    );

/** The "highly restrictive" level of UTS 39: one script, or one of these. */
const TOGETHER = [
  ["Latin", "Han", "Hiragana", "Katakana"],
  ["Latin", "Han", "Bopomofo"],
  ["Latin", "Han", "Hangul"],
];

const WRITTEN = [...TOGETHER, ...SCRIPTS.map((script) => [script])].map((scripts) =>
  new RegExp(`^[${["Common", "Inherited", ...scripts].map((name) => `\\p{scx=${name}}`).join("")}]*$`, "u")
);

/** The name in the one form in which it is stored: usual widths, NFC. */
export function normalName(text: string): string {
  return text.replace(OF_OTHER_WIDTH, (character) => character.normalize("NFKC")).normalize("NFC");
}

/**
 * What is wrong with a new name in its normal form, to follow "the name "; undefined if nothing is. `confusable`:
 * whether it may mix scripts and digits, or hide marks, as names do that are made to look like others.
 */
export function problemOf(name: string, named: Named, confusable: boolean): string | undefined {
  if ([...name].length > Limit.NAME) return `has more than ${Limit.NAME} characters in its normal form`;
  const invisible = INVISIBLE.exec(name) ?? NEVER.exec(name);
  if (invisible) return `has a character that cannot be seen: ${pointOf(invisible[0])}`;
  if (/^ | $/.test(name)) return "has a space at its beginning or end";
  if (/ {2}/.test(name)) return "has two spaces side by side";
  if (/^\p{M}/u.test(name)) return "begins with a combining mark";
  for (const character of name.replace(MIDDLE_DOT, "")) {
    const isFit = (IDENTIFIER.test(character) && !EXCEPTIONS.test(character)) || EMOJI.test(character) ||
      (named === "group" && FREEFORM.test(character));
    // NFKC makes a usual letter of an ornamental one.
    if (!isFit || character.normalize("NFKC") !== character.normalize("NFC")) {
      return `has a character that names cannot have: ${pointOf(character)}`;
    }
  }
  if (confusable) return undefined;
  if (HIDDEN_MARK.test(name.normalize("NFD"))) return "has a combining mark that cannot be told from none";
  const phonetic = PHONETIC.exec(name);
  if (phonetic) return `has a letter of phonetic notation: ${pointOf(phonetic[0])}`;
  if (!WRITTEN.some((pattern) => pattern.test(name))) {
    return "mixes letters of scripts that are not used together";
  }
  const digits = Array.from(name.match(/\p{Nd}/gu) ?? [], (digit) => digit.codePointAt(0)!);
  if (Math.max(...digits) - Math.min(...digits) > 9) return "mixes digits of several scripts";
  return undefined;
}

function pointOf(character: string): string {
  return `U+${character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}`;
}
