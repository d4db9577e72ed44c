/**
 * The picture in the README: two people at real terminals, with real clients and a real server.
 * `deno run -A tests/repository/recording.ts` writes it anew; recording_test.ts compares it.
 */
import { logIn, Person, register } from "../harness/person.ts";
import { ROOT } from "../harness/program.ts";
import { withServer } from "../harness/server.ts";

/** The picture, which the README shows. */
export const RECORDING: URL = new URL("docs/session.svg", ROOT);

const CLOCK = "[19:35]"; // in place of the time of each run, so that two runs give one picture

/** Lets alice and bob chat, and returns the lines on the terminal of each. */
export function record(): Promise<readonly [alice: string[], bob: string[]]> {
  return withServer({}, async (server) => {
    await using alice = new Person(server);
    await using bob = new Person(server);
    const [of, by] = [[alice, "alice"], [bob, "bob"]] as const;
    for (const [person, name] of [of, by]) {
      await register(person, name);
      await logIn(person, name);
      await person.atPrompt(`${name}> `);
    }
    await say(alice, "addfriend:2", /^bob \(2\) is .*, and online$/);
    await say(alice, "chat:2:hello bob: how are you?", /^sent to 2 as #1$/);
    await bob.sees(/^\[\d\d:\d\d\] alice \(1\): hello bob/);
    await say(bob, "chat:1:fine, thanks", /^sent to 1 as #2$/);
    await alice.sees(/^\[\d\d:\d\d\] bob \(2\): fine/);
    await say(bob, "creategroup:team:our team", /^created the group team \(1\)$/);
    await say(alice, "addgroup:1", /^joined the group team \(1\)$/);
    await say(bob, "groupchat:1:hi all", /^sent to group 1 as #1$/);
    await alice.sees(/^\[\d\d:\d\d\] bob \(2\) in team \(1\): hi all$/);
    await say(alice, "history:2", /^#2 \[\d\d:\d\d\] bob \(2\): fine/);
    await bob.types("quit\r");
    await alice.sees(/^\* bob \(2\) is offline$/);
    await alice.atPrompt("alice> ");
    return [linesOf(alice), linesOf(bob)];
  });
}

async function say(person: Person, command: string, answer: RegExp): Promise<void> {
  await person.types(`${command}\r`);
  await person.sees(answer);
}

function linesOf({ screen }: Person): string[] {
  const lines = screen.map((line) => line.replaceAll(/\[\d\d:\d\d\]/g, CLOCK));
  while (lines.at(-1) === "") lines.pop();
  return lines;
}

const COLUMNS = 56; // of each terminal; the longest line has 53
const [CHAR_PX, LINE_PX, PADDING_PX, TITLE_PX] = [7.2, 17, 12, 28];

/** The two terminals side by side, as an SVG picture. */
export function pictureOf(screens: readonly (readonly [title: string, lines: readonly string[]])[]): string {
  const paneWidth = COLUMNS * CHAR_PX + 2 * PADDING_PX;
  const rows = Math.max(...screens.map(([, lines]) => lines.length));
  const height = TITLE_PX + rows * LINE_PX + 2 * PADDING_PX;
  const width = screens.length * paneWidth + (screens.length - 1) * PADDING_PX;
  const panes = screens.map(([title, lines], at) => {
    const left = at * (paneWidth + PADDING_PX);
    const texts = lines.map((line, row) => {
      const y = TITLE_PX + PADDING_PX + (row + 0.75) * LINE_PX;
      return `    <text x="${px(left + PADDING_PX)}" y="${px(y)}">${marked(line)}</text>\n`;
    });
    return `  <rect class="pane" x="${px(left)}" width="${px(paneWidth)}" height="${px(height)}" rx="8"/>\n` +
      `  <text class="title" x="${px(left + paneWidth / 2)}" y="18">${escaped(title)}</text>\n` +
      `  <g>\n${texts.join("")}  </g>\n`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${px(width)} ${px(height)}" ` +
    `font-family="ui-monospace, Menlo, Consolas, monospace" font-size="12" xml:space="preserve">\n` +
    `  <style>text { fill: #d4d4d4 } .pane { fill: #1e1e1e } ` +
    `.title { fill: #8a8a8a; text-anchor: middle } .prompt { fill: #4ec9b0 } .typed { fill: #ffffff }</style>\n` +
    `${panes.join("")}</svg>\n`;
}

/** A line with its prompt and the typed text in colours of their own. */
function marked(line: string): string {
  const [, prompt, typed] = /^(\w+>(?: |$)|choice: |name: |password:|user id or name: )(.*)$/.exec(line) ??
    [];
  if (prompt === undefined) return escaped(line);
  return `<tspan class="prompt">${escaped(prompt)}</tspan><tspan class="typed">${
    escaped(typed ?? "")
  }</tspan>`;
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function px(value: number): string {
  return `${Math.round(value * 10) / 10}`;
}

/** The picture of a new session. */
export async function newPicture(): Promise<string> {
  const [alice, bob] = await record();
  return pictureOf([["alice", alice], ["bob", bob]]);
}

if (import.meta.main) await Deno.writeTextFile(RECORDING, await newPicture());
