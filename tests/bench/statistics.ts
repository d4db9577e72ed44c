/** What several runs of the same work say together. */

/** The middle of several numbers, and how far they lie apart. */
export interface Spread {
  readonly median: number;
  readonly least: number;
  readonly most: number;
}

/** Of one number or more; of an even count the median is half way between the two in the middle. */
export function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((one, other) => one - other);
  const [least, most] = [sorted.at(0), sorted.at(-1)];
  if (least === undefined || most === undefined) throw new Error("nothing was measured");
  const above = sorted.length / 2;
  const median = (sorted[Math.ceil(above) - 1]! + sorted[Math.floor(above)]!) / 2;
  return { median, least, most };
}
