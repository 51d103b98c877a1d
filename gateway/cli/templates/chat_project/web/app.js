const $ = (selector) => document.querySelector(selector);
const PAUSE = 1500; // milliseconds without a key until one no longer types

let name = localStorage.getItem("name") ?? "";
let room = "lobby";
let typing = new Set();
let resting;

const socket = io({ autoConnect: false, auth: (answer) => answer({ name }) });

// What the gateway sends

socket.on("connect", () => {
  if (room !== "lobby") join(room); // a new connection begins in the lobby
});

socket.on("connect_error", (error) => {
  $("#people").textContent = error.message;
  if (error.data) welcome(); // refused by auth(), so ask for another name
  else tryAgain();
});

socket.on("disconnect", () => {
  $("#people").textContent = "connection lost, trying again …";
  tryAgain();
});

// When the gateway itself disconnects or refuses a socket, the client gives up.
function tryAgain() {
  if (!socket.active) setTimeout(() => socket.connect(), 1000);
}

socket.on("chat", (who, text) => {
  say(who, text);
  setTyping(who, false);
});

socket.on("joined", (who) => note(`${who} is here`));

socket.on("left", (who) => {
  note(`${who} left`);
  setTyping(who, false);
});

socket.on("typing", setTyping);

socket.on("people", (names, count) => {
  const more = count > names.length ? ` and ${count - names.length} more` : "";
  $("#people").textContent = `${names.join(", ")}${more}`;
});

socket.on("error", ({ message }) => note(message)); // what went wrong without an ack

// What the person does

$("#say").addEventListener("submit", async (event) => {
  event.preventDefault();
  const input = event.target.elements.text;
  const text = input.value.trim();
  if (!text) return;
  input.value = "";
  rest();
  const { error } = await socket.emitWithAck("chat", text);
  if (error) note(error.message);
});

$("#say").addEventListener("input", () => {
  if (!resting) socket.emit("typing", true);
  clearTimeout(resting);
  resting = setTimeout(rest, PAUSE);
});

for (const button of document.querySelectorAll("[data-room]")) {
  button.addEventListener("click", () => join(button.dataset.room));
}

function rest() {
  if (!resting) return;
  clearTimeout(resting);
  resting = undefined;
  socket.emit("typing", false);
}

async function join(name) {
  const { error } = await socket.emitWithAck("join", name);
  if (error) return note(error.message);
  room = name;
  typing.clear();
  setTyping();
  $("#messages").replaceChildren();
  for (const button of document.querySelectorAll("[data-room]")) {
    button.setAttribute("aria-pressed", button.dataset.room === room);
  }
  $("#say").elements.text.focus();
}

function welcome() {
  const dialog = $("#welcome");
  dialog.querySelector("input").value = name;
  dialog.showModal();
}

$("#welcome").addEventListener("cancel", (event) => event.preventDefault());

$("#welcome").addEventListener("close", () => {
  name = $("#welcome input").value.trim() || "guest";
  localStorage.setItem("name", name);
  socket.connect();
  $("#say").elements.text.focus();
});

// What is seen

function say(who, text) {
  const item = document.createElement("li");
  const author = document.createElement("b");
  item.className = who === name ? "said mine" : "said";
  author.textContent = who;
  author.style.color = `light-dark(hsl(${hue(who)} 60% 35%), hsl(${hue(who)} 70% 70%))`;
  item.append(author, text);
  show(item);
}

function note(text) {
  const item = document.createElement("li");
  item.className = "note";
  item.textContent = text;
  show(item);
}

function show(item) {
  const list = $("#messages");
  const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 50;
  list.append(item);
  while (list.children.length > 500) list.firstChild.remove();
  if (isAtEnd) list.scrollTop = list.scrollHeight;
}

function setTyping(who, isTyping) {
  if (isTyping) typing.add(who);
  else typing.delete(who);
  const [first, second] = typing;
  const several = typing.size > 2 ? "several people are" : `${first} and ${second} are`;
  $("#typing").textContent = !typing.size ? "" : `${typing.size === 1 ? `${first} is` : several} typing …`;
}

function hue(text) {
  return [...text].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7);
}

welcome();
