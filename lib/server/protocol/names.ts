/**
 * The rules for names of new users and groups. Users: RFC 8265 (PRECIS, UsernameCasePreserved). Groups: the
 * FreeformClass of RFC 8264. Both as far as Unicode properties tell, and with the script mixing rules of UTS
 * 39. Existing names are not checked.
 */
import { FieldLimit } from "../../wire/protocol.ts";

/**
 * The kinds of names. Groups are found by their ids, so their names may have marks and symbols of all
 * scripts.
 */
export type NameKind = "user" | "group";

const INVISIBLE = /[\p{Default_Ignorable_Code_Point}\p{Bidi_Control}\p{Cf}\u2800]/u;
const DISALLOWED = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\ufff9-\ufffd]/u;
const UNASSIGNED = /[\p{Cn}\p{Co}]/u;
/**
 * Fullwidth and halfwidth characters, which RFC 8265, section 3.4.1, maps to the usual width. Halfwidth
 * Hangul and the fullwidth macron are left out, because NFKC changes them further. They are refused.
 */
const WIDTH_VARIANTS = /[\u3000\uff01-\uff9f\uffe0-\uffe2\uffe4-\uffee]/gu;

/** The most code points in NFD of one code point in NFC, such as U+1F82. */
const MAX_EXPANSION = 4;

/** ASCII7 and LetterDigits of RFC 8264, and U+3007 of its Exceptions. */
const IDENTIFIER = /[\x20-\x7e\p{Ll}\p{Lu}\p{Lo}\p{Nd}\p{Lm}\p{Mn}\p{Mc}\u3007]/u;
/**
 * Emoji, which are not in the profile, but in many names. Emoji with joiners or variation selectors are
 * refused, because those are invisible.
 */
const EMOJI = /\p{RGI_Emoji}/gv;
/**
 * The CONTEXTO rules of RFC 5892: U+00B7 between two `l` (appendix A.3), U+30FB with letters of Japanese or
 * Chinese (A.7). Not in the profile, but in Chinese names: U+00B7 between the parts of a foreign name.
 */
const MIDDLE_DOT = /(?<=[lL])\u00b7(?=[lL])|(?<=\p{Script=Han})\u00b7(?=\p{Script=Han})/gu;
const KATAKANA_MIDDLE_DOT = /(?<=[\p{L}\p{M}])\u30fb(?=\p{L})/gu;
const JAPANESE_OR_CHINESE = /[\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Han}]/u;
/**
 * Letters without a meaning of their own, which RFC 5892 disallows as Exceptions, and OldHangulJamo of RFC
 * 8264.
 */
const EXCEPTIONS = /[\u0640\u07fa\u302e\u302f\u3031-\u3035\u303b\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7ff]/u;
const FREEFORM = /[\p{P}\p{S}\p{N}]/u;

/** A mark on a character that is no letter or digit, such as a space. */
const STRAY_MARK = /[^\p{L}\p{M}\p{N}]\p{M}/u;

/**
 * Marks that are hard to see: the same mark twice, a dot over a dotted letter, or five marks on one letter.
 */
const HIDDEN_MARK = /(\p{Mn})\1|[\p{Soft_Dotted}l\u0131\u0237]\u0307|\p{Mn}{5}/u;

/**
 * Marks through or around the letter before (canonical combining class 1), hooks, and marks for symbols. With
 * them `o` looks like `ø`, and the normal forms of the two differ.
 */
const OVERLAY_MARK =
  /[\u0321\u0322\u0334-\u0338\u1cd4\u1ce2-\u1ce8\u20d0-\u20ff\u{10a39}\u{16af0}-\u{16af4}\u{1bc9e}\u{1d165}-\u{1d172}]/u;

/**
 * Latin letters of phonetic notation, which look like others, without those in the alphabets of languages.
 */
const PHONETIC = /(?![əɓɔɖɗɛɣɨɩɲɵʃʉʊʋʒʔ])[\u0250-\u02af\u1d00-\u1dbf]/u;

/** The scripts of UAX 31: first the recommended ones, then those of limited use. */
const SCRIPTS =
  ("Latin Han Hiragana Katakana Bopomofo Hangul Arabic Armenian Bengali Cyrillic Devanagari Ethiopic " +
    "Georgian Greek Gujarati Gurmukhi Hebrew Kannada Khmer Lao Malayalam Myanmar Oriya Sinhala Tamil Telugu Thaana " +
    "Thai Tibetan Mongolian Adlam Balinese Bamum Batak Canadian_Aboriginal Chakma Cham Cherokee Hanifi_Rohingya " +
    "Javanese Kayah_Li Lepcha Limbu Lisu Mandaic Meetei_Mayek Miao New_Tai_Lue Newa Nko Nyiakeng_Puachue_Hmong " +
    "Ol_Chiki Osage Saurashtra Sundanese Syloti_Nagri Syriac Tai_Le Tai_Tham Tai_Viet Tifinagh Vai Wancho Yi")
    .split(
      " ",
    );

/** The "highly restrictive" level of UTS 39: one script, or one of these combinations. */
const SCRIPT_COMBINATIONS = [
  ["Latin", "Han", "Hiragana", "Katakana"],
  ["Latin", "Han", "Bopomofo"],
  ["Latin", "Han", "Hangul"],
];

const SCRIPT_PATTERNS = [...SCRIPT_COMBINATIONS, ...SCRIPTS.map((script) => [script])].map((scripts) =>
  new RegExp(`^[${["Common", "Inherited", ...scripts].map((name) => `\\p{scx=${name}}`).join("")}]*$`, "u")
);

/** Returns the name in the form in which it is stored: usual widths, NFC. */
export function normalizeName(text: string): string {
  return text.replace(WIDTH_VARIANTS, (character) => character.normalize("NFKC")).normalize("NFC");
}

/**
 * Returns whether a name, new or old, has a valid length, as it is or in the normal form. Other forms can be
 * {@link MAX_EXPANSION} times as long as the normal form.
 */
export function isNameLengthValid(text: string): boolean {
  const isLong = text.length > 2 * MAX_EXPANSION * FieldLimit.NAME ||
    [...text].length > MAX_EXPANSION * FieldLimit.NAME;
  if (text === "" || isLong) return false;
  return [...text].length <= FieldLimit.NAME || [...normalizeName(text)].length <= FieldLimit.NAME;
}

/**
 * Returns the problem of a new name in its normal form, to follow "the name ", or undefined if it is valid.
 * With `allowConfusable` it may mix scripts and digits and have marks that are hard to see, as deceptive
 * names do.
 */
export function validateName(name: string, kind: NameKind, allowConfusable: boolean): string | undefined {
  if ([...name].length > FieldLimit.NAME) {
    return `has more than ${FieldLimit.NAME} characters in its normal form`;
  }
  const invisible = INVISIBLE.exec(name) ?? DISALLOWED.exec(name);
  if (invisible) return `has a character that cannot be seen: ${formatCodePoint(invisible[0])}`;
  const unassigned = UNASSIGNED.exec(name);
  if (unassigned) {
    return `has a character that is unassigned or for private use: ${formatCodePoint(unassigned[0])}`;
  }
  if (/^ | $/.test(name)) return "has a space at its beginning or end";
  if (/ {2}/.test(name)) return "has two spaces side by side";
  if (/^\p{M}/u.test(name)) return "begins with a combining mark";
  if (STRAY_MARK.test(name)) return "has a combining mark that is not on a letter or digit";
  const dotless = name.replace(MIDDLE_DOT, "");
  const rest = JAPANESE_OR_CHINESE.test(name) ? dotless.replace(KATAKANA_MIDDLE_DOT, "") : dotless;
  for (const character of rest.replace(EMOJI, "")) {
    const isAllowed = (IDENTIFIER.test(character) && !EXCEPTIONS.test(character)) ||
      (kind === "group" && FREEFORM.test(character));
    // NFKC maps an ornamental letter to a usual one.
    if (!isAllowed || character.normalize("NFKC") !== character.normalize("NFC")) {
      return `has a character that names cannot have: ${formatCodePoint(character)}`;
    }
  }
  if (allowConfusable) return undefined;
  if (HIDDEN_MARK.test(name.normalize("NFD"))) return "has a combining mark that is hard to see";
  const overlay = OVERLAY_MARK.exec(name);
  if (overlay) {
    return `has a combining mark through, around or hooked to a letter: ${formatCodePoint(overlay[0])}`;
  }
  const phonetic = PHONETIC.exec(name);
  if (phonetic) return `has a letter of phonetic notation: ${formatCodePoint(phonetic[0])}`;
  if (!SCRIPT_PATTERNS.some((pattern) => pattern.test(name))) {
    return "mixes letters of scripts that are not used together";
  }
  const digits = Array.from(name.match(/\p{Nd}/gu) ?? [], (digit) => digit.codePointAt(0)!);
  if (Math.max(...digits) - Math.min(...digits) > 9) return "mixes digits of several scripts";
  return undefined;
}

function formatCodePoint(character: string): string {
  return `U+${character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}`;
}
