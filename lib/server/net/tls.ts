/** The server's side of TLS: its certificate, which can be reloaded, and its connections. */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { createSecureContext, type SecureContext } from "node:tls";
import type { Config } from "../../config/options.ts";
import { describeError, type Log, LogThrottle } from "../../log.ts";
import type { ClientAddress } from "./client_address.ts";
import { TlsSocket } from "./tls_socket.ts";

/** The paths of certificate and key. */
type TlsFiles = Pick<Config, "tlsCert" | "tlsKey">;

/** Wraps connections in TLS. */
export class Tls {
  readonly #log: Log;
  readonly #files: TlsFiles;
  readonly #handshakeFailureLog = new LogThrottle();
  #context: SecureContext;

  /** Reads the files. Throws an Error of one line with the file and the problem. */
  constructor(files: TlsFiles, log: Log) {
    this.#files = files;
    this.#log = log;
    this.#context = this.#read();
  }

  /**
   * Reloads the files for new connections. If they are invalid, it logs an error, and the old certificate
   * stays.
   */
  reload(): void {
    try {
      this.#context = this.#read();
      this.#log.info("TLS certificate reloaded", { file: this.#files.tlsCert });
    } catch (error) {
      this.#log.error("Cannot reload the TLS certificate", { error: describeError(error) });
    }
  }

  /** Wraps a connection in TLS. A PROXY header is read before the handshake. */
  wrap(socket: Deno.TcpConn, address: ClientAddress): TlsSocket {
    return new TlsSocket(socket, {
      secureContext: this.#context,
      proxyHeader: address,
      onHandshakeError: (error) => {
        this.#handshakeFailureLog.log((count) =>
          this.#log.debug("TLS handshake failed", { from: address.remoteAddress, error, count })
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

/** A file, with its name in error messages. */
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
    throw new Error(`Cannot read ${name}`, { cause: error });
  }
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;
/** The key types that TLS clients support, besides those on {@link CURVES}. */
const KEY_TYPES: readonly (string | undefined)[] = ["rsa", "ed25519"];
const CURVES: readonly (string | undefined)[] = ["prime256v1", "secp384r1", "secp521r1"];

/**
 * Checks that certificate and key are valid and belong together. The runtime would only notice at the first
 * handshake. Returns the expiry of the certificate.
 */
function checkKeyPair(cert: PemFile, key: PemFile): Date {
  const chain = (cert.text.match(CERTIFICATE) ?? []).map((text) => {
    try {
      return new X509Certificate(text);
    } catch {
      throw new Error(`${cert.name} contains an invalid certificate`);
    }
  });
  const [leaf] = chain;
  if (!leaf) throw new Error(`${cert.name} contains no certificate in PEM format`);
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
    throw new Error(`${name} contains no private key in PEM format, or one with a passphrase`);
  }
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key;
  if (!KEY_TYPES.includes(type) && !CURVES.includes(details?.namedCurve)) {
    throw new Error(`${name} contains a key of a type that TLS clients do not support`);
  }
  return key;
}
