// The console page, used as people use it, against a real broker and a fleet.

import assert from "node:assert/strict";
import fs from "node:fs";
import { after, before, test } from "node:test";
import { execFileSync } from "node:child_process";
import path from "node:path";
import { chromium } from "playwright-core";
import { PROGRAM, Rig, SHOTS, TENANT, until } from "./rig.mjs";

const AXE = fs.readFileSync(path.join(import.meta.dirname, "node_modules/axe-core/axe.min.js"), "utf8");
const DEVICES = 300;
const CHROMIUM = process.env.CHROMIUM || "/usr/bin/chromium";
/** For what the page finds out by itself: some looks of two seconds. */
const SOON = { timeout: 30000 };
let browser;
const rig = new Rig();
let devices;

before(async () => {
  fs.mkdirSync(SHOTS, { recursive: true });
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
  await rig.start({ devices: DEVICES, sandbox: ["--dead", "5%", "--latency", "5ms..20ms", "--never-check-in", "10%"] });
  devices = await rig.register();
});

after(async () => {
  await browser?.close();
  await rig.stop();
});

/** Opens the page; whatever it complains about is collected. */
async function open(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.complaints = [];
  page.elsewhere = [];
  page.on("console", (message) => { if (message.type() === "error") page.complaints.push(message.text()); });
  page.on("pageerror", (error) => page.complaints.push(error.message));
  page.on("request", (request) => { if (!request.url().startsWith(rig.url)) page.elsewhere.push(request.url()); });
  await page.goto(`${rig.url}/`);
  return page;
}

async function seen(page, selector, text) {
  await page.locator(selector, { hasText: text }).first().waitFor(SOON);
}

/** What has the keyboard's focus: its id, or its label, or the name of its tag. */
const focused = (page) => page.evaluate(() => document.activeElement.id || document.activeElement.ariaLabel || document.activeElement.tagName);

test("a fleet at work is shown: figures, charts, apps, fleet, events, and nothing comes from elsewhere", async () => {
  const page = await open();
  await seen(page, "#connection", "Live");
  await seen(page, "#stream", `Events of ${TENANT}`);
  await rig.call("POST", `/v1/tenants/${TENANT}/pushes`, { devices, goal: "check_in", expires_in: "1h", reason: "renew certificate" });
  await seen(page, "#fleet", `${DEVICES} devices of ${TENANT}`);
  await seen(page, "#apps tbody tr", "sending");
  await seen(page, "#figures", "Attempts a second");
  await seen(page, "#throughput-words", /Now: accepted/);
  await seen(page, "#pushes-words", /awaiting [1-9]/);
  await seen(page, "#events li", "push closed");
  await page.locator("#throughput canvas").waitFor(SOON);
  await page.locator("#pushes canvas").waitFor(SOON);
  await page.screenshot({ path: path.join(SHOTS, "at-work.png"), fullPage: true });
  assert.deepEqual(page.complaints, []);
  assert.deepEqual(page.elsewhere, []);
  await page.context().close();
});

test("dead channels are listed, and a device tells its story", async () => {
  await until("dead channels", async () => (await rig.call("GET", `/v1/tenants/${TENANT}/devices?channel=suspect`)).items.length > 0
    || (await rig.call("GET", `/v1/tenants/${TENANT}/devices?channel=dead`)).items.length > 0);
  const page = await open();
  const [device] = devices;
  await page.getByLabel("Device id").fill(device);
  await page.getByRole("button", { name: "Look up" }).click();
  await seen(page, "#story li", "reported this channel");
  await seen(page, "#story li", "its console asked to wake it");
  assert.match(await page.locator("#story").innerText(), /WNS answered/);
  await page.getByLabel("Device id").fill("nobody");
  await page.getByRole("button", { name: "Look up" }).click();
  await seen(page, "#story", `${TENANT} has no device nobody.`);
  // A refused channel is judged after a minute.
  await page.locator("#dead tbody tr").first().waitFor({ timeout: 120000 });
  await page.locator("#dead tbody button").first().click();
  await seen(page, "#story", "cannot be woken until it reports a new channel");
  await page.screenshot({ path: path.join(SHOTS, "story.png"), fullPage: true });
  await page.context().close();
});

test("an app is paused and resumed by keyboard, after a question, and the page says so on top", async () => {
  const page = await open();
  const pause = page.getByRole("button", { name: `Pause app ${TENANT}` });
  await pause.waitFor(SOON);
  await pause.focus();
  await page.keyboard.press("Enter");
  await page.getByRole("dialog", { name: `Pause ${TENANT}?` }).waitFor(SOON);
  // The answer that changes nothing has the focus.
  await page.keyboard.press("Enter");
  assert.equal((await rig.call("GET", `/v1/apps/${TENANT}`)).paused, null);
  await pause.focus();
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await seen(page, "#problems li", `${TENANT} is paused by hand`);
  assert.notEqual((await rig.call("GET", `/v1/apps/${TENANT}`)).paused, null);
  await rig.call("POST", `/v1/tenants/${TENANT}/pushes`, { devices: [devices[1]] });
  await page.getByLabel("Device id").fill(devices[1]);
  await page.getByRole("button", { name: "Look up" }).click();
  await seen(page, "#story", `Its turn has come, but ${TENANT} is paused.`);
  await page.screenshot({ path: path.join(SHOTS, "paused.png"), fullPage: true });
  await page.getByRole("button", { name: `Resume app ${TENANT}` }).click();
  await page.getByRole("button", { name: "Resume it" }).click();
  await seen(page, "#problems li", "Nothing is wrong");
  assert.equal((await rig.call("GET", `/v1/apps/${TENANT}`)).paused, null);
  await page.context().close();
});

test("a campaign shows its progress, is paused, resumed and cancelled", async () => {
  const campaigns = `/v1/tenants/${TENANT}/campaigns`;
  const made = await rig.call("POST", campaigns, { name: "Revoke CA 7", goal: "check_in", pace: { per_second: 2 }, targets: "all" });
  await rig.call("POST", `${campaigns}/${made.id}/start`);
  const page = await open();
  const state = async () => (await rig.call("GET", `${campaigns}/${made.id}`)).state;
  const press = async (verb) => {
    await page.getByRole("button", { name: `${verb} campaign Revoke CA 7` }).click(SOON);
    await page.getByRole("button", { name: `${verb} it` }).click();
  };
  await seen(page, "#campaigns tbody tr", "running");
  await seen(page, "#campaigns tbody tr", new RegExp(`of ${DEVICES}`));
  await press("Pause");
  await seen(page, "#campaigns .word", "paused");
  assert.equal(await state(), "paused");
  assert.equal(await focused(page), "Resume campaign Revoke CA 7");
  await press("Resume");
  await seen(page, "#campaigns .word", "running");
  await page.screenshot({ path: path.join(SHOTS, "campaign.png"), fullPage: true });
  await press("Cancel");
  await seen(page, "#campaigns .word", "cancelled");
  assert.equal(await state(), "cancelled");
  assert.equal(await focused(page), "TR");
  await page.context().close();
});

test("on a phone nothing is wider than the screen, and an accessibility checker has nothing to say", async () => {
  const page = await open({ viewport: { width: 390, height: 844 }, colorScheme: "dark" });
  const dead = devices.slice(0, 50).map((device) => ({ device, channel: { cause: "gone", since: new Date().toISOString() } }));
  await page.route("**/devices?channel=dead*", (route) => route.fulfill({ json: { items: dead, next_cursor: null } }));
  await page.reload();
  await seen(page, "#apps tbody tr", TENANT);
  await seen(page, "#dead tbody tr", dead[49].device);
  const { height } = await page.locator("#dead").boundingBox();
  assert.ok(height <= 844, `the list is ${height} high`);
  const [content, screen] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
  assert.ok(content <= screen, `${content} > ${screen}`);
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => window.axe.run());
  assert.deepEqual(violations.map((found) => `${found.id}: ${found.nodes.map((node) => node.html).join(" ")}`), []);
  const headings = await page.locator("main h2").allInnerTexts();
  assert.ok(headings.length >= 8, headings.join());
  // Three links lead past everything, the last one to the place where a device is looked up.
  await page.getByRole("link", { name: "Skip to what is wrong now" }).focus();
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  assert.equal(await focused(page), "device");
  await page.screenshot({ path: path.join(SHOTS, "phone.png"), fullPage: true });
  await page.context().close();
});

test("an app that is stopped says what holds it, and no word is broken", async () => {
  const page = await open({ viewport: { width: 1000, height: 900 } });
  const detail = "https://login.example/accesstoken.srf answers 400 invalid_client: the client secret of this identity is wrong or has expired";
  await page.route("**/v1/apps", async (route) => {
    const response = await route.fetch();
    const json = await response.json();
    Object.assign(json.items[0], { state: "stopped", token: { state: "refused", expires_at: null, detail } });
    await route.fulfill({ response, json });
  });
  await seen(page, "#apps tbody tr", "the token endpoint refuses its credential");
  await seen(page, "#problems li", `${TENANT} is stopped: the token endpoint refuses its credential: https://login.example`);
  const broken = await page.evaluate(() => [...document.querySelectorAll(":is(#apps, #campaigns) :is(th, .word, td.number > span)")].filter((element) => {
    const range = document.createRange();
    range.selectNodeContents(element);
    return new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size > 1 && !element.textContent.includes(" ");
  }).map((element) => element.textContent));
  assert.deepEqual(broken, []);
  await page.context().close();
});

test("a refused credential whose token still serves is no stopped app, and one without any token is critical", async () => {
  const page = await open();
  await seen(page, "#connection", "Live");
  const ends = new Date(Date.now() + 600000).toISOString();
  await page.route("**/v1/apps", async (route) => {
    const response = await route.fetch();
    const json = await response.json();
    Object.assign(json.items[0], { state: "sending", token: { state: "refused", expires_at: ends, detail: "invalid_client" } });
    const away = { state: "unavailable", expires_at: null, detail: "no answer" };
    json.items.push({ ...json.items[0], app: "fabrikam", state: "starting", token: away }, { ...json.items[0], app: "litware", token: { ...away, expires_at: ends } });
    await route.fulfill({ response, json });
  });
  for (const [kind, words, runbook] of [
    ["critical", `The credential of ${TENANT} is refused: The present token serves until`, "ReveilleTokenRefused"],
    ["critical", "fabrikam has no token: nothing is sent: the token endpoint does not answer: no answer", "ReveilleNoToken"],
    ["warning", "No new token for litware: the token endpoint does not answer: no answer. The present token serves until", "ReveilleTokenEndsSoon"],
  ]) {
    await seen(page, `#problems li.${kind}`, words);
    assert.match(await page.locator("#problems li", { hasText: words }).locator("a").getAttribute("href"), new RegExp(`${runbook}$`));
  }
  await seen(page, "#apps tbody tr", /refused\s*ends in/);
  assert.doesNotMatch(await page.locator("#problems").innerText(), /stopped/);
  await page.unrouteAll({ behavior: "ignoreErrors" });
  await page.context().close();
});

test("pushes that are due for minutes and not sent are told", async () => {
  const page = await open();
  await page.clock.install();
  let looks = 0;
  await page.route("**/metrics", async (route) => {
    const response = await route.fetch();
    looks += 1;
    const kept = (await response.text()).split("\n").filter((line) => !/^reveille_(attempts_total|app_pushes_due)/.test(line));
    await route.fulfill({ response, body: [...kept, `reveille_attempts_total{app="${TENANT}",outcome="accepted"} 5`, `reveille_app_pushes_due{app="${TENANT}"} 7`].join("\n") });
  });
  await page.reload();
  await until("a first look", () => looks > 0);
  await seen(page, "#connection", "Live");
  assert.doesNotMatch(await page.locator("#problems").innerText(), /none is sent/);
  await page.clock.fastForward(241000);
  await seen(page, "#problems li.critical", `Pushes of ${TENANT} are due and none is sent: 7 are due`);
  assert.match(await page.locator("#problems a").first().getAttribute("href"), /ReveillePushesNotFlowing$/);
  await page.unrouteAll({ behavior: "ignoreErrors" });
  await page.context().close();
});

test("of hundreds of campaigns those that go on come first, and old ones are read once", async () => {
  const campaigns = `/v1/tenants/${TENANT}/campaigns`;
  const made = await rig.call("POST", campaigns, { name: "Newest", goal: "check_in", targets: "all" });
  const all = Array.from({ length: 230 }, (_, n) => ({ ...made, id: `c${n}`, name: `Campaign ${n}`, state: "finished", created_at: new Date(n * 60000).toISOString() }));
  Object.assign(all[229], { state: "running" });
  Object.assign(all[215], { state: "paused", pause: { since: made.created_at, cause: "hand", detail: null } });
  const asked = [];
  const page = await open();
  await page.route(`**${campaigns}?*`, (route) => {
    const query = new URL(route.request().url()).searchParams;
    const [from, limit] = [Number(query.get("cursor") || 0), Number(query.get("limit"))];
    asked.push(from);
    const end = from + limit;
    return route.fulfill({ json: { items: all.slice(from, end), next_cursor: end < all.length ? String(end) : null } });
  });
  await page.reload();
  await seen(page, "#campaigns tbody tr", "Campaign 229");
  const first = await page.locator("#campaigns tbody tr td:first-child > span").allInnerTexts();
  assert.deepEqual(first.slice(0, 3), ["Campaign 229", "Campaign 215", "Campaign 228"]);
  assert.equal(first.length, 50);
  await seen(page, "#campaigns caption", "180 older ones have ended too");
  assert.ok(asked.includes(0) && asked.includes(100));
  await until("looks at the end of the list alone", () => asked.slice(-3).every((from) => from === 200));
  await page.unrouteAll({ behavior: "ignoreErrors" });
  await page.context().close();
});

test("a gate that stopped a campaign of another tenant is told", async () => {
  const other = `${TENANT}-emea`;
  await rig.call("PUT", `/v1/tenants/${other}`, { app: TENANT });
  const [made] = (await rig.call("GET", `/v1/tenants/${TENANT}/campaigns?limit=1`)).items;
  const page = await open();
  await page.route("**/metrics", async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: `${await response.text()}\nreveille_campaigns{tenant="${other}",state="paused"} 1\n` });
  });
  const stopped = { ...made, name: "Elsewhere", state: "paused", pause: { since: made.created_at, cause: "gate", detail: "40 % failed" } };
  await page.route(`**/v1/tenants/${other}/campaigns?*`, (route) => route.fulfill({ json: { items: [stopped], next_cursor: null } }));
  await seen(page, "#problems li", `Campaign “Elsewhere” of ${other} stopped at a gate: 40 % failed`);
  assert.equal(await page.getByLabel("Tenant").inputValue(), TENANT);
  await page.unrouteAll({ behavior: "ignoreErrors" });
  await page.context().close();
});

test("trouble ahead and trouble inside is told on top: a wave, hosts away, mass expiry, a restart loop, a budget that burns", async () => {
  const page = await open();
  await seen(page, "#connection", "Live");
  const change = (where, alter) => page.route(where, async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: alter(await response.text()) });
  });
  await change("**/readyz", (body) => {
    const ready = JSON.parse(body);
    Object.assign(ready.components.find((part) => part.name === "actor/janitor"), { status: "degraded", detail: ["it dies again and again", "restarted 7 times"] });
    ready.components.push({ name: "tenant/gone", status: "degraded", detail: ["12 pushes open, but this broker's configuration has no app for it"] });
    return JSON.stringify(ready);
  });
  let looks = 0;
  await change("**/metrics", (body) => {
    looks += 1;
    const set = (text, series, value) => {
      assert.ok(text.includes(`\n${series} `), series);
      return text.replace(new RegExp(`\n${series.replace(/[{}]/g, "\\$&")} .*`), `\n${series} ${value}`);
    };
    const elsewhere = ['reveille_channels{tenant="emea",state="dead"} 60', 'reveille_channels{tenant="emea",state="live"} 40', 'reveille_inbox_lag_seconds{tenant="emea"} 900'];
    const more = [body, ...elsewhere, ""].join("\n");
    const text = set(set(more, `reveille_channels_expiring{tenant="${TENANT}",within="7d"}`, 150), `reveille_webhooks_disabled{tenant="${TENANT}"}`, 2);
    return set(text, `reveille_attempts_total{app="${TENANT}",outcome="unavailable"}`, looks * 1000);
  });
  await change("**/v1/apps", (body) => {
    const apps = JSON.parse(body);
    Object.assign(apps.items[0], { state: "held", holds: [{ reason: "wave", since: new Date().toISOString(), until: null }] });
    apps.items.push({ ...apps.items[0], app: "fabrikam", state: "sending", breaker: "open", holds: [] });
    return JSON.stringify(apps);
  });
  for (const [words, runbook] of [
    [`${TENANT} is held: a wave of refusals`, "ReveilleAppHeld"],
    ["The janitor: is in a restart loop: it dies again and again; restarted 7 times.", "ReveilleActorRestartLoop"],
    ["Nothing is sent for gone: 12 pushes open", "ReveillePushesUnserved"],
    [`${TENANT} burns its error budget: `, "ReveilleErrorBudgetBurnFast"],
    [`150 channels of ${TENANT}: expire within a week`, "ReveilleMassExpiryAhead"],
    ["Some hosts of WNS do not answer fabrikam", "ReveilleHostBreakerOpen"],
    ["60 devices of emea: cannot be woken, 60 % of all", "ReveilleManyChannelsDead"],
    ["The inbox of emea: is 15 min behind", "ReveilleInboxLag"],
    [`Webhooks of ${TENANT}: 2 switched off`, "ReveilleWebhookDisabled"],
  ]) {
    await seen(page, "#problems li", words);
    const link = page.locator("#problems li", { hasText: words }).locator("a");
    assert.match(await link.getAttribute("href"), new RegExp(`${runbook}$`));
  }
  // A screen reader hears what is wrong, and not how its figures tick.
  assert.equal(await page.locator("#problems[aria-live]").count(), 0);
  const told = await page.getByRole("status").filter({ hasText: `Critical: ${TENANT} is held.` }).innerText();
  assert.match(told, /Warning: 60 devices of emea\./);
  assert.doesNotMatch(told, /cannot be woken/);
  await page.screenshot({ path: path.join(SHOTS, "trouble.png"), fullPage: true });
  await page.unrouteAll({ behavior: "ignoreErrors" });
  await page.context().close();
});

test("a store that is away is told with its runbook, and the page comes back with it", async () => {
  const page = await open();
  await seen(page, "#connection", "Live");
  const away = { type: "urn:reveille:problem:store-unavailable", title: "the store cannot be reached", status: 503, detail: "no answer in time" };
  const stored = new RegExp(`/v1/tenants/${TENANT}$`);
  await page.route(stored, (route) => route.fulfill({ status: 503, contentType: "application/problem+json", body: JSON.stringify(away) }));
  await seen(page, "#problems li.critical", "The store is away: no answer in time.");
  assert.match(await page.locator("#problems a").first().getAttribute("href"), /ReveilleStoreErrors$/);
  await seen(page, "#figures", "On the wire");
  await page.unroute(stored);
  await seen(page, "#connection", "Live");
  await seen(page, "#problems li", "Nothing is wrong");
  await page.context().close();
});

test("a stream that falls silent is begun anew", async () => {
  const page = await open();
  await page.clock.install();
  let asked = 0;
  await page.route("**/events?*", (route) => (asked++ === 0 ? null : route.continue()));
  await page.reload();
  await until("the stream to be asked for", () => asked > 0);
  await page.clock.fastForward(41000);
  await seen(page, "#stream", `Events of ${TENANT}`);
  assert.ok(asked > 1);
  await page.context().close();
});

test("a reload keeps the tenant that was chosen", async () => {
  const other = `${TENANT}-emea`;
  await rig.call("PUT", `/v1/tenants/${other}`, { app: TENANT });
  const page = await open();
  await seen(page, "#fleet", `of ${TENANT},`);
  await page.getByLabel("Tenant").selectOption(other);
  await seen(page, "#fleet", `0 devices of ${other}`);
  await page.reload();
  await seen(page, "#fleet", `0 devices of ${other}`);
  assert.equal(await page.getByLabel("Tenant").inputValue(), other);
  await page.context().close();
});

test("a broker that goes away is told, and the page comes back with it", async () => {
  const page = await open();
  await seen(page, "#connection", "Live");
  await rig.end("broker");
  await seen(page, "#problems li", "The broker does not answer");
  await page.screenshot({ path: path.join(SHOTS, "away.png"), fullPage: true });
  await rig.startBroker();
  await page.locator("#connection", { hasText: "Live" }).waitFor({ timeout: 60000 });
  await page.locator("#stream", { hasText: `Events of ${TENANT}` }).waitFor({ timeout: 60000 });
  await page.context().close();
});

test("with keys configured the page asks for one and keeps it in the tab alone", async () => {
  const [made, reader, pusher] = [["page", "*", "admin"], ["reader", TENANT, "read"], ["pusher", TENANT, "push"]].map(([id, tenant, scope]) => (
    JSON.parse(execFileSync(PROGRAM, ["key", "new", "--id", id, "--tenant", tenant, "--scope", scope, "--json"]))));
  await rig.end("broker");
  rig.keys = [made, reader, pusher].map(({ toml }) => toml).join("\n");
  await rig.startBroker();
  const page = await open();
  await page.getByRole("heading", { name: "API key" }).waitFor(SOON);
  assert.equal(await page.locator("#main").isVisible(), false);
  await page.getByLabel("Key", { exact: true }).fill("rvk_page_wrong");
  await page.getByRole("button", { name: "Use key" }).click();
  await seen(page, "#key-error", "does not take this key");
  await page.getByLabel("Key", { exact: true }).fill(made.key);
  await page.getByRole("button", { name: "Use key" }).click();
  await seen(page, "#connection", "Live");
  assert.equal(await focused(page), "main");
  await seen(page, "#apps tbody tr", TENANT);
  const [saved] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Metrics" }).click()]);
  assert.equal(saved.suggestedFilename(), "reveille-metrics.txt");
  assert.match(fs.readFileSync(await saved.path(), "utf8"), /^reveille_build_info\{/m);
  const kept = await page.evaluate(() => ({ session: sessionStorage.length, local: localStorage.length, cookies: document.cookie }));
  assert.deepEqual(kept, { session: 1, local: 0, cookies: "" });
  await page.getByRole("button", { name: "Forget key" }).click();
  await page.getByRole("heading", { name: "API key" }).waitFor(SOON);
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  for (const [{ key }, words] of [[reader, "this page cannot tell whether pushes go out"], [pusher, "This key may not see apps and tenants"]]) {
    await page.getByLabel("Key", { exact: true }).fill(key);
    await page.getByRole("button", { name: "Use key" }).click();
    await seen(page, "#problems li", words);
    await page.getByRole("link", { name: "Metrics" }).click();
    await seen(page, "#said", "The metrics were not saved: metrics name all tenants");
    await page.getByRole("button", { name: "Forget key" }).click();
    await page.getByRole("heading", { name: "API key" }).waitFor(SOON);
  }
  await page.context().close();
});
