// The top of the page: what is wrong, and the figures that say whether pushes flow.

import { by, h, keyed, say } from "./dom.js";
import { duration, number, percent } from "./format.js";
import { samples, sum } from "./metrics.js";

/** `metered` says whether the broker's metrics were read. Screen readers are told the subjects; the words behind them tick. */
export function showProblems(found, metered) {
  const list = found.length > 0 ? found : [fine(metered)];
  say(by("problems-told"), list.map(marked).join(" "));
  const make = () => h("li", {}, h("strong", { class: "word" }), " ", h("span"), h("a"));
  const text = (problem) => `${problem.subject}|${problem.runbook}`;
  keyed(by("problems"), list, text, make, (item, problem) => {
    const [subject, words, link] = item.children;
    if (item.className !== problem.severity) item.className = problem.severity;
    say(subject, marked(problem).replace(/\.$/, problem.severity === "fine" ? "." : ":"));
    say(words, `${problem.text} `);
    link.hidden = !problem.runbook;
    if (problem.runbook && link.textContent !== "What to do") {
      link.href = `runbooks/${problem.runbook}`;
      say(link, "What to do");
    }
  });
}

function marked({ severity, subject }) {
  return `${{ critical: "Critical: ", warning: "Warning: ", fine: "" }[severity]}${subject}.`;
}

function fine(metered) {
  return metered
    ? { severity: "fine", subject: "Nothing is wrong", text: "Pushes go out as they fall due.", runbook: null }
    : { severity: "fine", subject: "Nothing is wrong in what this key sees", text: "It may not read the metrics, so this page cannot tell whether pushes go out as they fall due.", runbook: null };
}

/** `outcomes` are attempts a second by outcome, or null before the second look. */
export function showFigures(look, outcomes) {
  const { metrics, tenant } = look;
  const figures = [];
  if (outcomes) {
    const all = [...outcomes.values()].reduce((total, value) => total + value, 0);
    figures.push(["Attempts a second", number(all)]);
    figures.push(["Accepted by WNS", percent(outcomes.get("accepted") || 0, all)]);
  }
  if (metrics) {
    figures.push(["On the wire", number(sum(metrics, "reveille_attempts_in_flight"))]);
    const ages = samples(metrics, "reveille_push_oldest_due_seconds").map((sample) => sample.value);
    figures.push(["Oldest due push", duration(Math.max(0, ...ages))]);
  }
  if (tenant) {
    const open = Object.values(tenant.pushes).reduce((total, count) => total + count, 0);
    const urgent = tenant.pushes.urgent || 0;
    figures.push([`Open pushes of ${tenant.tenant}`, `${number(open)}${urgent > 0 ? `, ${number(urgent)} urgent` : ""}`]);
    const done = (tenant.closed.accepted || 0) + (tenant.closed.checked_in || 0);
    figures.push(["Asks done", number(done)]);
    figures.push(["Asks expired", number(tenant.closed.expired || 0)]);
  }
  keyed(by("figures"), figures, ([name]) => name, () => h("div", {}, h("dt"), h("dd")), (item, [name, value]) => {
    say(item.children[0], name);
    say(item.children[1], value);
  });
  if (metrics) {
    const versions = samples(metrics, "reveille_build_info").map((sample) => sample.labels.version);
    say(by("version"), `Reveille ${versions.join(", ")}`);
  }
}

const STATES = ["live", "silent", "suspect", "dead", "none"];
const MEANING = {
  live: "can be woken",
  silent: "throttled by WNS for a while",
  suspect: "refused once, being judged",
  dead: "must report a new channel",
  none: "never reported a channel",
};

export function showFleet(tenant) {
  const parent = by("fleet");
  const all = STATES.reduce((total, state) => total + (tenant.devices[state] || 0), 0);
  if (!parent.querySelector(".bar")) {
    parent.replaceChildren(h("p", { class: "words" }), h("div", { class: "bar", "aria-hidden": "true" }), h("dl", { class: "figures" }));
  }
  const [line, bar, list] = parent.children;
  say(line, `${number(all)} devices of ${tenant.tenant}, woken through the app ${tenant.app}.`);
  keyed(bar, STATES, (state) => state, (state) => h("span", { class: `state-${state}` }), (item, state) => {
    item.style.width = all > 0 ? `${(100 * (tenant.devices[state] || 0)) / all}%` : "0";
  });
  keyed(list, STATES, (state) => state, (state) => h("div", {}, h("dt", {}, h("span", { class: `key state-${state}`, "aria-hidden": "true" }), `${state}: ${MEANING[state]}`), h("dd")), (item, state) => {
    say(item.children[1], number(tenant.devices[state] || 0));
  });
}
