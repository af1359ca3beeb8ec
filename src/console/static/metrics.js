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
