/** The fixture of the login throttle tests: clients from any address, with one request each. */
import { assert, assertEquals } from "@std/assert";
import { Errno, Msg, type Received } from "../harness/protocol_numbers.ts";
import { PASSWORD } from "../harness/framed_client.ts";
import { connectFrom } from "../harness/proxy.ts";
import type { Address } from "../harness/server.ts";

export const WAIT_AT_MOST = 60_000; // milliseconds that a client is told to wait

/** Returns the reply to one login on a connection of its own. */
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

/** Asserts that a request was refused because of a limit. */
export function assertLimited({ errno, errmsg, retry_after }: Refusal, words: string): void {
  assertEquals([errno, errmsg], [Errno.RATE_LIMITED, words]);
  assert(
    Number.isInteger(retry_after) && retry_after! > 0 && retry_after! <= WAIT_AT_MOST,
    `${retry_after} ms`,
  );
}

export const ACCOUNT = "too many wrong passwords for this account";
export const ADDRESS = "too many logins by password from this address";
export const REGISTER = "too many registrations from this address";

let lastAddress = 0;

/** Returns an address from which no client has connected. */
export function freshAddress(): string {
  lastAddress++;
  return `198.51.${lastAddress >> 8}.${lastAddress & 255}`;
}

/** Limits that do not count addresses, only wrong passwords of an account. */
export const EXEMPT = "127.0.0.9";
