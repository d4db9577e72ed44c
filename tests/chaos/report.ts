/** The report of runs: a line for each, the findings, and the sums. */
import type { Outcome } from "./run.ts";

const MAX_SHOWN_FINDINGS = 40; // of a run; its folder has all
const OPERATIONS = ["acked", "pushed", "logins"]; // the other counts are refusals and notices

/** Counts by name. */
type Counts = ReadonlyMap<string, number>;

/** Returns the line of a run, and its findings, notes, schedule and folder if there are any. */
export function describe(outcome: Outcome, again: string): string {
  const { seed, took, drain, settle, findings, notes, folder, schedule } = outcome;
  const times = [`${seconds(took)} s`, `drained in ${seconds(drain)} s`, `settled in ${seconds(settle)} s`];
  const line = `seed ${seed}: ${[...times, ...happened(outcome)].join("; ")}: ${findings.length} findings\n`;
  if (findings.length + notes.length === 0) return line;
  return [
    line,
    ...findings.slice(0, MAX_SHOWN_FINDINGS).map((finding) => `  ${finding}\n`),
    ...notes.slice(0, MAX_SHOWN_FINDINGS).map((note) => `  slow, but no finding: ${note}\n`),
    ...schedule.map(({ at, name, node, ms }) => `  planned: at ${at} ms ${name}, node ${node}, ${ms} ms\n`),
    `  history and logs: ${folder}\n  repeat: ${again}\n`,
  ].join("");
}

/** The sums of several runs. */
export class Totals {
  #runs = 0;
  #faultMs = 0; // ms
  readonly #counts = new Map<string, number>();
  readonly #faults = new Map<string, number>();
  readonly #failed: number[] = [];

  /** Whether there are no findings. */
  get isWell(): boolean {
    return this.#failed.length === 0;
  }

  add({ seed, faultMs, counts, faults, findings }: Outcome): void {
    this.#runs++;
    this.#faultMs += faultMs;
    if (findings.length > 0) this.#failed.push(seed);
    for (const [what, count] of counts) this.#counts.set(what, (this.#counts.get(what) ?? 0) + count);
    for (const [what, count] of faults) this.#faults.set(what, (this.#faults.get(what) ?? 0) + count);
  }

  /** Returns the sums in one line. */
  toString(): string {
    const hours = `${(this.#faultMs / 3_600_000).toFixed(2)} h of faults`;
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
