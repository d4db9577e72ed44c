/** The table of hostile kinds: what a connection can do to hurt, each a small function. */
import { authenticatedAttacks } from "./insiders.ts";
import type { AttackType } from "./kind.ts";
import { unauthenticatedAttacks } from "./strangers.ts";

/** All of them. */
export const attackTypes: readonly AttackType[] = [...unauthenticatedAttacks, ...authenticatedAttacks];
