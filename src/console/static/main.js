// The console page: looks at the broker every two seconds, shows what it sees, and keeps trying when it cannot.

import { get, key, path, readiness, Refused, text } from "./api.js";
import { showApps } from "./apps.js";
import { showCampaigns } from "./campaigns.js";
import { Chart } from "./charts.js";
import { showDead, tellStory } from "./devices.js";
import { by, h, say } from "./dom.js";
import { follow, unfollow } from "./live.js";
import { parse, rates, sum } from "./metrics.js";
import { showFigures, showFleet, showProblems } from "./now.js";
import { problems } from "./problems.js";

const LOOK_MS = 2000;
const LOOK_MAX_MS = 30000;
const SLOW_LOOKS = 5;
const OUTCOMES = ["accepted", "dropped", "channel_throttled", "channel_refused", "unavailable", "refused"];
const PUSH_STATES = ["due", "scheduled", "leased", "awaiting", "blocked"];

const page = { tenant: null, before: null, failures: 0, looks: 0, timer: null, looking: false };
const throughput = new Chart("throughput", OUTCOMES);
const pushes = new Chart("pushes", PUSH_STATES);

/** What the key may not see is null; everything else that goes wrong is thrown. */
async function allowed(promise) {
  try {
    return await promise;
  } catch (error) {
    if (error instanceof Refused && (error.status === 403 || error.status === 404)) return null;
    throw error;
  }
}

async function look() {
  const [ready, apps, tenants, metrics] = await Promise.all([readiness(), get("v1/apps"), get("v1/tenants?limit=1000"), allowed(text("metrics"))]);
  chooseTenant(tenants.items.map((item) => item.tenant));
  const name = page.tenant;
  const [tenant, campaigns] = name
    ? await Promise.all([get(path("v1/tenants", name)), allowed(get(`${path("v1/tenants", name, "campaigns")}?limit=50`))])
    : [null, null];
  return { at: Date.now(), ready, apps: apps.items, tenant, campaigns: campaigns && campaigns.items, metrics: metrics && parse(metrics) };
}

function chooseTenant(names) {
  const select = by("tenant");
  const shown = [...select.options].map((option) => option.value);
  if (shown.join("\n") !== names.join("\n")) {
    select.replaceChildren(...names.map((name) => h("option", { value: name }, name)));
    select.disabled = names.length === 0;
    if (page.tenant && names.includes(page.tenant)) select.value = page.tenant;
  }
  if (!names.includes(page.tenant)) changeTenant(names[0] || null);
}

function changeTenant(name) {
  page.tenant = name;
  page.looks = 0;
  pushes.clear();
  by("story").replaceChildren();
  if (name) follow(name, () => {});
  else unfollow();
}

function show(now) {
  const outcomes = throughputNow(now);
  showProblems(problems(now), true);
  showFigures(now, outcomes);
  showApps(now.apps, soon);
  if (now.tenant) {
    showFleet(now.tenant);
    showPushes(now);
    if (now.campaigns) showCampaigns(now.tenant.tenant, now.campaigns, soon);
    else by("campaigns").replaceChildren(h("p", { class: "words" }, "This broker or key has no campaigns."));
    if (page.looks % SLOW_LOOKS === 0) showDead(now.tenant.tenant, tell).catch((error) => failed("dead", error));
  } else {
    for (const id of ["fleet", "campaigns", "dead"]) by(id).replaceChildren(h("p", { class: "words" }, "This key reaches no tenant."));
  }
  page.looks += 1;
}

/** Attempts a second since the last look; everything that WNS refuses is one line. */
function throughputNow(now) {
  if (!now.metrics) {
    say(by("throughput-words"), "Throughput is shown to keys that may read everything.");
    return null;
  }
  const before = page.before;
  page.before = now;
  const all = before && rates(before, now, "reveille_attempts_total", "outcome");
  if (!all) return null;
  const lines = new Map();
  for (const [outcome, value] of all) {
    const line = OUTCOMES.includes(outcome) ? outcome : "refused";
    lines.set(line, (lines.get(line) || 0) + value);
  }
  throughput.add(now.at, lines);
  return all;
}

function showPushes(now) {
  if (!now.metrics) {
    say(by("pushes-words"), "What pushes wait for is shown to keys that may read everything.");
    return;
  }
  const labels = (state) => ({ tenant: now.tenant.tenant, state });
  pushes.add(now.at, new Map(PUSH_STATES.map((state) => [state, sum(now.metrics, "reveille_pushes", labels(state))])));
}

function failed(id, error) {
  by(id).replaceChildren(h("p", { class: "error", role: "alert" }, `Cannot be shown: ${error.message}`));
}

async function tick() {
  if (page.looking) return;
  page.looking = true;
  clearTimeout(page.timer);
  try {
    show(await look());
    page.failures = 0;
    say(by("connection"), "Live");
    askForKey(null);
  } catch (error) {
    page.failures += 1;
    if (error instanceof Refused && error.status === 401) {
      unfollow();
      page.tenant = null;
      askForKey(key.get() ? "The broker does not take this key." : "");
      page.looking = false;
      return;
    }
    say(by("connection"), "The broker does not answer; trying again…");
    const text = `${error.message || "no answer"}. What is shown below is as it was before.`;
    showProblems([{ severity: "critical", subject: "The broker does not answer", text, runbook: null }], false);
  }
  page.looking = false;
  page.timer = setTimeout(tick, Math.min(LOOK_MS * 2 ** page.failures, LOOK_MAX_MS));
}

function soon() {
  clearTimeout(page.timer);
  page.timer = setTimeout(tick, 50);
}

/** Shows the form for a key with `complaint`, or the page again for null. */
function askForKey(complaint) {
  const asking = complaint !== null;
  if (by("key-form").hidden === !asking && by("main").hidden === asking) {
    say(by("key-error"), complaint || "");
    return;
  }
  by("key-form").hidden = !asking;
  by("main").hidden = asking;
  by("forget-key").hidden = asking || !key.get();
  say(by("key-error"), complaint || "");
  if (asking) {
    say(by("connection"), "Waiting for a key");
    by("key").focus();
  }
}

function tell(device) {
  by("device").value = device;
  tellStory(page.tenant, device);
  by("device-title").scrollIntoView({ block: "start" });
}

by("tenant").addEventListener("change", (event) => { changeTenant(event.target.value); soon(); });
by("device-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (page.tenant) tellStory(page.tenant, by("device").value.trim());
});
by("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key.set(by("key").value.trim());
  by("key").value = "";
  by("forget-key").hidden = false;
  tick();
});
by("forget-key").addEventListener("click", () => { key.forget(); location.reload(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden) soon(); });
by("forget-key").hidden = !key.get();
tick();
