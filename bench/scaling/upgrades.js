"use strict";
// Stock clients that call without end, and others that connect without end: see upgrades.py.
//
//   node upgrades.js FOLDER URL COUNT     where client4, the official client, is installed
//
// stdout: "in" once all are connected, and after "stop" on stdin one JSON object with what became of calls and attempts.

const { Agent } = require("node:http");
const { createInterface } = require("node:readline");

const io = require(require.resolve("client4", { paths: [process.argv[2]] }));
const [url, count] = [process.argv[3], Number(process.argv[4])];
const PAUSE = 50; // ms between the end of a call and the next
const LONGEST = 20000; // ms until a call or an attempt counts as failed
const KINDS = ["websocket", "polling-websocket", "polling"];

class KeepAlive extends Agent {
  reuseSocket(socket, request) {
    super.reuseSocket(socket, request);
    request.reusedSocket = false; // see clients.js
  }
}

const agent = new KeepAlive({ keepAlive: true });
const found = { clients: count, calls: 0, acked: 0, retried: 0, failed: 0, told: 0, lost: 0 };
Object.assign(found, { connected: 0, refused: 0, late: 0, longest: 0, moved: 0 });
let stopped = false;

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

function socketOf(number, more) {
  const transports = KINDS[number % KINDS.length].split("-");
  return io(url, { forceNew: true, transports, agent, reconnectionDelay: 100, reconnectionDelayMax: 500, ...more });
}

// The option `retries` sends a call again until it is acked.
async function callWithRetries(number) {
  const socket = socketOf(number, { retries: 20, ackTimeout: 2000 });
  let connections = 0;
  socket.on("connect", () => (found.moved += ++connections === 2));
  await new Promise((done) => socket.once("connect", done));
  isIn();
  for (let value = 0; !stopped; value++) {
    found.calls++;
    const answer = await Promise.race([
      new Promise((done) => socket.emit("ask", value, (error, answer) => done(error ? null : answer))),
      pause(LONGEST).then(() => null),
    ]);
    answer === value ? found.retried++ : found.failed++;
    await pause(PAUSE);
  }
}

// Without it, a client learns from `disconnect` that a call may be lost.
async function callOnce(number) {
  const socket = socketOf(number, {});
  let connections = 0;
  let gone = () => {};
  socket.on("connect", () => (found.moved += ++connections === 2));
  socket.on("disconnect", () => gone("gone"));
  await new Promise((done) => socket.once("connect", done));
  isIn();
  for (let value = 0; !stopped; value++) {
    if (!socket.connected) await new Promise((done) => socket.once("connect", done));
    found.calls++;
    const outcome = await Promise.race([
      new Promise((done) => socket.emit("ask", value, done)),
      new Promise((done) => (gone = done)),
      pause(LONGEST).then(() => null),
    ]);
    outcome === value ? found.acked++ : outcome === "gone" ? found.told++ : found.lost++;
    await pause(PAUSE);
  }
}

async function connect(number) {
  while (!stopped) {
    const start = performance.now();
    const socket = socketOf(number, {});
    socket.on("connect_error", () => found.refused++);
    const outcome = await Promise.race([new Promise((done) => socket.once("connect", () => done("in"))), pause(LONGEST)]);
    outcome === "in" ? found.connected++ : found.late++;
    found.longest = Math.max(found.longest, Math.round(performance.now() - start));
    socket.disconnect();
    await pause(10);
  }
}

let left = count;
function isIn() {
  if (--left === 0) console.log("in");
}

const working = [];
for (let number = 0; number < count; number++) {
  working.push(number % 2 ? callOnce(number) : callWithRetries(number));
}
for (let number = 0; number < 6; number++) working.push(connect(number));

createInterface({ input: process.stdin }).on("line", async () => {
  stopped = true;
  await Promise.all(working);
  console.log(JSON.stringify(found));
  process.exit(0);
});
