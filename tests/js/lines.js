"use strict";
// Has lines streamed to it, and checks that each comes once and in its turn.
//
//   node lines.js URL TRANSPORTS, separated by commas, LINES
//
// Emits `build` with the number of lines and reads events `line` with their numbers, from 0 on.
// stdout, one JSON report a line: {at: "connect" | "reading" | "upgrade" | "end" | "disconnect",
// transport, lines, wrong}; "reading" with the first line, and `wrong` is the first line that came out of turn.

const { io } = require("client4"); // socket.io-client 4.x

const [url, transports, wanted] = process.argv.slice(2);
const socket = io(url, { transports: transports.split(",") });
let lines = 0;
let wrong = null;

function report(at) {
  const transport = socket.io.engine?.transport.name;
  console.log(JSON.stringify({ at, transport, lines, wrong }));
}

socket.on("connect", () => {
  report("connect");
  socket.emit("build", Number(wanted), () => {
    report("end");
    socket.disconnect();
  });
});

socket.io.on("open", () => socket.io.engine.on("upgrade", () => report("upgrade")));

socket.on("line", (number) => {
  if (number !== lines) wrong ??= number;
  lines += 1;
  if (lines === 1) report("reading");
});

socket.on("disconnect", () => report("disconnect"));
