const $ = (selector) => document.querySelector(selector);
const LINES = 5000; // that the page keeps

const socket = io();

socket.on("connect", () => {
  if ($("#state").dataset.state === "idle") tell("idle", "ready");
  $("#start").disabled = false;
});

socket.on("disconnect", (reason) => {
  if (reason === "io client disconnect") return;
  tell("idle", "connection lost, trying again …");
  tryAgain();
});

socket.on("connect_error", tryAgain);

// When the gateway itself disconnects or refuses a socket, the client gives up.
function tryAgain() {
  if (!socket.active) setTimeout(() => socket.connect(), 1000);
}

socket.on("line", (text) => {
  const log = $("#log");
  const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 50;
  const line = document.createElement("div");
  line.textContent = text || " ";
  line.className = text.match(/\b(warning|error)\b/i)?.[1].toLowerCase() ?? "";
  log.append(line);
  while (log.children.length > LINES) log.firstChild.remove();
  if (isAtEnd) log.scrollTop = log.scrollHeight;
});

$("#start").addEventListener("click", async () => {
  $("#log").replaceChildren();
  tell("running", "running …");
  try {
    const { error, status, seconds } = await socket.emitWithAck("build");
    if (error) tell("failed", error.message);
    else if (status === 0) tell("passed", `passed in ${seconds} s`);
    else tell("failed", `failed with exit code ${status} after ${seconds} s`);
  } catch {
    tell("failed", "stopped"); // the connection ended before the ack
  }
});

// The gateway cancels the build of a client that is gone: `on_disconnect: cancel`.
$("#stop").addEventListener("click", () => socket.disconnect().connect());

function tell(state, text) {
  const isRunning = state === "running";
  $("#state").dataset.state = state;
  $("#state").textContent = text;
  $("#start").hidden = isRunning;
  $("#start").disabled = !socket.connected;
  $("#stop").hidden = !isRunning;
}
