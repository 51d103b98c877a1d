// The check list of the JavaScript clients, for Node, Bun, Deno and browsers.
//
// `run(io, task, report)` makes the checks of `task` one after the other and reports each of them:
// {check, got}, or {check, error}. A task is
//   {url, relay, options, upgrade, checks, patience}
// `relay` is an address whose connections end with the event `cut`; `options` are those of every
// client; `upgrade` says that a client is to upgrade before its check begins; `patience` is how long
// all checks together may take, in seconds.
//
// A check gives what the client got. Binary is reported as "bytes:" and hexadecimal digits.

const TEXT = 'plain, "quoted", \\, \0, \n and € 🦄 \u2028';
const AUTH = { token: "secret", more: [1, { a: null }] };

export async function run(io, task, report) {
  const late = new Promise((_, reject) => {
    const error = new Error(`nothing came within ${task.patience} s`);
    setTimeout(() => reject(error), task.patience * 1000);
  });
  late.catch(() => {});
  for (const check of task.checks) {
    const visit = new Visit(io, task);
    try {
      const got = await Promise.race([CHECKS[check](visit), late]);
      await report({ check, got: pack(got) });
    } catch (error) {
      await report({ check, error: String(error?.message ?? error) });
    } finally {
      visit.leave();
    }
  }
}

const CHECKS = {
  async runtime() {
    if (globalThis.Bun) return "Bun";
    if (globalThis.Deno) return "Deno";
    return globalThis.process ? "Node" : /Headless(Chrome)/.exec(navigator.userAgent)[1];
  },

  async transport(visit) {
    const { socket } = await visit.open();
    return socket.io.engine.transport.name;
  },

  async text(visit) {
    const client = await visit.open();
    client.socket.emit("echo", TEXT, null, 1.5, [{ a: [] }], "");
    return client.next("echo");
  },

  async binary(visit) {
    const client = await visit.open();
    client.socket.emit("echo", ...binary());
    return client.next("echo");
  },

  async ack(visit) {
    const client = await visit.open();
    return [await client.call("reply", TEXT), await client.call("reply", ...binary())];
  },

  async empty(visit) {
    const client = await visit.open();
    return client.call("reply", bytes(0), "");
  },

  async ask(visit) {
    const client = await visit.open();
    client.socket.on("question", (...args) => args.pop()(...args));
    return [await client.call("ask", TEXT), await client.call("ask", ...binary())];
  },

  async large(visit) {
    const client = await visit.open();
    const text = "€".repeat(50_000);
    const [same, data] = await client.call("reply", text, bytes(200_000));
    return [same === text, data.byteLength];
  },

  async burst(visit) {
    const client = await visit.open();
    client.socket.emit("count", 40);
    return client.take("tick", 40);
  },

  // Some are sent before there is a connection, others while it upgrades.
  async order(visit) {
    const client = visit.start();
    const heard = client.take("echo", 40);
    for (let n = 0; n < 20; n++) client.socket.emit("echo", n);
    for (let n = 20; n < 40; n++) {
      client.socket.emit("echo", n);
      await client.call("reply");
    }
    return heard;
  },

  async auth(visit) {
    const client = await visit.open("/auth", { auth: AUTH });
    return client.call("who");
  },

  async refused(visit) {
    const { message, data } = await visit.start("/auth", { auth: { token: "wrong" } }).refused;
    return [message, data];
  },

  async nowhere(visit) {
    const { message, data } = await visit.start("/nowhere").refused;
    return [message, data];
  },

  async namespaces(visit) {
    const first = await visit.open();
    const second = new Client(first.socket.io.socket("/auth", { auth: AUTH }));
    const [auth] = await second.call("who");
    const replies = await first.call("reply", 1);
    first.socket.disconnect();
    return [auth, ...replies, ...(await second.call("reply", 2))];
  },

  async query(visit) {
    const client = await visit.open("/", { query: { room: "7 & ü" } });
    return client.call("seen", "query", "room");
  },

  async headers(visit) {
    const client = await visit.open("/", { extraHeaders: { "x-test": "yes" } });
    return client.call("seen", "headers", "x-test");
  },

  async cookies(visit) {
    const inBrowser = typeof document !== "undefined";
    if (inBrowser) document.cookie = "who=me";
    const client = await visit.open(
      "/",
      inBrowser ? { withCredentials: true } : { extraHeaders: { cookie: "who=me" } },
    );
    return client.call("seen", "headers", "cookie");
  },

  async kicked(visit) {
    const client = await visit.open();
    client.socket.emit("kick");
    return client.left;
  },

  async left(visit) {
    const client = await visit.open();
    const { id, io } = client.socket;
    const closed = new Promise((resolve) => io.engine.once("close", resolve));
    client.socket.disconnect();
    const reason = await client.left;
    await closed;
    const again = new Client(client.socket.connect());
    return [reason, await again.call("reply", 1), again.socket.id !== id];
  },

  async reconnect(visit) {
    const again = { reconnection: true, reconnectionDelay: 1, reconnectionDelayMax: 1 };
    const client = await visit.open("/", again, visit.task.relay);
    const { id } = client.socket;
    client.socket.emit("cut");
    const reason = await client.left;
    await new Promise((resolve) => client.socket.once("connect", resolve));
    const answer = await new Client(client.socket).call("reply", 1);
    return [reason, answer, client.socket.id !== id];
  },

  async forceBase64(visit) {
    const client = await visit.open("/", { forceBase64: true });
    const frames = [];
    const { ws } = client.socket.io.engine.transport;
    ws?.addEventListener("message", ({ data }) => frames.push(typeof data));
    client.socket.on("question", (...args) => args.pop()(...args));
    client.socket.emit("echo", TEXT, ...binary());
    const heard = await client.next("echo");
    const answer = await client.call("ask", TEXT, ...binary());
    return [heard, answer, frames.every((type) => type === "string")];
  },

  async protocols(visit) {
    const client = await visit.open("/", { protocols: ["chat", "superchat"] });
    const { ws } = client.socket.io.engine.transport;
    return [ws?.protocol ?? null, ...(await client.call("reply", 1))];
  },

  async addTrailingSlash(visit) {
    const client = await visit.open("/", { addTrailingSlash: false });
    return client.call("reply", 1);
  },
};

// All clients of one check.
class Visit {
  constructor(io, task) {
    this.io = io;
    this.task = task;
    this.sockets = [];
  }

  // A client that has begun to connect.
  start(namespace = "/", options = {}, url = this.task.url) {
    const common = { forceNew: true, reconnection: false, ...this.task.options };
    const socket = this.io(url + namespace, { ...common, ...options });
    this.sockets.push(socket);
    return new Client(socket);
  }

  // A client that is connected, and has upgraded if it is to.
  async open(...args) {
    const client = this.start(...args);
    const { engine } = client.socket.io;
    const upgraded = client.until((resolve) => engine.once("upgrade", resolve));
    await client.next("connect");
    if (this.task.upgrade) await upgraded;
    return client;
  }

  leave() {
    for (const socket of this.sockets) socket.disconnect();
  }
}

// One socket; to wait for what cannot come any more, because the connection is lost, is an error.
class Client {
  constructor(socket) {
    this.socket = socket;
    this.refused = new Promise((resolve) => socket.on("connect_error", resolve));
    this.left = new Promise((resolve) => socket.on("disconnect", resolve));
  }

  next(event) {
    return this.until((resolve) => this.socket.once(event, (...args) => resolve(args)));
  }

  call(event, ...args) {
    return this.until((resolve) => {
      this.socket.emit(event, ...args, (...answer) => resolve(answer));
    });
  }

  // The first arguments of the next `count` of these events.
  take(event, count) {
    return this.until((resolve) => {
      const taken = [];
      this.socket.on(event, (first) => taken.push(first) === count && resolve(taken));
    });
  }

  until(begin) {
    const refused = this.refused.then(({ message }) => {
      throw new Error(`connect_error: ${message}`);
    });
    const left = this.left.then((reason) => {
      throw new Error(`disconnect: ${reason}`);
    });
    const waiting = Promise.race([new Promise(begin), refused, left]);
    waiting.catch(() => {}); // whoever waits is told; nobody may be waiting yet
    return waiting;
  }
}

function bytes(count) {
  return Uint8Array.from({ length: count }, (_, index) => index);
}

function binary() {
  const deep = { deep: [Uint8Array.of(4).buffer, { deeper: bytes(2).buffer }] };
  return [bytes(256).buffer, Uint8Array.of(2, 3), "between", deep];
}

function pack(value) {
  if (value instanceof ArrayBuffer) return pack(new Uint8Array(value));
  if (ArrayBuffer.isView(value)) {
    return "bytes:" + Array.from(value, (byte) => byte.toString(16).padStart(2, "0")).join("");
  }
  if (Array.isArray(value)) return value.map(pack);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, pack(item)]));
}
