/** The certificates of authorities, as an operator gives them in a file. */
import { X509Certificate } from "node:crypto";

const BEGIN = /-----BEGIN CERTIFICATE-----/g;
const WHOLE = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

/**
 * Checks certificates in PEM form. Throws an Error of one line if there is none, or one that cannot be read: the runtime
 * would pass over that one and refuse the server's certificate later, for no reason that can be seen.
 */
export function checkAuthorities(pem: string): void {
  const whole = pem.match(WHOLE) ?? [];
  const begun = pem.match(BEGIN)?.length ?? 0;
  if (begun === 0) throw new Error("it has no certificate in PEM form");
  if (begun > whole.length) throw new Error("it is cut off: a certificate in it has no end");
  for (const [i, certificate] of whole.entries()) {
    try {
      new X509Certificate(certificate);
    } catch (error) {
      throw new Error(`its certificate ${i + 1} is damaged: ${(error as Error).message}`);
    }
  }
}
