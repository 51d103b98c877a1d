// The backend for orders: who may connect, what they order, and when it is paid.

import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { Webhook } from "standardwebhooks";

const { API, ORDERS_SECRET, ORDERS_TOKEN, PORT } = process.env;
const LONGEST_BODY = 2_000_000;

const webhook = new Webhook(ORDERS_SECRET);
const customers = new Map([["ann-secret", "ann"], ["bob-secret", "bob"]]); // your database
const prices = new Map([["tea", 4], ["cake", 3]]);
const answers = new Map(); // to the last requests, by their id
let orders = 0;

// What the gateway asks, by path

const paths = {
  "/": () => ({ status: 204 }), // of `sockgw backends probe orders`

  "/connect"({ auth }) {
    const user = customers.get(auth.token);
    if (!user) return problem(401, "unauthorized", "try ann-secret or bob-secret");
    return envelope({ data: { user }, join: "customers" });
  },

  "/order.create"({ id, args: [item], socket: { user } }) {
    if (!prices.has(item)) return problem(404, "not_found", "we have tea and cake");
    if (!answers.has(id)) answers.set(id, created(id, item, user)); // else it is asked again
    if (answers.size > 1000) answers.delete(answers.keys().next().value);
    return answers.get(id);
  },
};

function created(id, item, user) {
  const order = { number: ++orders, item, price: prices.get(item), state: "new" };
  payment(id, order, user).catch(console.error);
  return envelope({
    ack: [order],
    emit: [{ event: "sold", args: [item], to: "customers" }],
  });
}

// What the gateway is asked: the push comes a second later, to all tabs and phones of the user

async function payment(id, order, user) {
  await sleep(1000); // the bank
  await push("emit", `paid-${id}`, {
    target: { namespace: "/shop", users: [user] },
    event: "order.changed",
    args: [{ ...order, state: "paid" }],
  });
}

async function push(operation, key, body) {
  const request = {
    method: "POST",
    headers: { authorization: `Bearer ${ORDERS_TOKEN}`, "idempotency-key": key },
    body: JSON.stringify(body),
  };
  for (const pause of [500, 2000, 8000, 0]) { // the key makes it safe to ask again
    try {
      const signal = AbortSignal.timeout(5000);
      const response = await fetch(`${API}/v1/${operation}`, { ...request, signal });
      const answer = await response.json();
      if (response.ok) return answer;
      throw new Error(`${answer.code}: ${answer.detail}`, { cause: response.status });
    } catch (error) {
      if (!pause || (error.cause >= 400 && error.cause < 500)) throw error;
      await sleep(pause);
    }
  }
}

// HTTP

function envelope(reply) {
  return { status: 200, type: "application/vnd.sockgw+json", body: reply };
}

function problem(status, code, detail) {
  return { status, type: "application/problem+json", body: { code, detail } };
}

async function answer(request) {
  const parts = [];
  let size = 0;
  for await (const part of request) {
    parts.push(part);
    if ((size += part.length) > LONGEST_BODY) return { status: 413 };
  }
  let told;
  try {
    told = webhook.verify(Buffer.concat(parts).toString(), request.headers);
  } catch {
    return { status: 401 }; // it is not the gateway who asks
  }
  return Object.hasOwn(paths, request.url) ? paths[request.url](told) : { status: 404 };
}

createServer(async (request, response) => {
  let found;
  try {
    found = await answer(request);
  } catch (error) {
    console.error(error);
    found = { status: 500 };
  }
  const { status, type, body } = found;
  response.writeHead(status, type && { "content-type": type });
  response.end(body && JSON.stringify(body));
}).listen(PORT, "127.0.0.1", () => console.log(`orders listen on port ${PORT}`));
