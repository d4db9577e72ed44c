/** The certificates of authorities, as an operator gives them in a file. */
import { X509Certificate } from "node:crypto";

const BEGIN_MARKER = /-----BEGIN CERTIFICATE-----/g;
const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

/**
 * Checks certificates in PEM form. Throws an Error of one line if there is none, or one that cannot be read: the runtime
 * would pass over that one and refuse the server's certificate later, for no reason that can be seen.
 */
export function checkAuthorities(pem: string): void {
  const certificates = pem.match(CERTIFICATE) ?? [];
  const beginCount = pem.match(BEGIN_MARKER)?.length ?? 0;
  if (beginCount === 0) throw new Error("it has no certificate in PEM form");
  if (beginCount > certificates.length) throw new Error("it is cut off: a certificate in it has no end");
  for (const [i, certificate] of certificates.entries()) {
    try {
      new X509Certificate(certificate);
    } catch (error) {
      throw new Error(`its certificate ${i + 1} is damaged: ${(error as Error).message}`);
    }
  }
}
