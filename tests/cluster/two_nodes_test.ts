/** Two nodes over one Redis, behind nginx. */
import { clusterContractTests } from "./cluster_contract.ts";

clusterContractTests("two nodes", { nodes: 2 });
