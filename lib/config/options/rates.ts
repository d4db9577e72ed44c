import { integer, orNone } from "../declare.ts";

/** How many requests and bytes the server takes from a session in a time. */
export const rates = {
  messageRate: orNone(integer(
    20,
    1,
    1_000_000,
    "rate",
    "Requests per second that each session may always make. An expensive request counts as several. " +
      "Requests beyond it use --shared-rate, and then get errno 8. The default is faster than any person " +
      "types. 0: no limit.",
  )),
  messageBurst: integer(
    50,
    10,
    10_000_000,
    "count",
    "Requests that an idle session may make at once, such as a client that reconnects and resends its " +
      "messages.",
  ),
  byteRate: integer(
    32_768,
    1_024,
    1_073_741_824,
    "rate",
    "Bytes per second that each session may always send. Bytes beyond it use --shared-rate. No limit with " +
      "--message-rate 0.",
  ),
  byteBurst: integer(
    262_144,
    1_024,
    1_073_741_824,
    "bytes",
    "Bytes that an idle session may send at once. Less than twice --max-frame counts as twice --max-frame.",
  ),
  sharedRate: integer(
    5_000,
    0,
    10_000_000,
    "rate",
    "Requests per second, of 2 KiB on average, that all sessions of a node share beyond their own rates. " +
      "The default is a tenth of the capacity of a node with two cores: ten nodes at this rate are as much as " +
      "one database can store.",
  ),
  unauthenticatedRate: orNone(integer(
    2,
    1,
    1_000_000,
    "rate",
    "Messages per second, of 1 KiB on average, that the server always reads from a connection before " +
      "login. Messages beyond it use a tenth of --shared-rate that all such connections share, and then " +
      "wait unread. 0: no limit.",
  )),
};
