import { choice, duration, flag, integer } from "../declare.ts";

/** Accounts: password hashing, login throttling, session tokens, and rules for new passwords and names. */
export const passwordsAndTokens = {
  argon2Memory: integer(
    19_456,
    8,
    1_048_576,
    "KiB",
    "Password hashing: the memory of a hash with Argon2id in KiB. 19 MiB with 2 passes is OWASP's advice.",
  ),
  argon2Passes: integer(2, 1, 100, "count", "Password hashing: the passes of Argon2id over its memory."),
  scryptLn: integer(
    15,
    1,
    20,
    "exponent",
    "Hashes of earlier releases: log2 of scrypt's cost N. Hashes of up to 8 times the cost are verified, and " +
      "replaced by Argon2id at the next login. New hashes do not use it.",
  ),
  scryptR: integer(8, 1, 32, "count", "Hashes of earlier releases: scrypt's block size r."),
  scryptP: integer(3, 1, 16, "count", "Hashes of earlier releases: scrypt's parallelization p."),
  hashQueue: integer(
    1_000,
    1,
    100_000,
    "count",
    "Maximum number of passwords that wait to be hashed. Beyond it, a waiting password of the address with " +
      "the most waiting gets errno 8.",
  ),
  maxFailedLogins: integer(
    10,
    1,
    1_000_000,
    "count",
    "Maximum number of wrong passwords for one account within --attempts-window, in the whole cluster, " +
      "from one IPv4 address, IPv6 /48 or known device. Then its passwords get errno 8. All unknown " +
      "addresses together have ten times as many in six times the window: 100 an hour by default. After " +
      "that, each address has one.",
  ),
  maxLoginsPerAddress: integer(
    300,
    1,
    1_000_000,
    "count",
    "Maximum number of logins by password from one IPv4 address or IPv6 /64 within --attempts-window, in " +
      "the whole cluster. Further ones get errno 8.",
  ),
  maxRegistrationsPerAddress: integer(
    100,
    1,
    1_000_000,
    "count",
    "Maximum number of registrations from one IPv4 address or IPv6 /64 within --attempts-window, in the " +
      "whole cluster. Further ones get errno 8.",
  ),
  attemptsWindow: duration(
    600_000,
    1_000,
    "Time in which the number of attempts refills, continuously, after it was used up.",
  ),
  tokenTtl: duration(
    30 * 86_400_000,
    1_000,
    "A session's token expires after this time without a login by token.",
    365 * 86_400_000,
  ),
  tokenLifetime: duration(
    90 * 86_400_000,
    3_600_000,
    "A session's token expires this long after the login by password that issued it, even if it is in use. " +
      "It bounds the use of a stolen token. The server counts it in hours.",
    3_650 * 86_400_000,
  ),
  acceptPlainPasswords: flag(
    "Accepts passwords that the database has as plain text, and hashes each at its first login. Without " +
      "it, such an account cannot log in by password. In both cases the log names the user's id.",
  ),
  minPassword: integer(
    8,
    1,
    128,
    "characters",
    "Least length of a new password, as in NIST SP 800-63B. Accounts with shorter passwords can still log " +
      "in.",
  ),
  commonPasswords: choice<"refuse" | "allow">(
    "refuse",
    ["refuse", "allow"],
    "Handling of new passwords that attackers guess first: the 10,000 most common ones, one repeated " +
      "character, and the account's name.",
  ),
  confusableNames: choice<"refuse" | "allow">(
    "refuse",
    ["refuse", "allow"],
    "Handling of new names that mix scripts or hide combining marks, and so can imitate other names. " +
      "Existing names stay valid.",
  ),
};
