/** The table of hostile kinds: what a connection can do to hurt, each a small function. */
import { authenticatedAttacks } from "./authenticated_attacks.ts";
import type { AttackType } from "./attack_type.ts";
import { unauthenticatedAttacks } from "./unauthenticated_attacks.ts";

/** All of them. */
export const attackTypes: readonly AttackType[] = [...unauthenticatedAttacks, ...authenticatedAttacks];
