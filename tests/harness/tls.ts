/** Certificates of tests, made by openssl(1). */
import { needTool } from "./tools.ts";

/** The files of a certificate. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

const NEW_KEY: readonly string[] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"];
const A_DAY: readonly string[] = ["-days", "1"];

/** A certificate authority of one test. Disposing of it removes its certificates. */
export class Authority implements AsyncDisposable {
  /** Its own certificate in PEM form, for the clients. */
  readonly ca: string;
  readonly caFile: string;
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
    this.caFile = `${folder}/ca.pem`;
    this.ca = Deno.readTextFileSync(this.caFile);
  }

  /** Creates an authority. */
  static async make(): Promise<Authority> {
    await needTool("openssl", "openssl", "version");
    const folder = await Deno.makeTempDir({ prefix: "chat-tls-" });
    const files = ["-keyout", `${folder}/ca.key`, "-out", `${folder}/ca.pem`];
    await openssl(
      "req",
      "-x509",
      ...NEW_KEY,
      ...A_DAY,
      ...files,
      "-subj",
      `/CN=Authority ${crypto.randomUUID()}`,
    );
    return new Authority(folder);
  }

  /** Issues a certificate for a server with this name or address. */
  async issue(host = "127.0.0.1"): Promise<Certificate> {
    const name = `${this.#folder}/${crypto.randomUUID()}`;
    const [cert, key] = [`${name}.pem`, `${name}.key`];
    const issuer = ["-CA", this.caFile, "-CAkey", `${this.#folder}/ca.key`];
    const kind = /^[\d.]+$/.test(host) ? "IP" : "DNS";
    const what = ["-subj", `/CN=${host}`, "-addext", `subjectAltName=${kind}:${host}`];
    const leaf = ["-addext", "basicConstraints=critical,CA:FALSE"];
    const files = ["-keyout", key, "-out", cert];
    await openssl("req", "-x509", ...issuer, ...NEW_KEY, ...A_DAY, ...files, ...what, ...leaf);
    return { cert, key };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#folder, { recursive: true });
  }
}

/** Returns the server's options for a certificate. */
export function tlsArgs({ cert, key }: Certificate): readonly string[] {
  return ["--tls-cert", cert, "--tls-key", key];
}

async function openssl(...args: readonly string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command("openssl", {
    args: [...args],
    stdout: "null",
    stderr: "piped",
  }).output();
  if (!success) throw new Error(`openssl ${args[0]} failed: ${new TextDecoder().decode(stderr)}`);
}
