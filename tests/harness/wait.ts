/** Waiting for conditions instead of fixed times. */

/** Milliseconds until a wait fails: far more than a busy machine needs, so that only a fault exceeds it. */
export const TIMEOUT_MS = 30_000;

const POLL_INTERVAL_MS = 10; // milliseconds between two checks of a condition

/** Resolves after `ms` milliseconds. Use it to pace work, never to wait for other work. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Returns the result of the promise. Rejects with an error that names `what` after `ms` milliseconds. */
export async function within<T>(promise: Promise<T>, what: string, ms = TIMEOUT_MS): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`timed out after ${ms} ms waiting for ${what}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Returns the first truthy result of `condition`. Rejects with an error that names `what` after `ms`
 * milliseconds.
 */
export async function until<T>(
  condition: () => T | Promise<T>,
  what: string,
  ms = TIMEOUT_MS,
): Promise<NonNullable<Awaited<T>>> {
  for (const end = performance.now() + ms;;) {
    const answer = await condition();
    if (answer) return answer;
    if (performance.now() > end) throw new Error(`timed out after ${ms} ms waiting for ${what}`);
    await pause(POLL_INTERVAL_MS);
  }
}
