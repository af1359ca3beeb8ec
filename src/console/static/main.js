// The console page: looks at the broker every two seconds, shows what it sees, and keeps trying when it cannot.

import { chosen, get, key, path, readiness, text, Unreachable } from "./api.js";
import { showApps } from "./apps.js";
import { Campaigns, ofGates, showCampaigns } from "./campaigns.js";
import { Chart } from "./charts.js";
import { showDead, tellStory } from "./devices.js";
import { by, h, say, toast } from "./dom.js";
import { follow, unfollow } from "./live.js";
import { parse, rates, Recent, samples, sum } from "./metrics.js";
import { showFigures, showFleet, showProblems } from "./now.js";
import { problems } from "./problems.js";

const LOOK_MS = 2000;
const LOOK_MAX_MS = 5000;
const SLOW_LOOKS = 5;
/** Other tenants with paused campaigns that are looked at for gates. */
const OTHERS_MAX = 10;
const OUTCOMES = ["accepted", "dropped", "channel_throttled", "channel_refused", "unavailable", "refused"];
const PUSH_STATES = ["due", "scheduled", "leased", "awaiting", "blocked"];

const page = { tenant: null, campaigns: null, others: [], elsewhere: new Map(), before: null, failures: 0, looks: 0, timer: null, looking: false };
const throughput = new Chart("throughput", OUTCOMES);
const pushes = new Chart("pushes", PUSH_STATES);
const recent = new Recent();

/** Parts of the answer are null where the key may not see them or a call failed; `missing` says which and why. */
async function look() {
  const missing = [];
  const see = (what, promise) => promise.catch((error) => {
    if (error.status === 401) throw error;
    missing.push({ what, error, denied: error.status === 403 || error.status === 404 });
    return null;
  });
  const [ready, apps, tenants, metrics] = await Promise.all([
    readiness(), see("apps", get("v1/apps")), see("tenants", get("v1/tenants?limit=1000")), see("metrics", text("metrics")),
  ]);
  if (tenants || isMissing({ missing }, "tenants", true)) chooseTenant(tenants ? tenants.items.map((item) => item.tenant) : []);
  const name = page.tenant;
  const [tenant, campaigns] = name && tenants
    ? await Promise.all([see(name, get(path("v1/tenants", name))), see("campaigns", page.campaigns.look())])
    : [null, null];
  const parsed = metrics && parse(metrics);
  if (parsed && page.looks % SLOW_LOOKS === 0) page.others = await Promise.all(pausedElsewhere(parsed, tenants).map((other) => see(`campaigns of ${other}`, ofGates(campaignsOf(other)))));
  const at = Date.now();
  return { at, ready, apps: apps && apps.items, tenant, campaigns, others: page.others.flatMap((stuck) => stuck || []), metrics: parsed, missing, lost: parsed && recent.add(at, parsed) };
}

/** Tenants beside the chosen one that this key reaches and whose campaigns stand still, by a gate perhaps. */
function pausedElsewhere(metrics, tenants) {
  const reached = tenants ? tenants.items.map((item) => item.tenant) : [];
  const paused = samples(metrics, "reveille_campaigns", { state: "paused" }).filter(({ value }) => value > 0).map(({ labels }) => labels.tenant);
  return paused.filter((name) => name !== page.tenant && reached.includes(name)).slice(0, OTHERS_MAX);
}

/** What was read of another tenant's campaigns is kept for the next look. */
function campaignsOf(name) {
  if (!page.elsewhere.has(name)) page.elsewhere.set(name, new Campaigns(name));
  return page.elsewhere.get(name);
}

/** Whether a part was not seen because the key may not, or because the call failed. */
function isMissing({ missing }, what, denied) {
  return missing.some((part) => part.what === what && part.denied === denied);
}

function chooseTenant(names) {
  if (!names.includes(page.tenant)) changeTenant(names.includes(chosen.get()) ? chosen.get() : names[0] || null);
  const select = by("tenant");
  const shown = [...select.options].map((option) => option.value);
  if (shown.join("\n") !== names.join("\n")) {
    select.replaceChildren(...names.map((name) => h("option", { value: name }, name)));
    select.disabled = names.length === 0;
  }
  if (page.tenant && select.value !== page.tenant) select.value = page.tenant;
}

function changeTenant(name) {
  page.tenant = name;
  page.campaigns = name && new Campaigns(name);
  page.looks = 0;
  pushes.clear();
  by("story").replaceChildren();
  if (name) follow(name, () => {});
  else unfollow();
}

function show(now) {
  const outcomes = throughputNow(now);
  showProblems(problems(now), now.metrics !== null);
  showFigures(now, outcomes);
  if (now.apps) showApps(now.apps, soon);
  else if (isMissing(now, "apps", true)) instead("apps", "This key may not see apps.");
  if (now.tenant) showTenant(now);
  else if (!page.tenant && !isMissing(now, "tenants", false)) showNoTenant();
}

function showTenant(now) {
  const { tenant } = now.tenant;
  showFleet(now.tenant);
  showPushes(now);
  if (now.campaigns) showCampaigns(tenant, now.campaigns, soon);
  else if (isMissing(now, "campaigns", true)) instead("campaigns", "This broker or key has no campaigns.");
  if (page.looks % SLOW_LOOKS === 0) showDead(tenant, tell).catch((error) => failed("dead", error));
  page.looks += 1;
}

function showNoTenant() {
  const text = "This key reaches no tenant.";
  for (const id of ["fleet", "campaigns", "dead"]) instead(id, text);
  for (const id of ["pushes-words", "stream"]) say(by(id), text);
}

/** Words in place of what a part of the page shows. */
function instead(id, text) {
  by(id).replaceChildren(h("p", { class: "words" }, text));
}

/** Attempts a second since the last look; everything that WNS refuses is one line. */
function throughputNow(now) {
  if (!now.metrics) {
    if (isMissing(now, "metrics", true)) say(by("throughput-words"), "Throughput is shown to keys that may read everything.");
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
    if (isMissing(now, "metrics", true)) say(by("pushes-words"), "What pushes wait for is shown to keys that may read everything.");
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
    const now = await look();
    show(now);
    const whole = now.missing.every((part) => part.denied);
    page.failures = whole ? 0 : page.failures + 1;
    say(by("connection"), whole ? "Live" : "Not everything is answered; trying again…");
    askForKey(null);
  } catch (error) {
    page.failures += 1;
    if (error.status === 401) {
      unfollow();
      page.tenant = null;
      askForKey(key.get() ? "The broker does not take this key." : "");
      page.looking = false;
      return;
    }
    const [subject, more] = error instanceof Unreachable ? ["The broker does not answer", " The runbook is ReveilleDown."] : ["This page failed", ""];
    say(by("connection"), `${subject}; trying again…`);
    const text = `${error.message || "no answer"}. What is shown below is as it was before.${more}`;
    showProblems([{ severity: "critical", subject, text, runbook: null }], false);
  }
  page.looking = false;
  // Nobody sees a hidden page; it looks again when it is shown.
  if (!document.hidden) page.timer = setTimeout(tick, Math.min(LOOK_MS * 2 ** page.failures, LOOK_MAX_MS));
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
  } else {
    by("main").focus();
  }
}

function tell(device) {
  by("device").value = device;
  tellStory(page.tenant, device);
  by("device-title").scrollIntoView({ block: "start" });
}

/** A link cannot send the key: with one the metrics are fetched, and kept as a file. */
async function saveMetrics(event) {
  if (!key.get()) return;
  event.preventDefault();
  try {
    const file = URL.createObjectURL(new Blob([await text("metrics")], { type: "text/plain" }));
    h("a", { href: file, download: "reveille-metrics.txt" }).click();
    setTimeout(() => URL.revokeObjectURL(file), 60000);
  } catch (error) {
    toast(`The metrics were not saved: ${error.message}`);
  }
}

by("metrics").addEventListener("click", saveMetrics);
by("tenant").addEventListener("change", (event) => {
  chosen.set(event.target.value);
  changeTenant(event.target.value);
  soon();
});
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
by("forget-key").addEventListener("click", () => {
  key.forget();
  chosen.forget();
  location.reload();
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) soon(); });
by("forget-key").hidden = !key.get();
tick();
