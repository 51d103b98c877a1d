// Makes the checks of checks.mjs with a client from npm, in Node, Bun or Deno.
//
// argv: a task as JSON, with `client`, the package, and `with`: what else to use (msgpack, fetch).
// Each report is one JSON line on stdout.

import { createRequire } from "node:module";
import { run } from "./checks.mjs";

const require = createRequire(import.meta.url);
const task = JSON.parse(process.argv[2]);
const client = require(task.client);
const io = client.io ?? client; // 3.0 has the function only

if (task.with === "msgpack") task.options.parser = require("socket.io-msgpack-parser");
if (task.with === "fetch") {
  const { Fetch, NodeWebSocket } = createRequire(require.resolve(task.client))("engine.io-client");
  const transports = { polling: Fetch, websocket: NodeWebSocket };
  task.options.transports = task.options.transports.map((name) => transports[name]);
}

await run(io, task, (report) => console.log(JSON.stringify(report)));
process.exit(0);
