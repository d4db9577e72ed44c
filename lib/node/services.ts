/**
 * The access to MySQL and Redis: the configuration, with the passwords and certificates in the files that it
 * names.
 */
import type { Warning } from "../config/environment.ts";
import type { Config } from "../config/options.ts";
import { readSecret } from "../config/secret_file.ts";
import type { AccessOptions } from "../store/mysql/address.ts";

/** Reports a warning to the operator. */
export type Warn = (warning: Warning) => void;

/** The part of the configuration about the access to MySQL. */
export type MysqlConfig = Pick<Config, "mysqlCa" | "mysqlPasswordFile" | "singleWriter">;

/**
 * Returns the access options that are not in the URL. Rejects with an Error of one line that names the file.
 */
export async function mysqlAccess(config: MysqlConfig, warn: Warn): Promise<AccessOptions> {
  const { mysqlCa, mysqlPasswordFile, singleWriter } = config;
  return {
    singleWriter: singleWriter === "yes",
    ...(mysqlCa ? { ca: await readCaCertificates(mysqlCa) } : {}),
    ...(mysqlPasswordFile
      ? { password: await readPassword("--mysql-password-file", mysqlPasswordFile, warn) }
      : {}),
  };
}

/** Returns the URLs of Redis, with the password if it is in a file. Rejects as {@link mysqlAccess} does. */
export async function redisUrls(
  { redis, redisPasswordFile }: Pick<Config, "redis" | "redisPasswordFile">,
  warn: Warn,
): Promise<readonly string[]> {
  const urls = redis.split(",");
  if (!redisPasswordFile) return urls;
  const password = await readPassword("--redis-password-file", redisPasswordFile, warn);
  return urls.map((url) => {
    const parsed = new URL(url);
    parsed.password = encodeURIComponent(password);
    return parsed.href;
  });
}

async function readPassword(option: string, file: string, warn: Warn): Promise<string> {
  const { text, warnings } = await readSecret(option, file);
  warnings.forEach(warn);
  return text;
}

async function readCaCertificates(file: string): Promise<string> {
  let pem: string;
  try {
    pem = await Deno.readTextFile(file);
  } catch (error) {
    throw new Error(`Cannot read --mysql-ca ${file}: ${(error as Error).message}`);
  }
  const { checkAuthorities } = await import("../store/mysql/authority.ts");
  try {
    checkAuthorities(pem);
  } catch (error) {
    throw new Error(`Cannot use --mysql-ca ${file}: ${(error as Error).message}`);
  }
  return pem;
}
