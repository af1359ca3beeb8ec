// Apps: pace, token, what holds them up, and pausing and resuming them.

import { call, path } from "./api.js";
import { by, confirmed, h, keyed, row, say, table, toast } from "./dom.js";
import { ago, moment, number, words } from "./format.js";

const COLUMNS = [["App"], ["State"], ["Pace", "number"], ["On the wire", "number"], ["Token"], ["What holds it"], ["Do"]];
const GOOD = ["sending"];
const WARN = ["starting", "throttled", "paused"];

export function showApps(apps, refresh) {
  if (apps.length === 0) {
    by("apps").replaceChildren(h("p", { class: "words" }, "This key reaches no app."));
    return;
  }
  const body = table(by("apps"), "WNS identities, with the pace of all brokers together", COLUMNS);
  keyed(body, apps, (app) => app.app, (app) => make(app.app, refresh), update);
}

function make(id, refresh) {
  const made = row(COLUMNS);
  const cells = made.children;
  cells[0].append(h("span"), h("small"));
  cells[1].append(h("span", { class: "word" }));
  cells[2].append(h("span"), h("small"));
  cells[4].append(h("span"), h("small"));
  cells[6].append(h("button", { type: "button", onclick: () => toggle(id, made, refresh) }));
  return made;
}

function update(made, app) {
  const cells = made.children;
  made.dataset.state = app.state;
  say(cells[0].children[0], app.app);
  say(cells[0].children[1], app.pfn || "");
  const word = cells[1].children[0];
  say(word, app.state);
  word.className = `word ${GOOD.includes(app.state) ? "good" : WARN.includes(app.state) ? "warn" : "bad"}`;
  say(cells[2].children[0], `${number(app.pace.per_second)}/s`);
  say(cells[2].children[1], app.pace.set.ceiling_per_second ? `at most ${number(app.pace.set.ceiling_per_second)}, set by hand` : "");
  say(cells[3], number(app.pace.in_flight));
  say(cells[4].children[0], app.token.state);
  say(cells[4].children[1], app.token.expires_at ? `ends ${ago(app.token.expires_at)}` : app.token.detail || "");
  say(cells[5], holding(app));
  const button = cells[6].children[0];
  const free = app.state === "sending" || app.state === "starting" || app.state === "throttled";
  say(button, free ? "Pause" : "Resume");
  button.setAttribute("aria-label", `${free ? "Pause" : "Resume"} app ${app.app}`);
}

function holding(app) {
  const reasons = app.holds.map((hold) => `${words(hold.reason)} since ${moment(hold.since)}${hold.until ? `, until ${moment(hold.until)}` : ""}`);
  if (app.paused) reasons.unshift(`by hand since ${moment(app.paused.since)}${app.paused.reason ? ` (${app.paused.reason})` : ""}`);
  if (app.state === "stopped") reasons.push("the token endpoint refuses its credential");
  if (app.throttled_until && reasons.length === 0) reasons.push(`throttled until ${moment(app.throttled_until)}`);
  if (app.state === "held" && reasons.length === 0) reasons.push("WNS does not answer");
  if (app.state === "starting" && reasons.length === 0) reasons.push("its first token");
  return reasons.join("; ") || "nothing";
}

async function toggle(id, made, refresh) {
  const free = ["sending", "starting", "throttled"].includes(made.dataset.state);
  const text = free
    ? "Nothing is sent for this app until somebody resumes it, urgent pushes included. Deadlines run on."
    : "The app sends again, and holds that began before now are over.";
  const verb = free ? "pause" : "resume";
  if (!(await confirmed(`${free ? "Pause" : "Resume"} ${id}?`, text, free ? "Pause it" : "Resume it"))) return;
  try {
    const query = free ? `?reason=${encodeURIComponent("from the console page")}` : "";
    await call("POST", path("v1/apps", id, verb) + query);
    toast(free ? `${id} is paused.` : `${id} goes on.`);
  } catch (error) {
    toast(`${id} was not changed: ${error.message}`);
  }
  refresh();
}
