/** Logins in a closed loop, each on a connection of its own. */
import { Msg } from "../harness/protocol_numbers.ts";
import { PASSWORD } from "../harness/framed_client.ts";
import type { Address } from "../harness/server.ts";
import { pause } from "../harness/wait.ts";
import { type Latency, latency } from "./latency.ts";
import { type Costs, CpuMeter } from "./cpu.ts";
import { inParallel, Peer } from "./peer.ts";

/** The parameters of a run. */
export interface LoginPlan {
  readonly by: "password" | "token";
  /** Users, who log in one after the other; at least {@link LoginPlan.window}. */
  readonly users: number;
  /** Concurrent logins. */
  readonly window: number;
  readonly seconds: number;
  readonly pids: readonly number[];
}

/** The result of a run. Costs are per million logins. */
export interface LoginResult extends Costs {
  readonly logins: number;
  readonly loginsPerSecond: number;
  /** From the connection attempt to the reply to the login. */
  readonly latency: Latency;
}

const SETUP_CONCURRENCY = 20; // users that are registered at the same time

/** Registers users, repeats their logins on the servers in turn, and returns the counts. */
export async function logins(servers: readonly Address[], plan: LoginPlan): Promise<LoginResult> {
  const run = crypto.randomUUID().slice(0, 8);
  const server = (at: number) => servers[at % servers.length]!;
  const users = await inParallel(plan.users, SETUP_CONCURRENCY, async (at) => {
    const peer = await Peer.connect(server(at));
    const id = await peer.register(`${run} login ${at}`);
    const { token } = await peer.ask({ msgid: Msg.LOGIN, id, password: PASSWORD });
    await peer.close();
    return { id, token };
  });

  const times: number[] = [];
  let going = true;
  const meter = new CpuMeter(plan.pids);
  const start = performance.now();
  const lanes = inParallel(plan.window, plan.window, async (lane) => {
    // No two lanes share a user, so that no user logs in twice at the same time.
    const own = users.filter((_, at) => at % plan.window === lane);
    for (let turn = 0; going; turn++) {
      const { id, token } = own[turn % own.length]!;
      const began = performance.now();
      const peer = await Peer.connect(server(lane + turn));
      await peer.login(plan.by === "token" ? { token } : { id, password: PASSWORD, force: true });
      times.push(performance.now() - began);
      await peer.close();
    }
  });
  await pause(plan.seconds * 1_000);
  const [took, count] = [performance.now() - start, times.length];
  const cost = meter.perMillion(count);
  const measured = times.slice(0, count);
  going = false;
  await lanes;
  return {
    logins: count,
    loginsPerSecond: count / took * 1_000,
    latency: latency(measured),
    ...cost,
  };
}
