/** A real MariaDB or MySQL server: its own process, a free port of 127.0.0.1, and a temporary folder. */
import { type Connection, createConnection } from "mysql2/promise";
import { database } from "./database_program.ts";
import { asRoot, installData } from "./mariadb_data.ts";
import { freePort } from "./ports.ts";
import { needTool } from "./tools.ts";
import { TIMEOUT_MS, until, within } from "./wait.ts";

/** The rows of a statement by column names; empty for statements without rows. */
export type Rows = Record<string, unknown>[];

/** Options of a database server. */
export interface MariadbOptions {
  /** Further options of the command line. */
  readonly args?: readonly string[];
}

const START_TRIES = 5; // another program may take a free port before the server listens on it
const SHOWN_LOG_BYTES = 8_192; // bytes of the end of the log that a failed start shows

/** A database server. A restart retains its port and its data. */
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

  /** Returns the URL of a database on this server for an account; root by default. */
  url(database: string, account = "root"): string {
    return `mysql://${account}@${this.host}:${this.port}/${database}`;
  }

  /** Runs one statement with all rights and returns its rows. */
  sql(statement: string, values: readonly (string | number)[] = [], database?: string): Promise<Rows> {
    return query(this.url(database ?? ""), statement, values);
  }

  /** Creates an empty database with a new name. */
  async fresh(): Promise<TestDatabase> {
    const name = `test${++this.#databases}`;
    await this.sql(`CREATE DATABASE ${name}`);
    return new TestDatabase(this, name);
  }

  /** Starts the server and resolves when it accepts statements. Rejects with its log when it ends instead. */
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
      // Another server may have taken the port. Then this one is about to end.
      const [row] = await this.sql("SELECT @@socket AS socket").catch(() => []);
      return row?.socket === `${this.folder}/socket`;
    }, "a database server that answers");
  }

  /** Sends the process a signal. */
  kill(signal: "SIGKILL" | "SIGTERM" | "SIGSTOP" | "SIGCONT" = "SIGKILL"): void {
    this.#child.kill(signal);
  }

  /** Waits for the end of the process. */
  async wait(): Promise<void> {
    await within(this.#child.status, "the database server's end");
  }

  /** Ends the server cleanly. */
  async stop(): Promise<void> {
    this.kill("SIGTERM");
    await this.wait();
  }

  /** Kills the process if it runs. */
  async end(): Promise<void> {
    if (!this.#ended) this.kill();
    await this.#child.status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
    await Deno.remove(this.folder, { recursive: true });
  }
}

/** A database of one test. Disposing of it drops it. */
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

  /** Runs one statement in this database with all rights and returns its rows. */
  sql(statement: string, values: readonly (string | number)[] = []): Promise<Rows> {
    return this.server.sql(statement, values, this.name);
  }

  /** Begins a transaction. Disposing of it rolls it back. */
  async transaction(): Promise<Transaction> {
    const connection = await createConnection({ uri: this.url });
    await connection.beginTransaction();
    return new Transaction(connection);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server.sql(`DROP DATABASE IF EXISTS ${this.name}`);
  }
}

/** An open transaction. Disposing of it rolls it back. */
export class Transaction implements AsyncDisposable {
  readonly #connection: Connection;

  /** Use {@link TestDatabase.transaction}. */
  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** Runs one statement in the transaction and returns its rows. */
  async sql(statement: string, values: readonly (string | number)[] = []): Promise<Rows> {
    const [rows] = await this.#connection.query(statement, [...values]);
    return Array.isArray(rows) ? rows as Rows : [];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection.end();
  }
}

/** Starts a database server and resolves when it accepts statements. Use it with `await using`. */
export async function startMariadb(options: MariadbOptions = {}): Promise<Mariadb> {
  await needTool(database.name, database.debianPackage);
  const folder = await Deno.makeTempDir({ prefix: "chat-test-mariadb-" });
  try {
    // Each server has a temporary folder of its own, as it empties that folder at its start.
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
    await Deno.remove(folder, { recursive: true }).catch(() => {}); // already removed
    throw error;
  }
}

/** The database server of a test file. */
export interface SharedMariadb {
  /** Defines a test with a database of its own on the server. The test must leave the server running. */
  test(name: string, body: (db: TestDatabase) => Promise<void>): void;
  /** Creates an empty database on the server, for tests that are defined elsewhere. */
  fresh(): Promise<TestDatabase>;
}

/** Starts one database server before the first test of a file, and ends it after the last. */
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
