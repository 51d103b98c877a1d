// The work, for every server of Socket.IO 4 in JavaScript: one connection middleware, packet
// middleware, an answer emitted, an answer as ack, a broadcast, an echo of bytes.

const count = (name) => Number(process.env[name] ?? 1);

module.exports = (io) => {
  for (let i = 0; i < count("BENCH_NAMESPACES"); i++) {
    const namespace = io.of(i ? `/n${i}` : "/");
    namespace.use((socket, next) => next());
    namespace.on("connection", (socket) => {
      for (let j = 0; j < count("BENCH_MIDDLEWARE"); j++) socket.use((packet, next) => next());
      socket.on("chat", () => socket.emit("res", "Hello Man!!"));
      socket.on("ask", (text, ack) => ack("Hello Man!!"));
      socket.on("broadcast", (text) => namespace.emit("news", text));
      socket.on("echo", (data) => socket.emit("echo", data));
      for (let j = 1; j < count("BENCH_ROUTES"); j++) socket.on(`route${j}`, () => {});
    });
  }
};
