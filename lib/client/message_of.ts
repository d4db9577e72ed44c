/** The texts of caught errors. */

/** Returns the message of a caught value, which may be no Error. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
