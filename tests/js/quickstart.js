"use strict";
// The quick start of Egg's Socket.IO documentation, as a user writes it today.
//
//   node quickstart.js URL [TRANSPORTS, separated by commas [SECONDS]]
//
// Ends after the third `res`, or with an error after SECONDS, 120 unless given.

const { io } = require("client4"); // socket.io-client 4.x

const [url, transports, seconds = 120] = process.argv.slice(2);
const socket = io(url, transports ? { transports: transports.split(",") } : {});
let answers = 0;

const late = setTimeout(() => {
  console.error("only %d of 3 answers within %s s", answers, seconds);
  process.exit(1);
}, seconds * 1000);

socket.on("connect", () => {
  console.log("connect");
  socket.emit("chat", "hello world!");
});

socket.on("connect_error", (error) => {
  console.error("connect_error: %s", error.message);
});

socket.on("res", (message) => {
  console.log("res %s", message);
  answers += 1;
  if (answers === 3) {
    clearTimeout(late);
    socket.disconnect();
  }
});
