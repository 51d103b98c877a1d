"use strict";
// Drives the official Socket.IO clients for the tests.
//
// stdin, one JSON command a line; `client` is a number the other side chooses:
//   {do: "create", client, url, version: 4|3|2, acks, opts}   opts as io() takes them, and parser: "msgpack"
//   {do: "emit", client, event, args, call, timeout}          call: a number to ask for an ack, timeout: ms
//   {do: "burst", client, event, count}                       emits 0, 1, 2 ... in one tick
//   {do: "connect" | "disconnect" | "close", client}
// `acks` is how the client answers when the server asks for an ack: {with: [...]}, "echo" or "never".
//
// stdout, one JSON report a line: {client, event, args, at}, `at` in seconds since the start. Besides
// the server's events: connect {id, transport, extensions}, connect_error {message, data, description, body},
// disconnect reason, upgrade {transport}, engine_close reason, reconnect_attempt, reconnect,
// reconnect_failed, ping, ack (with its call), ack_timeout (with its call). A report without a client
// is a fault of the driver or of a client library.
//
// Binary is {"$bytes": base64} both ways.

const { createInterface } = require("node:readline");

const clients = new Map();

function report(client, event, args, more) {
  const at = performance.now() / 1000;
  process.stdout.write(JSON.stringify({ client, event, args: args.map(pack), at, ...more }) + "\n");
}

function fault(error) {
  report(null, "fault", [String(error.stack ?? error)]);
}

function pack(value) {
  if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) {
    return { $bytes: Buffer.from(value).toString("base64") };
  }
  return mapped(value, pack);
}

function unpack(value) {
  if (typeof value?.$bytes === "string") return Buffer.from(value.$bytes, "base64");
  return mapped(value, unpack);
}

function mapped(value, change) {
  if (Array.isArray(value)) return value.map(change);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, change(item)]));
}

function create({ client, url, version, acks, opts }) {
  const io = require(`client${version}`);
  const options = { forceNew: true, ...unpack(opts) };
  if (options.parser === "msgpack") options.parser = require("socket.io-msgpack-parser");
  const socket = io(url, options);
  clients.set(client, socket);
  listen(socket, (event, args, more) => report(client, event, args, more), acks);
}

function listen(socket, tell, acks) {
  socket.on("connect", () => {
    const { name, ws } = socket.io.engine.transport;
    tell("connect", [{ id: socket.id, transport: name, extensions: ws?.extensions }]);
  });
  socket.on("connect_error", (error) => tell("connect_error", [plain(error)]));
  socket.on("disconnect", (reason) => tell("disconnect", [reason]));
  onAny(socket, (event, ...args) => {
    const answer = typeof args.at(-1) === "function" ? args.pop() : () => {};
    tell(event, args);
    if (acks === "echo") answer(...args);
    else if (acks.with) answer(...unpack(acks.with));
  });
  for (const event of ["reconnect_attempt", "reconnect", "reconnect_failed"]) {
    socket.io.on(event, (...args) => tell(event, args));
  }
  socket.io.on("open", () => {
    const engine = socket.io.engine; // a new one for every connection
    engine.on("upgrade", (transport) => tell("upgrade", [{ transport: transport.name }]));
    engine.on("close", (reason) => tell("engine_close", [reason]));
    engine.on("packet", ({ type }) => type === "ping" && tell("ping", [])); // 3.x has no such event
  });
}

function onAny(socket, listener) {
  if (socket.onAny) return socket.onAny(listener);
  // 2.x has no onAny, and a refusal of its server is an event of its own, `error`.
  socket.on("error", (data) => listener("error", data));
  socket.onevent = ({ data, id }) => {
    listener(...data, ...(id == null ? [] : [socket.ack(id)]));
  };
}

function plain(error) {
  const { message = String(error), data, description, context } = error;
  // `description` may be a whole ErrorEvent, sockets and all.
  return { message, data, description: description?.message ?? description, body: context?.responseText };
}

function emit(socket, { client, event, args, call, timeout }) {
  const values = unpack(args);
  if (call == null) return socket.emit(event, ...values);
  const acked = (...answer) => report(client, "ack", answer, { call });
  if (timeout == null) return socket.emit(event, ...values, acked);
  return socket.timeout(timeout).emit(event, ...values, (error, ...answer) => {
    if (error) report(client, "ack_timeout", [error.message], { call });
    else acked(...answer);
  });
}

function burst(socket, { event, count }) {
  for (let number = 0; number < count; number++) socket.emit(event, number);
}

function obey(command) {
  if (command.do === "create") return create(command);
  const socket = clients.get(command.client);
  if (command.do === "emit") return emit(socket, command);
  if (command.do === "burst") return burst(socket, command);
  if (command.do === "close") clients.delete(command.client);
  return command.do === "connect" ? socket.connect() : socket.disconnect();
}

process.on("uncaughtException", fault);
process.on("unhandledRejection", fault);
createInterface({ input: process.stdin })
  .on("line", (line) => {
    try {
      obey(JSON.parse(line));
    } catch (error) {
      fault(error);
    }
  })
  .on("close", () => process.exit(0));
