/** The database server that tests start: MariaDB, or MySQL if the environment has `TEST_DATABASE=mysql`. */

/** A program, and how to make the files of a new server. */
export interface DatabaseProgram {
  readonly name: string;
  /** The package of Debian, or of Ubuntu, that has it. */
  readonly debianPackage: string;
  /** The client that runs files of statements, and its package. */
  readonly client: string;
  readonly clientPackage: string;
  /** Options that make a server small and quick to start, and leave it as durable as it is by default. */
  readonly small: readonly string[];
  /** Options for a server without TLS. MySQL, and MariaDB from 11.4 on, make a certificate of their own. */
  readonly plain: readonly string[];
  /** The command that makes the files of a new server, whose account `root` has no password. */
  install(folder: string): readonly string[];
}

const mariadb: DatabaseProgram = {
  name: "mariadbd",
  debianPackage: "mariadb-server",
  client: "mariadb",
  clientPackage: "mariadb-client",
  small: [
    "--innodb-buffer-pool-size=64M",
    "--innodb-log-file-size=32M",
    "--performance-schema=OFF",
    "--skip-name-resolve",
  ],
  plain: ["--skip-ssl"],
  install: (folder) => [
    "mariadb-install-db",
    "--no-defaults",
    "--skip-test-db",
    "--auth-root-authentication-method=normal",
    `--datadir=${folder}/data`,
    `--tmpdir=${folder}/tmp`,
  ],
};

/** MySQL's `root` may log in from localhost only, and without names of hosts 127.0.0.1 is another host. */
const MYSQL_ROOT = "CREATE USER root@'127.0.0.1'; GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n";

const mysql: DatabaseProgram = {
  name: "mysqld",
  debianPackage: "mysql-server",
  client: "mysql",
  clientPackage: "mysql-client",
  small: [
    "--innodb-buffer-pool-size=64M",
    "--innodb-redo-log-capacity=32M",
    "--performance-schema=OFF",
    "--skip-name-resolve",
    "--mysqlx=OFF", // another port
    "--secure-file-priv=NULL", // the default is a folder that only the package's own set-up makes
  ],
  plain: ["--tls-version="],
  install(folder) {
    const file = `${folder}/root.sql`;
    Deno.writeTextFileSync(file, MYSQL_ROOT);
    return [
      "mysqld",
      "--no-defaults",
      "--initialize-insecure",
      `--init-file=${file}`,
      `--datadir=${folder}/data`,
      `--tmpdir=${folder}/tmp`,
    ];
  },
};

/** The one that is used. */
export const database: DatabaseProgram = chosen(Deno.env.get("TEST_DATABASE") ?? "mariadb");

function chosen(name: string): DatabaseProgram {
  if (name === "mariadb") return mariadb;
  if (name === "mysql") return mysql;
  throw new Error(`TEST_DATABASE must be mariadb or mysql, not "${name}"`);
}
