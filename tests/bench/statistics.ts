/** Statistics over several runs of the same scenario. */

/** The median of several numbers, and their range. */
export interface Spread {
  readonly median: number;
  readonly least: number;
  readonly most: number;
}

/**
 * Returns the spread of at least one number. The median of an even count is the mean of the two in the
 * middle. NaN, of a run in which nothing could be measured, counts as the largest number.
 */
export function spread(values: readonly number[]): Spread {
  const sorted = Float64Array.from(values).sort();
  const [least, most] = [sorted.at(0), sorted.at(-1)];
  if (least === undefined || most === undefined) throw new Error("nothing was measured");
  const above = sorted.length / 2;
  const median = (sorted[Math.ceil(above) - 1]! + sorted[Math.floor(above)]!) / 2;
  return { median, least, most };
}
