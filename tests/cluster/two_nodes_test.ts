/** Two nodes over one Redis, behind nginx. */
import { crossingTests } from "./crossing.ts";

crossingTests("two nodes", { nodes: 2 });
