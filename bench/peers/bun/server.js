const { Server: Engine } = require("@socket.io/bun-engine");
const { Server } = require("socket.io");

const io = new Server();
const engine = new Engine({ path: "/socket.io/" });
io.bind(engine);
require("../node/work.js")(io);
Bun.serve({ port: Number(process.argv[2]), hostname: "127.0.0.1", ...engine.handler() });
