const $ = (selector) => document.querySelector(selector);

let token = sessionStorage.getItem("token");

const socket = io("/shop", { autoConnect: false, auth: (answer) => answer({ token }) });

// Asks a backend. Its error, or the gateway's own, comes as the one argument of the ack.
async function ask(event, ...args) {
  try {
    const answer = await socket.timeout(10_000).emitWithAck(event, ...args);
    if (answer?.error) throw answer.error;
    problem("");
    return answer;
  } catch (error) {
    problem(`${error.code ?? "timeout"}: ${error.message}`);
  }
}

function problem(text) {
  $("#error").textContent = text;
  $("#error").hidden = !text;
}

// What the gateway sends

socket.on("connect", () => {
  sessionStorage.setItem("token", token);
  state("connected", true);
});

socket.on("disconnect", () => {
  state("connection lost, trying again …", true);
  tryAgain();
});

socket.on("connect_error", (error) => {
  const code = error.data?.code;
  state(code ? `${code}: ${error.message}` : "no connection, trying again …", code !== "unauthorized");
  if (code !== "unauthorized") tryAgain();
});

// When the gateway itself refuses or disconnects a socket, the client gives up.
function tryAgain() {
  if (!socket.active) setTimeout(() => socket.connect(), 1000);
}

socket.on("sold", (item) => { $("#sold").textContent = `Somebody has just ordered ${item}.`; });
socket.on("order.changed", showOrder);

socket.on("support.answered", (question, seen) => {
  showQuestion(question);
  seen(); // it was a call
});

socket.on("there?", (answer) => answer(document.visibilityState));

// What the page shows

function state(text, isKnown) {
  $("#state").textContent = text;
  $("#enter").hidden = isKnown;
  $("main").hidden = !isKnown;
}

function showOrder({ number, item, price, state }) {
  const line = row("#orders", `order-${number}`, "li");
  line.value = number;
  line.textContent = `${item}, ${price} €`;
  line.append(element("b", state));
}

function showQuestion({ number, text, answer }) {
  row("#questions", `question-${number}`, "div")
    .replaceChildren(element("dt", text), element("dd", answer ?? "…"));
}

// The row with this id, which may be one that another tab has asked for.
function row(list, id, tag) {
  const found = document.getElementById(id) ?? element(tag, "");
  found.id = id;
  if (!found.isConnected) $(list).append(found);
  return found;
}

function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

// What the customer does

$("#enter").addEventListener("submit", (event) => {
  event.preventDefault();
  token = new FormData(event.target).get("token");
  socket.connect();
});

for (const button of document.querySelectorAll("[data-item]")) {
  button.addEventListener("click", async () => {
    const order = await ask("order.create", button.dataset.item);
    if (order) showOrder(order);
  });
}

$("#ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  const question = await ask("support.ask", new FormData(event.target).get("text"));
  if (!question) return;
  event.target.reset();
  showQuestion(question);
});

if (token) socket.connect();
