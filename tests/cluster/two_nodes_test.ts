/** Two nodes over one Redis, behind nginx. */
import { crossingTests } from "./cluster_contract.ts";

crossingTests("two nodes", { nodes: 2 });
