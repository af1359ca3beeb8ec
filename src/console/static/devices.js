// The list of dead channels, and the story of one device.

import { get, path, Refused } from "./api.js";
import { by, h, keyed, row, say, table } from "./dom.js";
import { ago, moment, words } from "./format.js";

const PAGE = 50;
const COLUMNS = [["Device"], ["Why"], ["Since", "time"]];
const CAUSES = { forbidden: "403: belongs to another app", not_found: "404: WNS does not know it", gone: "410: expired or revoked" };

let pages = { tenant: null, shown: 1 };

/** Shows as many pages of the list as were asked for. */
export async function showDead(tenant, tell) {
  if (pages.tenant !== tenant) pages = { tenant, shown: 1 };
  const items = [];
  let cursor = null;
  for (let page = 0; page < pages.shown; page += 1) {
    const query = `?channel=dead&limit=${PAGE}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`;
    const answer = await get(path("v1/tenants", tenant, "devices") + query);
    items.push(...answer.items);
    cursor = answer.next_cursor;
    if (!cursor) break;
  }
  const parent = by("dead");
  if (items.length === 0) {
    parent.replaceChildren(h("p", { class: "words" }, `No channel of ${tenant} is dead.`));
    return;
  }
  const body = table(parent, `Devices of ${tenant} that must report a new channel`, COLUMNS);
  keyed(body, items, (item) => item.device, (item) => dead(item, tell), (made, item) => {
    say(made.children[1], CAUSES[item.channel.cause] || words(item.channel.cause || "unknown"));
    say(made.children[2], moment(item.channel.since));
  });
  more(parent, cursor !== null, () => { pages.shown += 1; showDead(tenant, tell); });
}

function dead(item, tell) {
  const made = row(COLUMNS);
  made.children[0].append(h("button", { type: "button", class: "plain", "aria-label": `Story of device ${item.device}`, onclick: () => tell(item.device) }, item.device));
  return made;
}

function more(parent, wanted, onclick) {
  const known = parent.querySelector(".more");
  if (known) known.remove();
  if (wanted) parent.append(h("button", { type: "button", class: "more", onclick }, `Show ${PAGE} more`));
}

/** Tells what is known of a device, oldest first. */
export async function tellStory(tenant, device) {
  const parent = by("story");
  parent.setAttribute("aria-busy", "true");
  parent.replaceChildren(h("p", { class: "loading" }, "Looking…"));
  try {
    const found = await get(path("v1/tenants", tenant, "devices", device));
    const push = found.push || (await lastPush(tenant, device));
    const app = push && push.state === "due" ? await appOf(tenant) : null;
    parent.replaceChildren(...story(found, push, app));
  } catch (error) {
    const text = error instanceof Refused && error.status === 404 ? `${tenant} has no device ${device}.` : `Not found out: ${error.message}`;
    parent.replaceChildren(h("p", { class: "error", role: "alert" }, text));
  }
  parent.removeAttribute("aria-busy");
}

async function lastPush(tenant, device) {
  try {
    return await get(path("v1/tenants", tenant, "pushes", device));
  } catch (error) {
    if (error instanceof Refused && error.status === 404) return null;
    throw error;
  }
}

/** The app that the tenant uses, as the broker sees it; null if this key may not see it. */
async function appOf(tenant) {
  try {
    const { app } = await get(path("v1/tenants", tenant));
    return await get(path("v1/apps", app));
  } catch (error) {
    if (error instanceof Refused) return null;
    throw error;
  }
}

function story(found, push, app) {
  const events = [...ofChannel(found.channel), ...ofPush(push), ...ofAttempt(found.last_outcome)];
  if (found.last_check_in) events.push([found.last_check_in, ["began a session, as its console reported"]]);
  events.sort((a, b) => (a[0] < b[0] ? -1 : 1));
  const items = events.filter(([at]) => at).map(([at, parts]) => h("li", {}, h("time", { datetime: at }, `${moment(at)}, ${ago(at)}`), ...parts));
  return [h("p", {}, h("strong", {}, found.device), ` ${summary(found, push, app)}`), h("ol", { class: "story" }, ...items)];
}

function summary(found, push, app) {
  const channel = {
    live: "can be woken.",
    silent: `is left alone until ${moment(found.channel.silent_until)}: WNS throttles its channel.`,
    suspect: "may have lost its channel; it is being judged.",
    dead: "cannot be woken until it reports a new channel.",
    none: "cannot be woken: it never reported a channel.",
  }[found.channel.state];
  const wish = {
    due: turn(found.channel.host, app),
    scheduled: `It is tried again ${push && push.next_attempt_at ? ago(push.next_attempt_at) : "later"}.`,
    awaiting: "It was woken and has not checked in yet.",
    blocked: "It shall be woken as soon as it has a usable channel.",
    held: "A paused campaign holds its push.",
    closed: "Nobody waits for it now.",
  }[push ? push.state : "closed"];
  return `${channel} ${wish}`;
}

/** What becomes of a push whose turn has come. */
function turn(host, app) {
  if (app && app.state !== "sending") return `Its turn has come, but ${app.app} is ${app.state}.`;
  if (app && app.hosts_avoided.includes(host)) return `Its turn has come, but ${host} does not answer; it is woken when it does.`;
  return "It is about to be woken.";
}

function ofChannel(channel) {
  if (channel.state === "none") return [];
  const name = h("code", {}, `${channel.host} #${channel.hash}`);
  const events = [[channel.first_seen, ["reported this channel: ", name]]];
  if (channel.last_seen && channel.last_seen !== channel.first_seen) events.push([channel.last_seen, ["reported the same channel again"]]);
  if (channel.since) events.push([channel.since, [`WNS refused the channel: ${CAUSES[channel.cause] || words(channel.cause)}`]]);
  events.push([channel.expires_at, ["the channel ends unless the device renews it"]]);
  return events;
}

function ofPush(push) {
  if (!push) return [];
  const events = [];
  for (const ask of push.asks) {
    const who = ask.source === "campaign" ? `campaign ${ask.campaign}` : "its console";
    const why = ask.reason ? ` (“${ask.reason}”)` : "";
    const how = [ask.priority, ask.goal && `goal ${words(ask.goal)}`].filter(Boolean).join(", ");
    events.push([ask.opened_at, [`${who} asked to wake it${why}${how ? `: ${how}` : ""}`]]);
    if (ask.accepted_at) events.push([ask.accepted_at, ["WNS accepted a notification"]]);
    if (ask.closed_at) events.push([ask.closed_at, [`the ask of ${who} ended: ${words(ask.state)}${ask.cause ? `, ${words(ask.cause)}` : ""}, after ${push.attempts} attempts`]]);
    else if (ask.deadline) events.push([ask.deadline, [`the ask of ${who} ends as expired, unless it is done before`]]);
  }
  if (push.next_attempt_at && push.state !== "closed") events.push([push.next_attempt_at, [`attempt ${push.attempts + 1} may be made`]]);
  return events;
}

function ofAttempt(outcome) {
  if (!outcome) return [];
  const ids = [["Msg-ID", outcome.msg_id], ["Debug-Trace", outcome.debug_trace], ["MS-CV", outcome.ms_cv]].filter(([, value]) => value);
  const parts = [`WNS answered: ${words(outcome.outcome)}`, ...ids.flatMap(([name, value]) => [h("br"), `${name} `, h("code", {}, value)])];
  return [[outcome.at, parts]];
}
