/**
 * The tokens that outlive the program: one file per server address and account. A token is as good as the password, so
 * that the files are the user's alone, and a token goes to no server but the ones for which it was saved.
 */
import type { SavedLogin, TokenStore, UserRef } from "./login.ts";
import { type Lock, PrivateFolder, UnsafeFileError } from "./private_folder.ts";
import type { Address } from "./transport.ts";

/** Saved logins per server address: the one that was used longest ago makes room for the next. */
export const MAX_SAVED_LOGINS = 100;

const FILE_SUFFIX = ".json";
const LOCK_SUFFIX = ".lock";
const CLAIM_INTERVAL_MS = 500; // a client that was taken over from ends within about as much

/** A file's content. */
interface Entry extends SavedLogin {
  /** Milliseconds since 1970. */
  readonly saved: number;
}

/** An account in use by this program: a lock for each server, as far as there are any yet. */
interface Claim {
  readonly id: number;
  readonly locks: Lock[];
  /** While another program has one of them. */
  timer: ReturnType<typeof setInterval> | undefined;
}

/** What is saved for some servers, which are taken for nodes of one and the same service. */
export class SavedLogins implements TokenStore {
  readonly #folders: readonly PrivateFolder[];
  readonly #warn: (text: string) => void;
  readonly #warned = new Set<string>();
  #claimed: Claim | undefined;
  #token: string | undefined; // that was saved last

  /** In the folder `root`, of the user with the system's number `uid`. `warn` is told, once, of each thing amiss. */
  constructor(root: string, servers: readonly Address[], uid: number, warn: (text: string) => void) {
    const names = new Set(servers.map(folderOf));
    this.#folders = [...names].map((name) => new PrivateFolder(root, name, uid));
    this.#warn = warn;
  }

  /** The user's saved login; without a user, the only one that there is. */
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
   * Marks the account as in use by this program, until {@link release}. False if another program of this user does
   * already, or this can't be found out; then it is marked as soon as that one ends.
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

  /** Ends what {@link claim} began. A lock's file stays only beside a saved login. */
  release(): void {
    const claimed = this.#claimed;
    if (!claimed) return;
    this.#claimed = undefined;
    clearInterval(claimed.timer);
    for (const [at, lock] of claimed.locks.entries()) {
      const isSaved = this.#try(
        "the lock's file is not removed",
        () => this.#folders[at]!.modifiedAt(`${claimed.id}${FILE_SUFFIX}`) > 0,
      ) ?? true;
      this.#try("the lock's file is not removed", () => lock.release(!isSaved));
    }
  }

  /** Saves a login in place of the account's last one. */
  save(login: SavedLogin): void {
    this.claim(login.id);
    if (this.#token === login.token) return;
    this.#token = login.token;
    const { id, name, token } = login;
    const text = JSON.stringify({ id, name, token, saved: Date.now() } satisfies Entry);
    for (const folder of this.#folders) {
      this.#try("the session's token is not saved", () => {
        folder.write(`${id}${FILE_SUFFIX}`, `${text}\n`);
        prune(folder);
      });
    }
  }

  /** Removes a token. What another program has saved in its place stays. */
  remove(token: string): void {
    if (this.#token === token) this.#token = undefined;
    for (const folder of this.#folders) {
      for (const entry of this.#entriesOf(folder)) {
        if (entry.token !== token) continue;
        this.#try("the saved token is not removed", () => folder.remove(`${entry.id}${FILE_SUFFIX}`));
      }
    }
  }

  #entries(): Entry[] {
    return this.#folders.flatMap((folder) => this.#entriesOf(folder));
  }

  #entriesOf(folder: PrivateFolder): Entry[] {
    const names = this.#try("no saved token is used", () => folder.list(FILE_SUFFIX)) ?? [];
    return names.flatMap((name) =>
      this.#try("a saved token is not used", () => {
        const text = folder.read(name);
        if (text === undefined) return [];
        const entry = parseEntry(text);
        if (!entry || name !== `${entry.id}${FILE_SUFFIX}`) throw new UnsafeFileError(`${name} is damaged`);
        return [entry];
      }) ?? []
    );
  }

  #lock(claim: Claim): boolean {
    const isLocked = this.#try("the saved token is not guarded", () => {
      for (const folder of this.#folders.slice(claim.locks.length)) {
        const lock = folder.tryLock(`${claim.id}${LOCK_SUFFIX}`);
        if (!lock) return false;
        claim.locks.push(lock);
      }
      return true;
    }) ?? true; // where files can't be locked, clients can't notice each other
    if (!isLocked) return false;
    clearInterval(claim.timer);
    claim.timer = undefined;
    return true;
  }

  /** Does it, or warns: saving is a convenience, and chat goes on without. */
  #try<T>(what: string, work: () => T): T | undefined {
    try {
      return work();
    } catch (error) {
      const problem = error instanceof Error ? error.message : String(error);
      const text = `${what}: ${problem}`;
      if (!this.#warned.has(problem)) this.#warn(text);
      this.#warned.add(problem);
      return undefined;
    }
  }
}

/** A folder's name for a server. A token that came over TLS is not for the same address without. */
function folderOf({ hostname, port, tls }: Address): string {
  return `${tls ? "tls" : "tcp"}-${encodeURIComponent(hostname.toLowerCase())}-${port}`;
}

function isLoginOf(user: UserRef | undefined, { id, name }: SavedLogin): boolean {
  if (!user) return true;
  // The server knows more forms of a name; where they differ, it costs the user one more password.
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
