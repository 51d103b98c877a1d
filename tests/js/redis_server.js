// A Socket.IO server on Redis, with its adapter, an emitter and clients, told by lines of JSON.
//
// node redis_server.js PORT_OF_REDIS
// {"id": 1, "code": "..."} runs the code of an async function with io, emitter and connect; what it
// returns comes back as {"id": 1, "value": ...}, or its error as {"id": 1, "error": "..."}.

const readline = require("node:readline");
const { Server } = require("socket.io");
const { createAdapter } = require("@socket.io/redis-adapter");
const { Emitter } = require("@socket.io/redis-emitter");
const { createClient } = require("redis");
const client4 = require("client4");

const AsyncFunction = async function () {}.constructor;
const tell = (fact) => process.stdout.write(JSON.stringify(fact) + "\n");

async function main() {
  const url = `redis://127.0.0.1:${process.argv[2]}`;
  const clients = [createClient({ url }), createClient({ url }), createClient({ url })];
  for (const each of clients) {
    each.on("error", () => {});
    await each.connect();
  }
  const io = new Server({ adapter: createAdapter(clients[0], clients[1]) });
  const emitter = new Emitter(clients[2]);
  io.on("connection", (socket) => {
    socket.data.name = socket.handshake.auth.name;
    socket.join(socket.handshake.auth.rooms ?? []);
  });
  io.heard = [];
  for (const event of ["shout", "ask"]) {
    io.on(event, (...args) => {
      const answer = args.at(-1);
      io.heard.push(typeof answer === "function" ? args.slice(0, -1) : args);
      if (typeof answer === "function") answer("node");
    });
  }
  await new Promise((done) => io.attach(0).httpServer.once("listening", done));
  const { port } = io.httpServer.address();

  // A client of this server that keeps what it hears, and answers what wants an answer.
  function connect(auth) {
    const socket = client4.io(`http://127.0.0.1:${port}`, { auth, forceNew: true });
    socket.heard = [];
    socket.onAny((...args) => {
      const answer = args.at(-1);
      if (typeof answer === "function") {
        args.pop();
        answer(auth.name);
      }
      socket.heard.push(args);
    });
    return new Promise((done) => socket.on("connect", () => done(socket)));
  }

  const things = { io, emitter, connect };
  readline.createInterface({ input: process.stdin }).on("line", async (line) => {
    const { id, code } = JSON.parse(line);
    try {
      const run = new AsyncFunction("it", `const { io, emitter, connect } = it; ${code}`);
      tell({ id, value: (await run(things)) ?? null });
    } catch (error) {
      tell({ id, error: String(error) });
    }
  }).on("close", () => process.exit());
  tell({ id: 0, value: port });
}

main();
