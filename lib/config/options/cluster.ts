import { file, integer, url } from "../declare.ts";

/** How nodes reach each other, and how many this process runs. */
export const cluster = {
  redis: url(
    /^rediss?:\/\/[^,\s]+(,rediss?:\/\/[^,\s]+)*$/,
    "redis://host:6379",
    "Redis that connects the nodes of one MySQL database: redis://host:port. Several URLs with commas " +
      "between them name a Redis Cluster.",
  ),
  redisPasswordFile: file(
    "File with Redis' password on its only line, in place of a password in the URL.",
  ),
  workers: integer(
    1,
    1,
    64,
    "count",
    "Event loops in this process. Each is a node of its own on the same port. More than one pays only if " +
      "one is busy.",
  ),
};
