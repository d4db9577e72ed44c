/**
 * The server's side of TLS: its certificate, which may change while it runs, and connections that are made
 * with it.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { createSecureContext, type SecureContext } from "node:tls";
import type { Config } from "../../config/options.ts";
import { describeError, type Log, LogThrottle } from "../../log.ts";
import type { ClientAddress } from "./client_address.ts";
import { TlsSocket } from "./tls_socket.ts";

/** Where certificate and key are. */
type TlsFiles = Pick<Config, "tlsCert" | "tlsKey">;

/** Puts TLS over connections. */
export class Tls {
  readonly #log: Log;
  readonly #files: TlsFiles;
  readonly #handshakeFailureLog = new LogThrottle();
  #context: SecureContext;

  /** Reads the files. Throws an Error of one line that names the file and what is wrong with it. */
  constructor(files: TlsFiles, log: Log) {
    this.#files = files;
    this.#log = log;
    this.#context = this.#read();
  }

  /**
   * Reads the files again, for connections from now on. If they aren't right, the log says so and all stays
   * as it is.
   */
  reload(): void {
    try {
      this.#context = this.#read();
      this.#log.info("TLS certificate read again", { file: this.#files.tlsCert });
    } catch (error) {
      this.#log.error("TLS certificate not read again", { why: describeError(error) });
    }
  }

  /** TLS over a connection, behind the header of a proxy that forwards it as it comes. */
  wrap(socket: Deno.TcpConn, address: ClientAddress): TlsSocket {
    return new TlsSocket(socket, {
      secureContext: this.#context,
      proxyHeader: address,
      onHandshakeError: (why) => {
        this.#handshakeFailureLog.log((count) =>
          this.#log.debug("TLS handshake failed", { from: address.remoteAddress, why, count })
        );
      },
    });
  }

  #read(): SecureContext {
    const [cert, key] = [
      readFile("--tls-cert", this.#files.tlsCert),
      readFile("--tls-key", this.#files.tlsKey),
    ];
    const expiresAt = checkKeyPair(cert, key);
    if (expiresAt.getTime() < Date.now()) {
      this.#log.warn("the TLS certificate has expired", { file: cert.path, until: expiresAt.toISOString() });
    }
    return createSecureContext({ cert: cert.text, key: key.text });
  }
}

/** A file, and how it is called in errors. */
interface PemFile {
  readonly name: string;
  readonly path: string;
  readonly text: string;
}

function readFile(option: string, path: string): PemFile {
  const name = `${option} ${path}`;
  try {
    return { name, path, text: Deno.readTextFileSync(path) };
  } catch (error) {
    throw new Error(`${name} can't be read`, { cause: error });
  }
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;
// these, and those on the curves that TLS clients know
const KEY_TYPES: readonly (string | undefined)[] = ["rsa", "ed25519"];
const CURVES: readonly (string | undefined)[] = ["prime256v1", "secp384r1", "secp521r1"];

/**
 * Tells whether the two would do: the runtime would say so to none but the first client. Gives the
 * certificate's end.
 */
function checkKeyPair(cert: PemFile, key: PemFile): Date {
  const chain = (cert.text.match(CERTIFICATE) ?? []).map((text) => {
    try {
      return new X509Certificate(text);
    } catch {
      throw new Error(`${cert.name} holds a certificate that can't be understood`);
    }
  });
  const [leaf] = chain;
  if (!leaf) throw new Error(`${cert.name} holds no certificate in PEM form`);
  const privateKey = parseKey(key);
  if (!leaf.checkPrivateKey(privateKey)) {
    throw new Error(`${key.name} is not the key of the first certificate in ${cert.path}`);
  }
  return new Date(leaf.validTo);
}

function parseKey({ name, text }: PemFile): KeyObject {
  let key: KeyObject;
  try {
    key = createPrivateKey(text);
  } catch {
    throw new Error(`${name} holds no private key in PEM form, or one with a passphrase`);
  }
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key;
  if (!KEY_TYPES.includes(type) && !CURVES.includes(details?.namedCurve)) {
    throw new Error(`${name} holds a key of a kind that TLS clients don't know`);
  }
  return key;
}
