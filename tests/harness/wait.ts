/** Waiting for things to become so, never for time to pass. */

/** Milliseconds before a wait is given up: far more than a busy machine needs, so that only a fault takes it. */
export const TIMEOUT_MS = 30_000;

const POLL_INTERVAL_MS = 10; // milliseconds between two looks at a condition that can't tell when it changes

/** Resolves after `ms` milliseconds. Only for pacing something, not for hoping that something else is done. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** The promise's outcome; rejects, naming `what`, when there is none within `ms` milliseconds. */
export async function within<T>(promise: Promise<T>, what: string, ms = TIMEOUT_MS): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${ms} ms in vain for ${what}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Resolves with the first truthy answer of `look`; rejects, naming `what`, when `ms` milliseconds have passed. */
export async function until<T>(
  condition: () => T | Promise<T>,
  what: string,
  ms = TIMEOUT_MS,
): Promise<NonNullable<Awaited<T>>> {
  for (const end = performance.now() + ms;;) {
    const answer = await condition();
    if (answer) return answer;
    if (performance.now() > end) throw new Error(`waited ${ms} ms in vain for ${what}`);
    await pause(POLL_INTERVAL_MS);
  }
}
