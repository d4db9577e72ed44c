/** The table of hostile kinds: what a connection can do to hurt, each a small function. */
import { insiders } from "./insiders.ts";
import type { Kind } from "./kind.ts";
import { strangers } from "./strangers.ts";

/** All of them. */
export const kinds: readonly Kind[] = [...strangers, ...insiders];
