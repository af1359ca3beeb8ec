// Reads the Prometheus text format, and turns counters that were looked at twice into rates.

const LINE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"/g;

/** Samples by metric: `[{labels, value}]`. Buckets of histograms are left out. */
export function parse(text) {
  const metrics = new Map();
  for (const line of text.split("\n")) {
    if (line.startsWith("#") || !line.startsWith("reveille_") || line.includes("_bucket{")) continue;
    const found = LINE.exec(line);
    if (!found) continue;
    const labels = {};
    for (const [, name, value] of (found[2] || "").matchAll(LABEL)) labels[name] = value;
    if (!metrics.has(found[1])) metrics.set(found[1], []);
    metrics.get(found[1]).push({ labels, value: Number(found[3]) });
  }
  return metrics;
}

/** The samples of a metric that carry these labels. */
export function samples(metrics, name, labels = {}) {
  const all = (metrics && metrics.get(name)) || [];
  return all.filter((sample) => Object.entries(labels).every(([label, value]) => sample.labels[label] === value));
}

export function sum(metrics, name, labels = {}) {
  return samples(metrics, name, labels).reduce((total, sample) => total + sample.value, 0);
}

/** Totals by the values of one label. */
export function sums(metrics, name, label, labels = {}) {
  const totals = new Map();
  for (const sample of samples(metrics, name, labels)) {
    const value = sample.labels[label];
    totals.set(value, (totals.get(value) || 0) + sample.value);
  }
  return totals;
}

const MINUTES = 5;
/** Outcomes that say nothing of the channel: what the error budget is spent on, as the recording rules have it. */
const LOST = ["unavailable", "app_throttled", "token_refused", "domain_blocked", "our_fault", "redirected"];

const NONE = { attempts: 0, lost: 0, due: 0 };

/**
 * Remembers the attempts of each app for some minutes; `add` gives what they brought: `[{app, attempts, lost, seconds, waiting}]`,
 * `waiting` if pushes were due at each look of these `seconds`.
 */
export class Recent {
  looks = [];

  add(at, metrics) {
    const totals = new Map();
    for (const { labels, value } of samples(metrics, "reveille_attempts_total")) {
      const total = totals.get(labels.app) || { ...NONE, due: sum(metrics, "reveille_app_pushes_due", { app: labels.app }) };
      total.attempts += value;
      if (LOST.includes(labels.outcome)) total.lost += value;
      totals.set(labels.app, total);
    }
    this.looks = this.looks.filter((look) => at - look.at <= MINUTES * 60000);
    const [{ at: since, totals: first }] = [...this.looks, { at, totals }];
    const gains = [...totals].map(([app, total]) => {
      const before = first.get(app) || NONE;
      const waiting = total.due > 0 && this.looks.every((look) => (look.totals.get(app) || NONE).due > 0);
      return { app, attempts: total.attempts - before.attempts, lost: total.lost - before.lost, seconds: (at - since) / 1000, waiting };
    });
    // Counters that began anew tell nothing of before.
    if (gains.some(({ attempts }) => attempts < 0)) this.looks = [];
    this.looks.push({ at, totals });
    return gains;
  }
}

/** What a second brought, by the values of one label; null if the counters began anew between the looks. */
export function rates(before, now, name, label) {
  const seconds = (now.at - before.at) / 1000;
  if (seconds <= 0) return null;
  const old = sums(before.metrics, name, label);
  const result = new Map();
  for (const [value, total] of sums(now.metrics, name, label)) {
    const gained = total - (old.get(value) || 0);
    if (gained < 0) return null;
    result.set(value, gained / seconds);
  }
  return result;
}
