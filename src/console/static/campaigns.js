// Campaigns: how far they are, and pausing, resuming and cancelling them.

import { call, get, path } from "./api.js";
import { by, confirmed, h, keyed, row, say, table, toast } from "./dom.js";
import { ago, duration, moment, number, percent, words } from "./format.js";

const COLUMNS = [["Campaign"], ["State"], ["Progress"], ["Targets"], ["To check-in"], ["Ends"], ["Do"]];
const ENDED = ["accepted", "checked_in", "expired", "cancelled", "rejected"];
const MOVING = ["waiting", "open", "held", "awaiting", "blocked"];

const PAGE = 100;
const PAGES_MAX = 50;
/** Rows of the table; all that go on, and as many of those that have ended. */
const ROWS = 50;
/** After so many looks all is read anew: campaigns may have been deleted. */
const LOOKS = 150;

const ACTIONS = {
  start: { states: ["draft"], ask: "Start", text: "Its targets are counted and then woken at its pace." },
  pause: { states: ["running", "preparing"], ask: "Pause", text: "Nothing more is released or sent for it, at once. Deadlines run on." },
  resume: { states: ["paused"], ask: "Resume", text: "It goes on where it stopped." },
  cancel: { states: ["draft", "preparing", "running", "paused"], ask: "Cancel", text: "Its open targets end as cancelled. This cannot be undone.", danger: true },
};

const over = (campaign) => campaign.state === "finished" || campaign.state === "cancelled";
const newest = (a, b) => (a.created_at < b.created_at ? 1 : -1);

/** The campaigns of one tenant. The API lists the oldest first: what has ended at the beginning is read once, not at each look. */
export class Campaigns {
  constructor(tenant) {
    this.tenant = tenant;
    this.begin();
  }

  begin() {
    Object.assign(this, { looks: 0, from: null, ended: [], passed: 0 });
  }

  /** `{items, left}`: those that go on, then those that have ended, both newest first, and how many more have ended. */
  async look() {
    if (this.looks >= LOOKS) this.begin();
    this.looks += 1;
    try {
      return await this.walk();
    } catch (error) {
      this.begin();
      throw error;
    }
  }

  async walk() {
    const rest = [];
    let cursor = this.from;
    let settled = true;
    for (let page = 0; page < PAGES_MAX; page += 1) {
      const query = `?limit=${PAGE}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`;
      const answer = await get(path("v1/tenants", this.tenant, "campaigns") + query);
      cursor = answer.next_cursor;
      settled = settled && cursor !== null && answer.items.every(over);
      if (settled) {
        this.from = cursor;
        this.passed += answer.items.length;
        this.ended = [...this.ended, ...answer.items].slice(-ROWS);
      } else {
        rest.push(...answer.items);
      }
      if (!cursor) break;
    }
    const moving = rest.filter((campaign) => !over(campaign)).sort(newest);
    const ended = [...this.ended, ...rest.filter(over)].sort(newest).slice(0, Math.max(0, ROWS - moving.length));
    return { items: [...moving, ...ended], left: this.passed + rest.length - moving.length - ended.length };
  }
}

/** The campaigns of a tenant that a gate has stopped, with its name. */
export async function ofGates(campaigns) {
  const { items } = await campaigns.look();
  return items.filter(atGate).map((campaign) => ({ ...campaign, tenant: campaigns.tenant }));
}

export const atGate = (campaign) => campaign.state === "paused" && campaign.pause && campaign.pause.cause === "gate";

export function showCampaigns(tenant, { items: campaigns, left }, refresh) {
  if (campaigns.length === 0) {
    by("campaigns").replaceChildren(h("p", { class: "words" }, `${tenant} has no campaigns.`));
    return;
  }
  const body = table(by("campaigns"), "", COLUMNS);
  const more = left > 0 ? `; ${number(left)} older ones have ended too` : "";
  say(by("campaigns").querySelector("caption"), `Campaigns of ${tenant}: those that go on, then those that have ended, newest first${more}`);
  keyed(body, campaigns, (campaign) => `${tenant}/${campaign.id}`, (campaign) => make(tenant, campaign, refresh), update);
}

function make(tenant, campaign, refresh) {
  const made = row(COLUMNS);
  made.tabIndex = -1;
  const cells = made.children;
  cells[0].append(h("span"), h("small"));
  cells[1].append(h("span", { class: "word" }), h("small"));
  cells[2].append(h("progress", { max: "1" }), h("small"));
  const buttons = Object.entries(ACTIONS).map(([verb, action]) => h("button", {
    type: "button", "data-verb": verb, class: action.danger ? "danger" : null, onclick: () => act(tenant, campaign, verb, refresh),
    "aria-label": `${action.ask} campaign ${campaign.name}`,
  }, action.ask));
  cells[6].append(h("div", { class: "line" }, ...buttons));
  return made;
}

function update(made, campaign) {
  const cells = made.children;
  const counts = campaign.counts;
  const ended = ENDED.reduce((total, state) => total + (counts[state] || 0), 0);
  say(cells[0].children[0], campaign.name);
  say(cells[0].children[1], [campaign.reason, campaign.priority, `goal ${words(campaign.goal)}`].filter(Boolean).join(", "));
  const word = cells[1].children[0];
  say(word, campaign.state);
  word.className = `word ${campaign.state === "running" || campaign.state === "finished" ? "good" : "warn"}`;
  say(cells[1].children[1], pauseWords(campaign));
  const bar = cells[2].children[0];
  bar.value = counts.targets > 0 ? ended / counts.targets : 0;
  bar.setAttribute("aria-label", `${campaign.name}: ${percent(ended, counts.targets)} ended`);
  say(cells[2].children[1], `${percent(ended, counts.targets)}: ${number(ended)} of ${number(counts.targets)}`);
  say(cells[3], [...MOVING, ...ENDED].filter((state) => counts[state] > 0).map((state) => `${words(state)} ${number(counts[state])}`).join(", ") || "none yet");
  const delay = campaign.check_in_delay_seconds;
  say(cells[4], delay.p50 === null ? "–" : `half in ${duration(delay.p50)}, 99 % in ${duration(delay.p99)}`);
  say(cells[5], endWords(campaign));
  showButtons(made, campaign.state);
}

/** A button that goes while it has the focus hands it to the next one, or to the row after the last. */
function showButtons(made, state) {
  const focused = document.activeElement;
  for (const button of made.querySelectorAll("button")) button.hidden = !ACTIONS[button.dataset.verb].states.includes(state);
  if (made.contains(focused) && focused.hidden) (made.querySelector("button:not([hidden])") || made).focus();
}

function pauseWords(campaign) {
  if (campaign.pause) return `${campaign.pause.cause === "gate" ? "by a gate" : "by hand"} since ${moment(campaign.pause.since)}${campaign.pause.detail ? `: ${campaign.pause.detail}` : ""}`;
  if (campaign.wave && campaign.waves.length > 0) return `wave ${campaign.wave} of ${campaign.waves.length}`;
  return "";
}

function endWords(campaign) {
  if (campaign.ended_at) return moment(campaign.ended_at);
  if (campaign.estimated_end) return `released ${ago(campaign.estimated_end)}`;
  return campaign.deadline ? `deadline ${ago(campaign.deadline)}` : "–";
}

async function act(tenant, campaign, verb, refresh) {
  const action = ACTIONS[verb];
  if (!(await confirmed(`${action.ask} “${campaign.name}”?`, action.text, `${action.ask} it`))) return;
  try {
    const after = await call("POST", path("v1/tenants", tenant, "campaigns", campaign.id, verb));
    toast(`“${campaign.name}” is ${after.state}.`);
  } catch (error) {
    toast(`“${campaign.name}” was not changed: ${error.message}`);
  }
  refresh();
}
