// Numbers, times and durations as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

/** 12,345 or 3.4; a dash for what is not known. */
export function number(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return (Math.abs(value) >= 100 ? whole : fine).format(value);
}

/** A share of a whole in percent. */
export function percent(part, all) {
  return all > 0 ? `${fine.format((100 * part) / all)} %` : "–";
}

/** Seconds as 12 s, 3 min, 2 h 5 min, 4 d. */
export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 120) return `${s} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.round(s / 86400)} d`;
}

/** The time of day, with the date unless it is today. */
export function moment(text) {
  if (!text) return "–";
  const at = new Date(text);
  const today = new Date().toDateString() === at.toDateString();
  const time = at.toLocaleTimeString("en-GB");
  return today ? time : `${at.toISOString().slice(0, 10)} ${time}`;
}

/** How long ago, or how far ahead. */
export function ago(text) {
  const seconds = (Date.now() - new Date(text).getTime()) / 1000;
  return seconds >= 0 ? `${duration(seconds)} ago` : `in ${duration(-seconds)}`;
}

/** `channel_throttled` as words. */
export function words(name) {
  return String(name).replaceAll("_", " ");
}
