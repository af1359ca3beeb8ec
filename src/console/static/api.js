// Calls of the message API. The key lives in this tab's session storage and nowhere else.

const TIMEOUT_MS = 10000;

/** The broker said no, with a problem document. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `status ${status}`);
    this.status = status;
    this.type = problem.type || "";
  }
}

/** The broker could not be asked. */
export class Unreachable extends Error {}

/** A text that outlives a reload, and ends with the tab. */
const kept = (name) => ({
  get: () => sessionStorage.getItem(name),
  set: (value) => sessionStorage.setItem(name, value),
  forget: () => sessionStorage.removeItem(name),
});

export const key = kept("reveille-key");
/** The tenant that somebody chose, if anybody did. */
export const chosen = kept("reveille-tenant");

export function authorisation() {
  const value = key.get();
  return value ? { Authorization: `Bearer ${value}` } : {};
}

/** A random word; not from `randomUUID`, which pages without TLS do not have. */
function nonce() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function send(method, path, options) {
  const headers = { ...authorisation(), ...options.headers };
  if (method !== "GET") headers["Idempotency-Key"] = nonce();
  try {
    return await fetch(path, { method, headers, body: options.body, signal: options.signal || AbortSignal.timeout(TIMEOUT_MS), cache: "no-store" });
  } catch (error) {
    throw new Unreachable(error.message);
  }
}

async function refusal(response) {
  const problem = await response.json().catch(() => ({}));
  return new Refused(response.status, problem);
}

/** Calls the API and gives the JSON that it answers. */
export async function call(method, path, options = {}) {
  const response = await send(method, path, options);
  if (!response.ok) throw await refusal(response);
  return response.json();
}

export const get = (path) => call("GET", path);

/** The answer's text. */
export async function text(path) {
  const response = await send("GET", path, {});
  if (!response.ok) throw await refusal(response);
  return response.text();
}

/** `/readyz` answers with a body whether the broker is ready or not. */
export async function readiness() {
  const response = await send("GET", "readyz", {});
  return response.json().catch(() => ({ status: "not_ready", components: [] }));
}

/** A path with its parts encoded: `path("v1/tenants", tenant, "devices", device)`. */
export function path(first, ...parts) {
  return [first, ...parts.map((part) => encodeURIComponent(part))].join("/");
}
