// What is wrong right now, in plain words, worst first. A pure function of what the broker says.

import { ago, duration, moment, number, percent, words } from "./format.js";
import { atGate } from "./campaigns.js";
import { samples, sum, sums } from "./metrics.js";

const OLD_SECONDS = 300;
const FAR_TOO_OLD_SECONDS = 3600;
const FROZEN_SECONDS = 60;
const SECRET_DAYS = 14;
const DEAD_SHARE = 0.1;
const DEAD_LEAST = 20;
const LAG_SECONDS = 300;
const EXPIRING_SHARE = 0.25;
const EXPIRING_LEAST = 100;
/** Of the attempts so many may be lost: the objective, and how much faster than it is a fire. */
const OBJECTIVE = 0.005;
const BURN_FAST = 14.4;
const ATTEMPTS_LEAST = 100;
/** So long pushes are due and none is sent before that is told. */
const IDLE_SECONDS = 240;

const HOLDS = {
  wave: "a wave of refusals: WNS refused many channels at once, which looks like a fault of the app and not of the devices; no channel was declared dead for it",
  token_refused: "WNS refuses even fresh access tokens",
  domain_blocked: "WNS says that it blocks this sender",
  outage: "WNS does not answer",
};

/**
 * `look` is `{ready, apps, tenant, campaigns, others, metrics, missing, lost}`. What could not be seen is null and stands in
 * `missing` as `{what, error, denied}`. `campaigns` are the chosen tenant's, `others` those of other tenants at a gate. `lost` is
 * what the last minutes brought, as `Recent` has it.
 */
export function problems(look) {
  const found = [...ofBroker(look), ...(look.apps || []).flatMap((app) => ofApp(app, look.metrics)), ...ofFlow(look), ...ofBudget(look), ...ofTenants(look), ...ofCampaigns(look)];
  const order = { critical: 0, warning: 1 };
  return found.sort((a, b) => order[a.severity] - order[b.severity]);
}

const critical = (subject, text, runbook) => ({ severity: "critical", subject, text, runbook });
const warning = (subject, text, runbook) => ({ severity: "warning", subject, text, runbook });

const STORE_AWAY = "Nothing new is accepted; what was accepted is safe. Apps, fleet and campaigns are shown as they were.";

function ofBroker({ ready, apps, metrics, missing }) {
  const found = [];
  for (const part of (ready && ready.components) || []) {
    const detail = (part.detail || []).join("; ");
    if (part.name === "store" && part.status === "failed") {
      found.push(critical("The store is away", `${detail}. ${STORE_AWAY}`, "ReveilleStoreErrors"));
    } else if (part.name === "store" && part.status === "degraded") {
      found.push(warning("The store warns", `${detail}.`, "ReveilleStoreErrors"));
    } else if (part.status === "failed") {
      found.push(critical(part.name, `has failed: ${detail || "no detail"}.`, "ReveilleActorRestartLoop"));
    } else if (part.status === "degraded" && part.name.startsWith("actor/")) {
      found.push(critical(`The ${words(part.name.slice("actor/".length))}`, `is in a restart loop: ${detail}.`, "ReveilleActorRestartLoop"));
    } else if (part.status === "degraded" && part.name.startsWith("tenant/")) {
      found.push(critical(`Nothing is sent for ${part.name.slice("tenant/".length)}`, `${detail}.`, "ReveillePushesUnserved"));
    } else if (part.status === "degraded" && part.name.startsWith("app/") && apps && !apps.some(({ app }) => part.name === `app/${app}`)) {
      found.push(warning(`There is no app ${part.name.slice("app/".length)}`, `${detail}.`, "ReveillePushesUnserved"));
    }
  }
  if (!found.some((problem) => problem.subject === "The store is away")) found.push(...ofMissing(missing));
  if (found.length === 0 && ready && ready.status === "not_ready") {
    found.push(critical("The broker is not ready", "it does not take work.", "ReveilleDown"));
  }
  for (const { labels, value } of samples(metrics, "reveille_actor_progress_age_seconds")) {
    if (value > FROZEN_SECONDS) {
      found.push(critical(words(labels.actor), `has not moved for ${duration(value)}.`, "ReveilleActorFrozen"));
    }
  }
  return found;
}

/** What the broker did not say. While the store is away, that explains it. */
function ofMissing(missing) {
  const found = [];
  const hidden = missing.filter(({ what, denied }) => denied && (what === "apps" || what === "tenants"));
  if (hidden.length > 0) {
    const names = hidden.map(({ what }) => what).sort().join(" and ");
    found.push(warning(`This key may not see ${names}`, `${hidden[0].error.message}.`, null));
  }
  const failed = missing.filter(({ denied }) => !denied);
  const away = failed.find(({ error }) => error.type && error.type.endsWith("store-unavailable"));
  if (away) {
    found.push(critical("The store is away", `${away.error.message}. ${STORE_AWAY}`, "ReveilleStoreErrors"));
  } else if (failed.length > 0) {
    const names = failed.map(({ what }) => what).sort().join(", ");
    found.push(critical(`Not answered: ${names}`, `${failed[0].error.message}. What is shown of it is as it was before.`, null));
  }
  return found;
}

function ofApp(app, metrics) {
  const found = [];
  const hold = app.holds.find(({ reason }) => reason !== "throttled");
  const until = hold && hold.until ? ` One request is tried ${ago(hold.until)}.` : "";
  if (app.state === "stopped") {
    const refused = "the token endpoint refuse";
    const detail = app.token.detail || "";
    const said = detail.startsWith(refused) ? detail : [`${refused}s its credential`, detail].filter(Boolean).join(": ");
    found.push(critical(`${app.app} is stopped`, `${said}. Nothing is sent until the secret is mended.`, "ReveilleAppStopped"));
  } else if (app.state === "held") {
    const why = hold ? HOLDS[hold.reason] || words(hold.reason) : "WNS does not answer";
    const runbook = app.breaker === "open" || (hold && hold.reason === "outage") ? "ReveilleWnsOutage" : "ReveilleAppHeld";
    found.push(critical(`${app.app} is held`, `${why}.${until}`, runbook));
  } else if (app.state === "throttled") {
    found.push(warning(`WNS throttles ${app.app}`, `nothing is sent until ${moment(app.throttled_until)}, then more slowly. It needs no help.`, "ReveilleAppThrottled"));
  } else if (app.state === "paused") {
    const why = app.paused.reason ? `: “${app.paused.reason}”` : "";
    found.push(warning(`${app.app} is paused by hand`, `since ${moment(app.paused.since)}${why}. Deadlines run on.`, "ReveilleAppPausedByHand"));
  } else if (app.breaker === "open") {
    found.push(warning(`Some hosts of WNS do not answer ${app.app}`, "pushes to channels there are put off; the others go out.", "ReveilleHostBreakerOpen"));
  }
  found.push(...ofToken(app));
  for (const { value } of samples(metrics, "reveille_secret_expiry_timestamp_seconds", { app: app.app })) {
    const days = (value - Date.now() / 1000) / 86400;
    if (value > 0 && days < SECRET_DAYS) {
      const when = days < 0 ? "has expired" : `expires in ${duration(days * 86400)}`;
      found.push((days < 2 ? critical : warning)(`The secret of ${app.app}`, `${when}.`, "ReveilleSecretExpiresSoon"));
    }
  }
  return found;
}

/** What is wrong with the token of an app that is not stopped. */
function ofToken({ app, state, token }) {
  const said = token.detail ? `: ${token.detail}` : "";
  const ends = token.expires_at;
  if (token.state === "refused" && state !== "stopped") {
    const rest = ends ? `The present token serves until ${moment(ends)}` : "There is no token";
    return [critical(`The credential of ${app} is refused`, `${rest}${said}. Mend the secret, and do not restart the broker before that.`, "ReveilleTokenRefused")];
  }
  if (token.state === "unavailable") {
    return ends
      ? [warning(`No new token for ${app}`, `the token endpoint does not answer${said}. The present token serves until ${moment(ends)}.`, "ReveilleTokenEndsSoon")]
      : [critical(`${app} has no token`, `nothing is sent: the token endpoint does not answer${said}.`, "ReveilleNoToken")];
  }
  return [];
}

/** Pushes that are due and are not sent, while nothing pauses their app. */
function ofFlow({ lost, metrics }) {
  const paused = (app) => samples(metrics, "reveille_app_paused", { app }).some(({ value }) => value === 1);
  const still = (lost || []).filter((app) => app.waiting && app.attempts === 0 && app.seconds >= IDLE_SECONDS && !paused(app.app));
  return still.map(({ app, seconds }) => {
    const due = number(sum(metrics, "reveille_app_pushes_due", { app }));
    return critical(`Pushes of ${app} are due and none is sent`, `${due} are due, nothing pauses the app, and this broker has sent none for it in ${duration(seconds)}.`, "ReveillePushesNotFlowing");
  });
}

/** Attempts without a verdict on the channel: WNS away, the app throttled, the sender or the request refused. */
function ofBudget({ lost }) {
  const burning = (lost || []).filter((app) => app.attempts >= ATTEMPTS_LEAST && app.lost > BURN_FAST * OBJECTIVE * app.attempts);
  return burning.map((app) => {
    const text = `${percent(app.lost, app.attempts)} of the attempts of the last minutes got no verdict; the objective allows ${percent(OBJECTIVE, 1)}. They are repeated, but late.`;
    return critical(`${app.app} burns its error budget`, text, "ReveilleErrorBudgetBurnFast");
  });
}

function ofTenants({ tenant, metrics }) {
  const found = [];
  for (const { labels, value } of samples(metrics, "reveille_channels_expiring", { within: "7d" })) {
    const usable = (state) => sum(metrics, "reveille_channels", { tenant: labels.tenant, state });
    const all = usable("live") + usable("silent");
    if (value > EXPIRING_LEAST && value > EXPIRING_SHARE * all) {
      const text = `expire within a week, ${percent(value, all)} of those that can be woken: these devices seem not to have had a session for a fortnight.`;
      found.push(warning(`${number(value)} channels of ${labels.tenant}`, text, "ReveilleMassExpiryAhead"));
    }
  }
  for (const { labels, value } of samples(metrics, "reveille_push_oldest_due_seconds")) {
    if (value > OLD_SECONDS) {
      const far = value > FAR_TOO_OLD_SECONDS;
      const due = sum(metrics, "reveille_pushes", { tenant: labels.tenant, state: "due" });
      const text = `${number(due)} pushes are due, the oldest for ${duration(value)}.`;
      found.push((far ? critical : warning)(`${labels.tenant} waits`, text, far ? "ReveilleOldestDuePushFarTooOld" : "ReveilleOldestDuePushTooOld"));
    }
  }
  for (const { labels, value } of samples(metrics, "reveille_webhook_lag_seconds")) {
    if (value > LAG_SECONDS) found.push(warning(`Webhooks of ${labels.tenant}`, `are ${duration(value)} behind.`, "ReveilleWebhookLag"));
  }
  for (const { labels, value } of samples(metrics, "reveille_inbox_lag_seconds")) {
    if (value > LAG_SECONDS) found.push(warning(`The inbox of ${labels.tenant}`, `is ${duration(value)} behind.`, "ReveilleInboxLag"));
  }
  for (const { labels, value } of samples(metrics, "reveille_webhooks_disabled")) {
    if (value > 0) found.push(warning(`Webhooks of ${labels.tenant}`, `${number(value)} switched off: nothing is delivered there until somebody sets them anew or deletes them.`, "ReveilleWebhookDisabled"));
  }
  for (const [name, devices] of fleets(tenant, metrics)) {
    const all = Object.values(devices).reduce((total, count) => total + count, 0);
    const lost = (devices.dead || 0) + (devices.suspect || 0);
    if (lost > DEAD_LEAST && lost > DEAD_SHARE * all) {
      found.push(warning(`${number(lost)} devices of ${name}`, `cannot be woken, ${percent(lost, all)} of all: WNS refuses their channels.`, "ReveilleManyChannelsDead"));
    }
  }
  if (tenant && tenant.slow_down_until) {
    found.push(warning(`${tenant.tenant} asked to slow down`, `campaigns release nothing until ${moment(tenant.slow_down_until)}.`, null));
  }
  return found;
}

/** Devices by the state of their channel, of every tenant that is seen. */
function fleets(tenant, metrics) {
  const names = sums(metrics, "reveille_channels", "tenant").keys();
  const all = new Map([...names].map((name) => [name, Object.fromEntries(sums(metrics, "reveille_channels", "state", { tenant: name }))]));
  if (tenant) all.set(tenant.tenant, tenant.devices);
  return all;
}

function ofCampaigns({ campaigns, others, tenant }) {
  const here = ((campaigns && campaigns.items) || []).filter(atGate).map((campaign) => ({ ...campaign, tenant: tenant && tenant.tenant }));
  return [...here, ...others].map((campaign) => warning(`Campaign “${campaign.name}” of ${campaign.tenant} stopped at a gate`, `${campaign.pause.detail || "too many failures in a wave"}. Look, then resume or cancel it.`, null));
}
