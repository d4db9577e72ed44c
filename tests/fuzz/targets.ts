/** All targets. */
import { classicRequests } from "./classic_requests.ts";
import type { HostileNode } from "./node.ts";
import { proxy } from "./proxy.ts";
import { requests } from "./requests.ts";
import type { Target } from "./target.ts";
import { texts } from "./texts.ts";
import { body, classic, framed } from "./wire.ts";

/** Targets without a server. */
export const pure: readonly Target[] = [framed, classic, body, proxy];

/** Targets with a node. */
export function live(node: HostileNode): readonly Target[] {
  return [requests(node), classicRequests(node), texts(node)];
}
