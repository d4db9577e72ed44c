/** Three nodes over a Redis Cluster, behind nginx. */
import { crossingTests } from "./cluster_contract.ts";

crossingTests("three nodes, Redis Cluster", { nodes: 3, redis: "cluster" });
