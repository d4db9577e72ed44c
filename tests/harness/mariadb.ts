/** A real MariaDB or MySQL server: its own process, a free port of 127.0.0.1, and a temporary folder. */
import { type Connection, createConnection } from "mysql2/promise";
import { database } from "./database_program.ts";
import { asRoot, installData } from "./mariadb_data.ts";
import { freePort } from "./ports.ts";
import { needTool } from "./tools.ts";
import { TIMEOUT_MS, until, within } from "./wait.ts";

/** What an operator's statement gives: rows by their columns' names, or none. */
export type Rows = Record<string, unknown>[];

/** How to start a database server. */
export interface MariadbOptions {
  /** Options of the command line, besides those that make it small and put it where it belongs. */
  readonly args?: readonly string[];
}

const START_TRIES = 5; // another program may take a port between finding it free and listening on it
const SHOWN_LOG_BYTES = 8_192; // bytes of the log's end that are shown when it doesn't start

/** One database server. It is the same one after a restart: same port, same data. */
export class Mariadb implements AsyncDisposable {
  readonly host = "127.0.0.1";
  readonly port: number;
  readonly folder: string;
  readonly #args: readonly string[];
  #child!: Deno.ChildProcess;
  #ended = true;
  #databases = 0;

  /** Use {@link startMariadb}. */
  constructor(folder: string, port: number, options: MariadbOptions) {
    this.folder = folder;
    this.port = port;
    this.#args = options.args ?? [];
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** The URL of a database on this server, for an account of the server's; that with all rights if it isn't given. */
  url(database: string, account = "root"): string {
    return `mysql://${account}@${this.host}:${this.port}/${database}`;
  }

  /** Runs one statement as an operator would, with all rights, and gives its rows. */
  sql(statement: string, values: readonly (string | number)[] = [], database?: string): Promise<Rows> {
    return query(this.url(database ?? ""), statement, values);
  }

  /** Makes an empty database that no other test has. */
  async fresh(): Promise<TestDatabase> {
    const name = `test${++this.#databases}`;
    await this.sql(`CREATE DATABASE ${name}`);
    return new TestDatabase(this, name);
  }

  /** Starts it, where it has ended, and resolves when it answers; rejects, with its log, when it ends instead. */
  async start(): Promise<void> {
    const log = `${this.folder}/server.log`;
    this.#ended = false;
    const child = new Deno.Command(database.name, {
      args: [
        "--no-defaults",
        `--datadir=${this.folder}/data`,
        `--socket=${this.folder}/socket`,
        `--pid-file=${this.folder}/pid`,
        `--tmpdir=${this.folder}/tmp`,
        `--log-error=${log}`,
        `--bind-address=${this.host}`,
        `--port=${this.port}`,
        ...asRoot(),
        ...database.small,
        ...this.#args,
      ],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    this.#child = child;
    child.status.then(() => {
      if (child === this.#child) this.#ended = true;
    });
    await until(async () => {
      if (this.#ended) {
        throw new Error(
          `${database.name} ended instead of answering:\n${
            Deno.readTextFileSync(log).slice(-SHOWN_LOG_BYTES)
          }`,
        );
      }
      return await this.sql("SELECT 1").catch(() => undefined);
    }, "a database server that answers");
  }

  /** Sends it a signal. */
  kill(signal: "SIGKILL" | "SIGTERM" | "SIGSTOP" | "SIGCONT" = "SIGKILL"): void {
    this.#child.kill(signal);
  }

  /** Resolves when it has ended, by itself or by a signal sent to it. */
  async wait(): Promise<void> {
    await within(this.#child.status, "the database server's end");
  }

  /** Ends it as an operator does, so that it can be started again. */
  async stop(): Promise<void> {
    this.kill("SIGTERM");
    await this.wait();
  }

  /** Kills it, if it still runs. */
  async end(): Promise<void> {
    if (!this.#ended) this.kill();
    await this.#child.status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
    await Deno.remove(this.folder, { recursive: true });
  }
}

/** A database of its own for one test. Disposing of it drops it. */
export class TestDatabase implements AsyncDisposable {
  readonly server: Mariadb;
  readonly name: string;

  /** Use {@link Mariadb.fresh}. */
  constructor(server: Mariadb, name: string) {
    this.server = server;
    this.name = name;
  }

  get url(): string {
    return this.server.url(this.name);
  }

  /** Runs one statement in this database, with all rights, and gives its rows. */
  sql(statement: string, values: readonly (string | number)[] = []): Promise<Rows> {
    return this.server.sql(statement, values, this.name);
  }

  /** Begins a transaction as an operator would. Disposing of it rolls it back. */
  async transaction(): Promise<Transaction> {
    const connection = await createConnection({ uri: this.url });
    await connection.beginTransaction();
    return new Transaction(connection);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server.sql(`DROP DATABASE IF EXISTS ${this.name}`);
  }
}

/** An operator's transaction, until it is disposed of. */
export class Transaction implements AsyncDisposable {
  readonly #connection: Connection;

  /** Use {@link TestDatabase.transaction}. */
  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** Runs one statement in it, and gives its rows. */
  async sql(statement: string, values: readonly (string | number)[] = []): Promise<Rows> {
    const [rows] = await this.#connection.query(statement, [...values]);
    return Array.isArray(rows) ? rows as Rows : [];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection.end();
  }
}

/** Starts a database server and resolves when it answers. Dispose of it when done: `await using`. */
export async function startMariadb(options: MariadbOptions = {}): Promise<Mariadb> {
  await needTool(database.name, database.debianPackage);
  const folder = await Deno.makeTempDir({ prefix: "chat-test-mariadb-" });
  try {
    // Each has its own, as a server that starts removes what others have for the moment in the system's.
    await Deno.mkdir(`${folder}/tmp`);
    // MySQL's files depend on it, too.
    const shaping = options.args?.filter((arg) => arg.startsWith("--lower-case-table-names")) ?? [];
    await installData(folder, [...database.small, ...shaping]);
    for (let tries = 1;; tries++) {
      const server = new Mariadb(folder, freePort(), options);
      try {
        await server.start();
        return server;
      } catch (error) {
        await server.end();
        if (tries === START_TRIES) throw error;
      }
    }
  } catch (error) {
    await Deno.remove(folder, { recursive: true }).catch(() => {}); // it may be gone already
    throw error;
  }
}

/** One database server for the tests of a file. */
export interface SharedMariadb {
  /** Defines a test with a database of its own on the server, which it must leave running. */
  test(name: string, body: (db: TestDatabase) => Promise<void>): void;
  /** Makes an empty database on the server, for tests that are defined elsewhere. */
  fresh(): Promise<TestDatabase>;
}

/** One database server for all tests of a file, started before the first and ended after the last. */
export function sharedMariadb(options: MariadbOptions = {}): SharedMariadb {
  let server: Mariadb | undefined;
  Deno.test.beforeAll(async () => {
    server = await startMariadb(options);
  });
  Deno.test.afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
  });
  const fresh = () => server!.fresh();
  return {
    fresh,
    test(name, body) {
      Deno.test(name, async () => {
        await using db = await fresh();
        await body(db);
      });
    },
  };
}

async function query(url: string, statement: string, values: readonly (string | number)[]): Promise<Rows> {
  const connection = await createConnection({ uri: url, connectTimeout: TIMEOUT_MS });
  try {
    const [rows] = await connection.query(statement, [...values]);
    return Array.isArray(rows) ? rows as Rows : [];
  } finally {
    await connection.end();
  }
}
