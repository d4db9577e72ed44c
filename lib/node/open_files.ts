/**
 * The limit of open files (descriptors). A server at this limit can neither accept connections nor reach a
 * database. It cannot start a thread, either, and then the runtime ends the process. So the number of
 * connections is capped at the start, and descriptors for everything else stay free.
 */
import { closeSync, openSync } from "node:fs";
import type { Config } from "../config/options.ts";
import type { Log } from "../log.ts";
import { MAX_CONNECTIONS as HEALTH_CONNECTIONS } from "../server/net/health.ts";

// The counts below were measured on Linux with Deno 2.9. tests/protocol/open_files_test.ts checks them.

/**
 * Descriptors of a thread: two epoll instances, an eventfd and a socket for its event loop, and copies of
 * standard output and standard error.
 */
const FILES_PER_THREAD = 6;

/**
 * Descriptors of a node: the listener, both ends of its self-pipe, and a connection that it accepts to close
 * it.
 */
const FILES_PER_NODE = 4;

/** Threads of the embedded store: one for the database, one for checkpoints of the write-ahead log. */
const STORE_THREADS = 2;

/**
 * Descriptors of the embedded store: the database four times, its lock file, the log three times, the log's
 * index twice.
 */
const STORE_FILES = 10;

/**
 * Descriptors of a connection to MySQL or Redis: the socket, and one to resolve the host's name at a
 * reconnect.
 */
const FILES_PER_BACKEND_CONNECTION = 2;

/**
 * Masters of a Redis Cluster that are assumed if --redis names fewer. The number is only known after
 * connecting.
 */
const CLUSTER_MASTERS = 16;

/**
 * Descriptors of three caches that the runtime may open after the start: each a database, its log and its
 * index.
 */
const CACHE_FILES = 9;

/**
 * Descriptors that are open for a moment: certificate and key at a reload (2), temporary files of SQLite and
 * the copy of a lost database (5), closing connections (3).
 */
export const TRANSIENT_FILES = 10;

/** The number of files that this process may open. */
export interface FileRoom {
  /** The number of files that it may open besides those that are open. */
  readonly free: number;
  /** The number of files that it may have open; undefined if the measurement ended before the limit. */
  readonly limit: number | undefined;
}

/**
 * Returns the descriptors that a server needs besides those that are open at its start, and those of clients.
 */
export function reservedFiles({ workers, mysql, mysqlConnections, redis, healthPort }: Config): number {
  const nodeThreads = workers > 1 ? workers : 0; // a single node has the main thread
  const threads = nodeThreads + (mysql ? 0 : STORE_THREADS);
  const namedMasters = redis ? redis.split(",").length : 0;
  const backendConnections = (mysql ? mysqlConnections : 0) +
    (namedMasters > 1 ? Math.max(namedMasters, CLUSTER_MASTERS) : namedMasters);
  // The health port: its listener, and one connection more, for which another is closed.
  const health = healthPort > 0 ? HEALTH_CONNECTIONS + 2 : 0;
  return threads * FILES_PER_THREAD + (mysql ? 0 : STORE_FILES) +
    workers * (FILES_PER_NODE + backendConnections * FILES_PER_BACKEND_CONNECTION) + health + CACHE_FILES +
    TRANSIENT_FILES;
}

/**
 * Measures how many files this process may open, up to `wanted`, by opening them. A program can read
 * /proc/self/limits only with all permissions, and other systems have no such file. The runtime has raised
 * the soft limit to the hard one before. The measurement takes about 10 µs per file. Other threads must not
 * run yet, because they would find no descriptor free. Returns undefined if the process may open no file.
 */
export function measureFileRoom(wanted: number): FileRoom | undefined {
  const path = ["/", ".", import.meta.dirname, "data"].find((path) => path !== undefined && canOpen(path));
  if (path === undefined) return undefined;
  const open: number[] = [];
  try {
    while (open.length < wanted) open.push(openSync(path, "r"));
    return { free: wanted, limit: undefined };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EMFILE" && open.length === 0) return undefined;
    // The system assigns the lowest free number: the last one is the highest possible.
    return { free: open.length, limit: open.length > 0 ? open.at(-1)! + 1 : undefined };
  } finally {
    open.forEach((file) => closeSync(file));
  }
}

/** Returns whether a path can be opened. The folder of the code does not exist in a compiled program. */
function canOpen(path: string): boolean {
  if (Deno.permissions.querySync({ name: "read", path }).state !== "granted") return false;
  try {
    closeSync(openSync(path, "r"));
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EMFILE";
  }
}

/**
 * Caps `maxConnections` to what the limit of open files allows, with a warning. Returns undefined if it
 * allows no connection at all; the log then says how high the limit must be.
 */
export function capConnections(config: Config, log: Log, measure = measureFileRoom): Config | undefined {
  const { workers, maxConnections } = config;
  const reserved = reservedFiles(config);
  const wanted = Math.ceil(maxConnections / workers) * workers; // as workers divide them
  const room = measure(reserved + wanted);
  if (!room) {
    log.info("the limit of open files is unknown: --max-connections may be more than it allows");
    return config;
  }
  const missing = reserved + wanted - room.free;
  if (missing <= 0) return config;
  const limit = room.limit ?? room.free;
  const possible = Math.floor((room.free - reserved) / workers) * workers;
  const needed = limit + missing;
  if (possible > 0) {
    log.warn(
      "--max-connections is capped: the limit of open files is too low (ulimit -n)",
      { maxConnections, possible, limit, needed },
    );
    return { ...config, maxConnections: possible };
  }
  const minLimit = needed - wanted + workers;
  log.error(
    `Cannot start: the limit of open files is ${limit}, and this configuration needs ${minLimit} for a first ` +
      `connection; raise it (ulimit -n, LimitNOFILE= in a systemd unit, --ulimit nofile= of Docker) to ${needed} for ` +
      `--max-connections ${maxConnections}`,
  );
  return undefined;
}
