/** What came of runs, in words: a line for each, more where something was found, and the sum of all. */
import type { Outcome } from "./run.ts";

const MAX_SHOWN_FINDINGS = 40; // findings of a run; the rest are in its folder
const OPERATIONS = ["acked", "pushed", "logins"]; // of what is counted; the rest are refusals and notices

/** How often what happened. */
type Counts = ReadonlyMap<string, number>;

/** One line for a run; what was found and noted, the schedule, and where to look on, if there is anything. */
export function describe(outcome: Outcome, again: string): string {
  const { seed, took, drain, settle, findings, notes, kept, schedule } = outcome;
  const times = [`${seconds(took)} s`, `drained in ${seconds(drain)} s`, `settled in ${seconds(settle)} s`];
  const line = `seed ${seed}: ${[...times, ...happened(outcome)].join("; ")}: ${findings.length} findings\n`;
  if (findings.length + notes.length === 0) return line;
  return [
    line,
    ...findings.slice(0, MAX_SHOWN_FINDINGS).map((finding) => `  ${finding}\n`),
    ...notes.slice(0, MAX_SHOWN_FINDINGS).map((note) => `  slow, but no finding: ${note}\n`),
    ...schedule.map(({ at, name, node, ms }) => `  planned: at ${at} ms ${name}, node ${node}, ${ms} ms\n`),
    `  history and logs: ${kept}\n  again: ${again}\n`,
  ].join("");
}

/** The sums of several runs. */
export class Totals {
  #runs = 0;
  #hurt = 0; // ms
  readonly #counts = new Map<string, number>();
  readonly #faults = new Map<string, number>();
  readonly #failed: number[] = [];

  /** Whether nothing was found. */
  get isWell(): boolean {
    return this.#failed.length === 0;
  }

  add({ seed, hurt, counts, faults, findings }: Outcome): void {
    this.#runs++;
    this.#hurt += hurt;
    if (findings.length > 0) this.#failed.push(seed);
    for (const [what, count] of counts) this.#counts.set(what, (this.#counts.get(what) ?? 0) + count);
    for (const [what, count] of faults) this.#faults.set(what, (this.#faults.get(what) ?? 0) + count);
  }

  /** All of it in one line. */
  toString(): string {
    const hours = `${(this.#hurt / 3_600_000).toFixed(2)} h of faults`;
    const verdict = this.isWell ? "no findings" : `findings with seeds ${this.#failed.join(", ")}`;
    const all = happened({ counts: this.#counts, faults: this.#faults });
    return `${this.#runs} seeds: ${[hours, ...all].join("; ")}: ${verdict}\n`;
  }
}

function happened({ counts, faults }: { readonly counts: Counts; readonly faults: Counts }): string[] {
  const [operations, others] = parted(counts, (what) => OPERATIONS.includes(what));
  const [own, made] = parted(faults, (what) => what.startsWith("own "));
  return [
    `${sum(operations)} operations (${list(operations)})`,
    `besides ${list(others)}`,
    `${sum(made)} faults (${list(made)})`,
    `${sum(own)} of users' own (${list(own).replaceAll(" own ", " ")})`,
  ];
}

function parted(counts: Counts, test: (what: string) => boolean): [Counts, Counts] {
  const entries = [...counts].sort(([a], [b]) => a < b ? -1 : 1);
  return [
    new Map(entries.filter(([what]) => test(what))),
    new Map(entries.filter(([what]) => !test(what))),
  ];
}

function sum(counts: Counts): number {
  return [...counts.values()].reduce((a, b) => a + b, 0);
}

function list(counts: Counts): string {
  return [...counts].map(([what, count]) => `${count} ${what}`).join(", ") || "nothing";
}

function seconds(ms: number): string {
  return (ms / 1_000).toFixed(1);
}
