/** The project's version. `--version` prints it. A test compares it with deno.json and CHANGELOG.md. */
export const VERSION = "0.1.0";
