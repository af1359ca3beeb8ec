// A sandbox and a broker as processes of their own, and the calls that a management server makes.

import { spawn } from "node:child_process";
import fs from "node:fs";
import https from "node:https";
import net from "node:net";
import os from "node:os";
import path from "node:path";

const ROOT = path.resolve(import.meta.dirname, "../..");
const PROGRAM = process.env.REVEILLE_BIN || path.join(ROOT, "target/debug/reveille");
const PATIENCE_MS = 60000;
export const TENANT = "contoso";
export const SHOTS = path.join(ROOT, "target/console");

/** Waits until `look` gives something true, and gives that. */
export async function until(what, look) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await Promise.resolve().then(look).catch(() => null);
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => { setTimeout(resolve, 100); });
  }
}

async function freePort() {
  const server = net.createServer();
  await new Promise((resolve) => { server.listen(0, "127.0.0.1", resolve); });
  const { port } = server.address();
  await new Promise((resolve) => { server.close(resolve); });
  return port;
}

/** GETs text from the sandbox, whose certificate is its own. */
function fetchFrom(url, ca) {
  return new Promise((resolve, reject) => {
    https.get(url, { ca }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (piece) => { body += piece; });
      response.on("end", () => resolve(body));
    }).on("error", reject);
  });
}

export class Rig {
  /** Starts a sandbox with a fleet and a broker with an embedded store, and registers the fleet. */
  static async start({ devices, sandbox = [], keys = "" }) {
    const rig = new Rig();
    rig.folder = fs.mkdtempSync(path.join(os.tmpdir(), "reveille-console-"));
    rig.children = new Map();
    rig.keys = keys;
    rig.port = await freePort();
    rig.url = `http://127.0.0.1:${rig.port}`;
    await rig.startSandbox(devices, sandbox);
    await rig.startBroker();
    return rig;
  }

  async startSandbox(devices, options) {
    const port = await freePort();
    this.ca = path.join(this.folder, "ca.pem");
    const child = this.spawn("sandbox", ["sandbox", "--listen", `127.0.0.1:${port}`, "--ca-file", this.ca, "--app", TENANT,
      "--devices", String(devices), "--check-in-url", this.url, ...options], {});
    let said = "";
    child.stdout.on("data", (piece) => { said += piece; });
    await until("the sandbox", () => said.includes("# ledger:"));
    this.sandbox = `https://localhost:${port}`;
    const wanted = said.split("\n").filter((line) => /^(\[|sandbox_hosts|id|pfn|package_sid|token_url)/.test(line));
    this.login = wanted.map((line) => line.replace(/\s+# .*/, "")).join("\n");
    this.secret = /# secrets: (\S+)/.exec(said)[1];
  }

  async startBroker() {
    const config = path.join(this.folder, "reveille.toml");
    const login = this.login.replace("[wns]", `[wns]\nca_file = ${JSON.stringify(this.ca)}`).replace("[[apps]]", "[[apps]]\nsecret_env = \"CONSOLE_TEST_SECRET\"");
    const text = `[server]\nlisten = "127.0.0.1:${this.port}"\n[store]\npath = ${JSON.stringify(path.join(this.folder, "data"))}\n${login}\n${this.keys}\n`;
    fs.writeFileSync(config, text);
    this.spawn("broker", ["serve", "--config", config], { CONSOLE_TEST_SECRET: this.secret });
    await until("the broker", async () => (await fetch(`${this.url}/healthz`)).ok);
  }

  spawn(name, args, environment) {
    const log = fs.openSync(path.join(this.folder, `${name}.log`), "a");
    const child = spawn(PROGRAM, args, { env: { ...process.env, ...environment }, stdio: ["ignore", "pipe", log] });
    this.children.set(name, child);
    return child;
  }

  /** Ends one process as an operator would, and waits for it. */
  async end(name, signal = "SIGTERM") {
    const child = this.children.get(name);
    this.children.delete(name);
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => { child.once("exit", resolve); });
    child.kill(signal);
    await ended;
  }

  async stop() {
    await this.end("broker", "SIGKILL");
    await this.end("sandbox", "SIGKILL");
    fs.rmSync(this.folder, { recursive: true, force: true });
  }

  /** Calls the broker's API; gives the answer's JSON. */
  async call(method, where, body, key) {
    const lines = typeof body === "string";
    const headers = { ...(key ? { Authorization: `Bearer ${key}` } : {}) };
    if (body !== undefined) headers["Content-Type"] = lines ? "application/x-ndjson" : "application/json";
    const response = await fetch(`${this.url}${where}`, { method, headers, body: body === undefined || lines ? body : JSON.stringify(body) });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${where}: ${response.status} ${text}`);
    return JSON.parse(text);
  }

  /** Registers the channels of the whole fleet; gives the devices. */
  async register() {
    const channels = await fetchFrom(`${this.sandbox}/sandbox/v1/channels`, fs.readFileSync(this.ca));
    const answer = await this.call("POST", `/v1/tenants/${TENANT}/channels`, channels);
    const devices = channels.trim().split("\n").map((line) => JSON.parse(line).device);
    if (answer.registered !== devices.length) throw new Error(JSON.stringify(answer));
    return devices;
  }
}
