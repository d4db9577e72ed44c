import { type Level, LEVELS } from "../../log.ts";
import { choice } from "../declare.ts";

/** The log. */
export const operation = {
  logLevel: choice<Level>("info", LEVELS, "Level of the least important events in the log."),
  logFormat: choice<"auto" | "text" | "json">(
    "auto",
    ["auto", "text", "json"],
    "Format of the log. auto: text on a terminal, otherwise JSON.",
  ),
};
