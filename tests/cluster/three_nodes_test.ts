/** Three nodes over a Redis Cluster, behind nginx. */
import { clusterContractTests } from "./cluster_contract.ts";

clusterContractTests("three nodes, Redis Cluster", { nodes: 3, redis: "cluster" });
