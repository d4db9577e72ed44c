/** Shared helpers for tests of the login throttle: clients from any address with one request each. */
import { assert, assertEquals } from "@std/assert";
import { Errno, Msg, type Received } from "../harness/protocol_numbers.ts";
import { PASSWORD } from "../harness/framed_client.ts";
import { connectFrom } from "../harness/proxy.ts";
import type { Address } from "../harness/server.ts";

export const MAX_RETRY_AFTER_MS = 60_000; // ms, the greatest retry_after

/** Returns the reply to one login on a connection of its own, and closes that. */
export async function tryLogin(
  at: Address,
  host: string,
  who: object,
  password = "wrong",
): Promise<Received> {
  await using client = await connectFrom(at, host);
  return await client.request({ msgid: Msg.LOGIN, ...who, password, force: true });
}

/** Returns the reply to one registration. */
export async function tryRegister(at: Address, host: string, name: string): Promise<Received> {
  await using client = await connectFrom(at, host);
  return await client.request({ msgid: Msg.REGISTER, name, password: PASSWORD });
}

/** The fields of every refusal. */
type Refusal = Pick<Received, "errno" | "errmsg" | "retry_after">;

/** Asserts that a request was refused by the throttle. */
export function assertLimited({ errno, errmsg, retry_after }: Refusal, words: string): void {
  assertEquals([errno, errmsg], [Errno.RATE_LIMITED, words]);
  assert(
    Number.isInteger(retry_after) && retry_after! > 0 && retry_after! <= MAX_RETRY_AFTER_MS,
    `${retry_after} ms`,
  );
}

export const ACCOUNT_REASON = "too many wrong passwords for this account";
export const ADDRESS_REASON = "too many logins by password from this address";
export const REGISTRATION_REASON = "too many registrations from this address";

let lastAddress = 0;

/** Returns an address that no client has used. */
export function freshAddress(): string {
  lastAddress++;
  return `198.51.${lastAddress >> 8}.${lastAddress & 255}`;
}

/** An exempt address, for which only wrong passwords of an account are counted. */
export const EXEMPT = "127.0.0.9";
