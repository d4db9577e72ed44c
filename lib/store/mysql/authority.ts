/** Checks the certificates of authorities that an operator gives in a file. */
import { X509Certificate } from "node:crypto";

const BEGIN_MARKER = /-----BEGIN CERTIFICATE-----/g;
const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

/**
 * Checks certificates in PEM form. Throws an Error of one line if there is none, or if one is unreadable. The
 * runtime would skip that one, and later reject the server's certificate for no visible reason.
 */
export function checkAuthorities(pem: string): void {
  const certificates = pem.match(CERTIFICATE) ?? [];
  const beginCount = pem.match(BEGIN_MARKER)?.length ?? 0;
  if (beginCount === 0) throw new Error("no certificate in PEM form");
  if (beginCount > certificates.length) {
    throw new Error("truncated: a certificate has no end");
  }
  for (const [i, certificate] of certificates.entries()) {
    try {
      new X509Certificate(certificate);
    } catch (error) {
      throw new Error(`certificate ${i + 1} is damaged: ${(error as Error).message}`);
    }
  }
}
