// Follows a tenant's event feed. `EventSource` cannot send a key, so the stream is read by hand; it comes again by itself.

import { authorisation, path } from "./api.js";
import { by, h, say } from "./dom.js";
import { moment, words } from "./format.js";

const SHOWN_MAX = 50;
const RETRY_FIRST_MS = 1000;
const RETRY_MAX_MS = 5000;
/** The broker sends something at least every 15 seconds. */
const SILENCE_MS = 40000;

let current = null;

/** Follows `tenant` from now on, in place of whoever was followed before. */
export function follow(tenant, onevent) {
  if (current) current.abort();
  current = new AbortController();
  by("events").replaceChildren();
  run(tenant, onevent, current.signal);
}

export function unfollow() {
  if (current) current.abort();
  current = null;
}

async function run(tenant, onevent, signal) {
  const stream = { last: null, wait: RETRY_FIRST_MS };
  while (!signal.aborted) {
    try {
      await heard(signal, (silent, alive) => read(tenant, stream, onevent, silent, alive));
      if (!signal.aborted) say(by("stream"), "The stream ended; it begins anew…");
    } catch (error) {
      if (signal.aborted) return;
      say(by("stream"), `No events at the moment (${error.message}); trying again…`);
    }
    await new Promise((resolve) => { setTimeout(resolve, stream.wait); });
    stream.wait = Math.min(stream.wait * 2, RETRY_MAX_MS);
  }
}

/** Runs `read` with a signal that also fires when `alive` was not called for too long. */
async function heard(signal, read) {
  const silence = new AbortController();
  let timer = null;
  const alive = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(new Error(`nothing was heard for ${SILENCE_MS / 1000} s`)), SILENCE_MS);
  };
  alive();
  try {
    await read(AbortSignal.any([signal, silence.signal]), alive);
  } finally {
    clearTimeout(timer);
  }
}

async function read(tenant, stream, onevent, signal, alive) {
  const headers = { ...authorisation(), Accept: "text/event-stream" };
  if (stream.last) headers["Last-Event-ID"] = stream.last;
  const response = await fetch(`${path("v1/tenants", tenant, "events")}?after=newest`, { headers, signal, cache: "no-store" });
  if (response.status === 410) stream.last = null;
  if (!response.ok) throw new Error(`status ${response.status}`);
  say(by("stream"), `Events of ${tenant}, as they happen.`);
  stream.wait = RETRY_FIRST_MS;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read();
    alive();
    if (done) return;
    held += value;
    const blocks = held.split("\n\n");
    held = blocks.pop();
    for (const block of blocks) take(block, stream, onevent);
  }
}

function take(block, stream, onevent) {
  let data = "";
  for (const line of block.split("\n")) {
    if (line.startsWith("id: ")) stream.last = line.slice(4);
    else if (line.startsWith("data: ")) data += line.slice(6);
  }
  if (data === "") return;
  const event = JSON.parse(data);
  show(event);
  onevent(event);
}

function show(event) {
  const list = by("events");
  const { device, ...rest } = event.data || {};
  const more = Object.entries(rest).filter(([, value]) => typeof value !== "object").map(([name, value]) => `${words(name)} ${value}`).join(", ");
  const item = h("li", {}, h("time", { datetime: event.time }, moment(event.time)), h("strong", {}, words(event.type.replace(".", " "))), ` ${[device, more].filter(Boolean).join(": ")}`);
  list.prepend(item);
  while (list.children.length > SHOWN_MAX) list.lastChild.remove();
}
