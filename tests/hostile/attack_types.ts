/** The table of attack types. */
import { authenticatedAttacks } from "./authenticated_attacks.ts";
import type { AttackType } from "./attack_type.ts";
import { unauthenticatedAttacks } from "./unauthenticated_attacks.ts";

/** All attack types. */
export const attackTypes: readonly AttackType[] = [...unauthenticatedAttacks, ...authenticatedAttacks];
