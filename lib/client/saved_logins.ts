/**
 * Saved tokens: one file per server address and account. A token replaces the password, so only the user may
 * read the files, and the client sends a token only to the servers for which it was saved.
 */
import type { SavedLogin, TokenStore, UserRef } from "./login.ts";
import { messageOf } from "./message_of.ts";
import { type Lock, PrivateFolder, UnsafeFileError } from "./private_folder.ts";
import type { Address } from "./transport.ts";

/** Maximum number of saved logins per server address. A further one replaces the oldest. */
export const MAX_SAVED_LOGINS = 100;

const FILE_SUFFIX = ".json";
const LOCK_SUFFIX = ".lock";
const CLAIM_INTERVAL_MS = 500; // a client ends within about this time after a takeover

/** The content of a file. */
interface Entry extends SavedLogin {
  /** Time of the login, in milliseconds since 1970. */
  readonly saved: number;
}

/** An account in use by this program. */
interface Claim {
  readonly id: number;
  /** One lock for each server, of which this program may not have all yet. */
  readonly locks: Lock[];
  /** Retries the locks while another program has one. */
  timer: ReturnType<typeof setInterval> | undefined;
}

/** The saved logins for servers, which count as nodes of one service. */
export class SavedLogins implements TokenStore {
  readonly #folders: readonly PrivateFolder[];
  readonly #warn: (text: string) => void;
  readonly #warned = new Set<string>();
  #claimed: Claim | undefined;
  #token: string | undefined; // the last one saved

  /** The logins in the folder `root` of the user `uid`. Each problem causes one call of `warn`. */
  constructor(root: string, servers: readonly Address[], uid: number, warn: (text: string) => void) {
    const names = new Set(servers.map(folderOf));
    this.#folders = [...names].map((name) => new PrivateFolder(root, name, uid));
    this.#warn = warn;
  }

  /** Returns the user's saved login, or, without a user, the only saved login. */
  find(user?: UserRef): SavedLogin | undefined {
    const found = new Map<number, Entry>();
    for (const entry of this.#entries()) {
      if (entry.saved >= (found.get(entry.id)?.saved ?? 0) && isLoginOf(user, entry)) {
        found.set(entry.id, entry);
      }
    }
    const [first] = found.values();
    return found.size === 1 ? first : undefined;
  }

  /**
   * Marks the account as in use by this program, until {@link release}. Returns false if another program of
   * this user has marked it. This program then marks it as soon as the other one ends.
   */
  claim(id: number): boolean {
    if (this.#claimed?.id === id) return this.#claimed.timer === undefined;
    this.release();
    const claimed: Claim = { id, locks: [], timer: undefined };
    this.#claimed = claimed;
    if (this.#lock(claimed)) return true;
    claimed.timer = setInterval(() => this.#lock(claimed), CLAIM_INTERVAL_MS);
    Deno.unrefTimer(claimed.timer);
    return false;
  }

  /** Ends {@link claim}. The lock's file stays only beside a saved login. */
  release(): void {
    const claimed = this.#claimed;
    if (!claimed) return;
    this.#claimed = undefined;
    clearInterval(claimed.timer);
    for (const [at, lock] of claimed.locks.entries()) {
      const isSaved = this.#try(
        "cannot remove the lock file",
        () => this.#folders[at]!.modifiedAt(`${claimed.id}${FILE_SUFFIX}`) > 0,
      ) ?? true;
      this.#try("cannot remove the lock file", () => lock.release(!isSaved));
    }
  }

  /** Saves a login in place of the account's earlier one. */
  save(login: SavedLogin): void {
    this.claim(login.id);
    if (this.#token === login.token) return;
    this.#token = login.token;
    const { id, name, token } = login;
    const text = JSON.stringify({ id, name, token, saved: Date.now() } satisfies Entry);
    for (const folder of this.#folders) {
      this.#try("cannot save the session's token", () => {
        folder.write(`${id}${FILE_SUFFIX}`, `${text}\n`);
        prune(folder);
      });
    }
  }

  /** Removes a token. A newer token of another program stays. */
  remove(token: string): void {
    if (this.#token === token) this.#token = undefined;
    for (const folder of this.#folders) {
      for (const entry of this.#entriesOf(folder)) {
        if (entry.token !== token) continue;
        this.#try("cannot remove the saved token", () => folder.remove(`${entry.id}${FILE_SUFFIX}`));
      }
    }
  }

  #entries(): Entry[] {
    return this.#folders.flatMap((folder) => this.#entriesOf(folder));
  }

  #entriesOf(folder: PrivateFolder): Entry[] {
    const names = this.#try("cannot use saved tokens", () => folder.list(FILE_SUFFIX)) ?? [];
    return names.flatMap((name) =>
      this.#try("cannot use a saved token", () => {
        const text = folder.read(name);
        if (text === undefined) return [];
        const entry = parseEntry(text);
        if (!entry || name !== `${entry.id}${FILE_SUFFIX}`) throw new UnsafeFileError(`${name} is damaged`);
        return [entry];
      }) ?? []
    );
  }

  #lock(claim: Claim): boolean {
    const isLocked = this.#try("cannot lock the saved token", () => {
      for (const folder of this.#folders.slice(claim.locks.length)) {
        const lock = folder.tryLock(`${claim.id}${LOCK_SUFFIX}`);
        if (!lock) return false;
        claim.locks.push(lock);
      }
      return true;
    }) ?? true; // without file locks, clients cannot detect each other
    if (!isLocked) return false;
    clearInterval(claim.timer);
    claim.timer = undefined;
    return true;
  }

  /** Returns the result of `work`, or warns and returns undefined. The client works without saved logins. */
  #try<T>(what: string, work: () => T): T | undefined {
    try {
      return work();
    } catch (error) {
      const problem = messageOf(error);
      const text = `${what}: ${problem}`;
      if (!this.#warned.has(problem)) this.#warn(text);
      this.#warned.add(problem);
      return undefined;
    }
  }
}

/**
 * Returns the folder name of a server. TLS is part of it, so that a token from TLS never goes out without
 * TLS.
 */
function folderOf({ hostname, port, tls }: Address): string {
  return `${tls ? "tls" : "tcp"}-${encodeURIComponent(hostname.toLowerCase())}-${port}`;
}

function isLoginOf(user: UserRef | undefined, { id, name }: SavedLogin): boolean {
  if (!user) return true;
  // The server normalizes names further. A difference only costs the user one more password question.
  return "id" in user ? user.id === id : user.name.normalize("NFC") === name.normalize("NFC");
}

function parseEntry(text: string): Entry | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const { id, name, token, saved } = (value ?? {}) as Record<keyof Entry, unknown>;
  const isEntry = typeof id === "number" && typeof name === "string" && typeof token === "string" &&
    token !== "" && typeof saved === "number";
  return isEntry ? { id, name, token, saved } : undefined;
}

/** Removes the oldest files beyond {@link MAX_SAVED_LOGINS}. */
function prune(folder: PrivateFolder): void {
  const names = folder.list(FILE_SUFFIX);
  if (names.length <= MAX_SAVED_LOGINS) return;
  const byAge = names.map((name) => ({ name, at: folder.modifiedAt(name) })).sort((a, b) => a.at - b.at);
  for (const { name } of byAge.slice(0, names.length - MAX_SAVED_LOGINS)) {
    folder.remove(name);
    const lock = folder.tryLock(name.slice(0, -FILE_SUFFIX.length) + LOCK_SUFFIX);
    lock?.release(true);
  }
}
