import { duration, integer, orNone } from "../declare.ts";

/** Clients of the classic dialect. */
export const classic = {
  classicBytes: orNone(integer(
    1_023,
    512,
    1_048_576,
    "bytes",
    "Largest message to a classic client, with its NUL. Classic clients read into 1,024 bytes. 0: no limit.",
  )),
  classicWriteInterval: duration(
    10,
    0,
    "Least time between two writes to a classic client, which takes the bytes of one read as one message. " +
      "0: none.",
  ),
};
