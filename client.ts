/** The command-line client; `--help` says how it is used. */
import { main } from "./lib/client/cli.ts";

// Not by itself: standard input may still be open when the work is done.
if (import.meta.main) Deno.exit(await main(Deno.args));
