/** The command-line client. `--help` prints its usage. */
import { main } from "./lib/client/cli.ts";

// The program exits explicitly, since standard input may still be open.
if (import.meta.main) Deno.exit(await main(Deno.args));
