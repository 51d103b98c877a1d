"use strict";
// Many stock clients in one process, which count what they are sent: see clients.py.
//
//   node clients.js FOLDER      where client4, the official client, is installed
//
// stdin, one JSON command a line; stdout, one JSON answer a line, in the order of the commands:
//   {do: "open", url, ca, count, transports}   that many clients, the transports in turn; null when all are in
//   {do: "tell", from, count}                  ask for that many broadcasts, each of another client; the answers that came
//   {do: "start", by, from, every}             ask for one each `every` ms, of one client, until "stop"; null
//   {do: "stop"}                               the number after the last one asked for
//   {do: "sing", by, from, every}              ask for one each `every` ms, of these clients in turn, until "hush"; null
//   {do: "hush"}                               the broadcasts asked for: of which worker, and whether it has answered
//   {do: "back"}                               have all leave and come back; null when all are in
//   {do: "forget"}                             forget what was noticed so far; null
//   {do: "busy", calls, leaves, changes}       each so many ms, another client calls, another one leaves and comes back, and
//                                              unless `changes` is 0, another one has rooms changed; null
//   {do: "quiet"}                              have that end; the calls, once each is answered or its connection has ended
//   {do: "close"}                              have all clients leave; null
//   {do: "facts", from, to}                    a list with what each client has, and lacks of these numbers

const { createInterface } = require("node:readline");
const http = require("node:http");
const https = require("node:https");

const io = require(require.resolve("client4", { paths: [process.argv[2]] }));
const OPENING = 50; // clients that connect at a time
const ASKED = 8; // broadcasts that are under way at a time

// Connections stay open between polls, as in browsers. When one of them ends before an answer, the client's
// xmlhttprequest-ssl 2.1.2 asks again but never ends that request, and hangs until its ping timeout: it must not
// know that the connection has been used before.
function keepAlive({ Agent }, options) {
  class KeepAlive extends Agent {
    reuseSocket(socket, request) {
      super.reuseSocket(socket, request);
      request.reusedSocket = false;
    }
  }
  return new KeepAlive({ keepAlive: true, ...options });
}

const TAG = 5; // characters of a session's id that name its worker
const SETTLED = 5000; // ms after which an upgrade is over, on a busy machine too
const AWAY = 50; // ms between leaving and coming back
const LEAVING = 1000; // ms in which all clients can say that they leave
const PATIENCE = 30000; // ms in which calls have to be answered

const clients = [];
const calls = { asked: 0, answered: 0, lost: [] };
let ticking;
let teller;
let songs = [];
let busyness = [];
let next = 0;

function open({ url, ca, count, transports }) {
  const agent = keepAlive(url.startsWith("https:") ? https : http, { ca });
  let left = count;
  return new Promise((done) => {
    const one = () => {
      if (clients.length < count) add(url, { ca, agent, transports: transports[clients.length % transports.length] });
    };
    const isIn = () => {
      if (--left === 0) done(null);
      one();
    };
    function add(url, options) {
      const settings = { forceNew: true, reconnectionDelay: 100, reconnectionDelayMax: 1000, ...options };
      const client = { socket: io(url, settings), transports: options.transports.join("-") };
      Object.assign(client, { worker: 0, tag: "", got: new Map(), noticed: [], ended: [], left: 0, pending: 0 });
      Object.assign(client, { upgraded: 0, upgradedAt: 0, isIn });
      clients.push(client);
      listen(client);
    }
    for (let i = 0; i < OPENING; i++) one();
  });
}

function listen(client) {
  const { socket } = client;
  const notice = (what, error) => client.noticed.push(`${what} ${status(error)}`.trim());
  socket.on("connect", () => {
    client.tag = socket.io.engine.id.slice(0, TAG);
    socket.emit("enter", (worker) => {
      client.worker = worker;
      client.isIn?.();
      client.isIn = undefined;
    });
  });
  socket.on("told", (number) => client.got.set(number, (client.got.get(number) ?? 0) + 1));
  socket.on("connect_error", (error) => notice("connect_error", error));
  socket.on("disconnect", (reason, error) => {
    client.worker = 0;
    if (reason === "io client disconnect") return void client.left++;
    client.ended.push(connection(client));
    notice(reason, error);
  });
  socket.io.on("open", () => {
    socket.io.engine.on("upgrade", () => {
      client.upgraded++;
      client.upgradedAt = Date.now();
    });
    socket.io.engine.on("upgradeError", (error) => notice("upgradeError", error));
  });
}

function connection({ tag, socket, upgradedAt }) {
  const isNew = Date.now() < upgradedAt + SETTLED; // the worker may not know of it yet
  return { tag, transport: isNew ? "upgrade" : socket.io.engine.transport.name };
}

function status(error) {
  const { description, message = "" } = error ?? {};
  if (typeof description === "number") return description;
  return /response: (\d+)/.exec(description?.message ?? message)?.[1] ?? "";
}

async function tell({ from, count }) {
  let [asked, answered] = [0, 0];
  const one = async () => {
    while (asked < count) {
      const number = from + asked++;
      await clients[(number * 7) % clients.length].socket.emitWithAck("tell", number);
      answered++;
    }
  };
  await Promise.all(Array.from({ length: ASKED }, one));
  return answered;
}

function start({ by, from, every }) {
  next = from;
  teller = clients[by];
  const { socket } = teller;
  ticking = setInterval(() => socket.connected && socket.emit("tell", next++), every);
  return null;
}

function stop() {
  clearInterval(ticking);
  return next;
}

function sing({ by, from, every }) {
  let turn = 0;
  songs = [];
  const one = () => {
    const client = clients[by[turn++ % by.length]];
    if (client.worker) ask({ number: from + songs.length, tag: client.tag, answered: false }, client);
  };
  ticking = setInterval(one, every);
  return null;
}

async function ask(song, { socket }) {
  songs.push(song);
  song.answered = await socket.emitWithAck("tell", song.number).then(() => true, () => false);
  song.over = true;
}

async function hush() {
  clearInterval(ticking);
  const end = Date.now() + PATIENCE;
  while (songs.some(({ over }) => !over) && Date.now() < end) await sleep(20);
  return songs;
}

async function back() {
  const going = [...clients];
  const one = async () => {
    for (let client; (client = going.pop()); ) {
      client.socket.disconnect();
      await sleep(AWAY);
      client.socket.connect();
      while (!client.worker) await sleep(20);
    }
  };
  await Promise.all(Array.from({ length: OPENING }, one));
  return null;
}

function forget() {
  for (const client of clients) Object.assign(client, { noticed: [], ended: [], left: 0, got: new Map() });
  return null;
}

function busy(every) {
  let [asking, leaving, changing] = [0, 0, 0];
  const one = () => void call(clients[asking++ % clients.length]);
  const two = () => leave(clients[(leaving++ * 7) % clients.length]);
  busyness = [setInterval(one, every.calls), setInterval(two, every.leaves)];
  const three = () => change(clients[(changing * 11) % clients.length], changing++);
  if (every.changes) busyness.push(setInterval(three, every.changes));
  return null;
}

async function call(client) {
  if (!client.worker) return;
  const under = connection(client);
  const number = calls.asked++;
  client.pending++;
  const answer = await client.socket.emitWithAck("ask", number).catch(() => undefined);
  client.pending--;
  if (answer === number) calls.answered++;
  else calls.lost.push(under);
}

async function change(client, number) {
  if (!client.worker) return;
  client.pending++;
  await client.socket.emitWithAck("change", number).catch(() => undefined);
  client.pending--;
}

function leave(client) {
  if (!client.worker || client.pending || client === teller) return;
  client.socket.disconnect();
  setTimeout(() => client.socket.connect(), AWAY);
}

async function quiet() {
  busyness.forEach(clearInterval);
  const end = Date.now() + PATIENCE;
  while (clients.some(({ pending }) => pending) && Date.now() < end) await sleep(20);
  return calls;
}

async function close() {
  for (const { socket } of clients) socket.disconnect();
  await sleep(LEAVING);
  return null;
}

function sleep(time) {
  return new Promise((done) => setTimeout(done, time));
}

function facts({ from, to }) {
  return clients.map((client) => {
    const { transports, worker, tag, noticed, ended, left, upgraded, got } = client;
    const lacks = [];
    let twice = 0;
    for (let number = from; number < to; number++) {
      const times = got.get(number) ?? 0;
      if (times === 0) lacks.push(number);
      if (times > 1) twice++;
    }
    return { transports, worker, tag, noticed, ended, left, upgraded, lost: lacks.length, twice, lacks };
  });
}

const commands = { open, tell, start, stop, sing, hush, back, forget, busy, quiet, close, facts };

async function obey(lines) {
  for await (const line of lines) {
    const command = JSON.parse(line);
    process.stdout.write(JSON.stringify(await commands[command.do](command)) + "\n");
  }
  process.exit(0);
}

obey(createInterface({ input: process.stdin }));
