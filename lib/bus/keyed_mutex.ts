/** Locks within a process: one per key, and who asked first has it first. */

/** A holder of a lock, or one who waits for it. */
interface Turn {
  readonly key: number;
  readonly owner: object;
  readonly begin: () => void;
  readonly giveUp: (error: Error) => void;
}

/** One lock per number. */
export class KeyedLock {
  readonly #turns = new Map<number, Turn[]>(); // the first of each is the holder

  /** Waits for the lock. What it resolves to gives it back, and does nothing the second time. */
  take(key: number, owner: object): Promise<() => void> {
    return new Promise((resolve, reject) => {
      const turn: Turn = { key, owner, begin: () => resolve(() => this.#leave(turn)), giveUp: reject };
      const turns = this.#turns.get(key);
      if (turns) turns.push(turn);
      else this.#turns.set(key, [turn]);
      if (!turns) turn.begin();
    });
  }

  /** Rejects with `error` what an owner waits for; what it holds, it keeps. */
  turnAway(owner: object, error: Error): void {
    for (const turns of [...this.#turns.values()]) {
      for (const turn of turns.slice(1)) {
        if (turn.owner !== owner) continue;
        turn.giveUp(error);
        this.#leave(turn);
      }
    }
  }

  /** Gives back what an owner holds, and rejects with `error` what it waits for. */
  releaseAll(owner: object, error: Error): void {
    this.turnAway(owner, error); // first, so that none of them gets its turn only to lose it
    for (const [holder] of [...this.#turns.values()]) if (holder?.owner === owner) this.#leave(holder);
  }

  #leave(turn: Turn): void {
    const turns = this.#turns.get(turn.key);
    const place = turns?.indexOf(turn) ?? -1;
    if (!turns || place < 0) return;
    turns.splice(place, 1);
    if (turns.length === 0) this.#turns.delete(turn.key);
    else if (place === 0) turns[0]!.begin();
  }
}
