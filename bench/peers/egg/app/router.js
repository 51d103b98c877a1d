module.exports = (app) => {
  const { work } = app.io.controller;
  const namespace = app.io.of("/");
  for (const event of ["chat", "ask", "broadcast", "echo"]) namespace.route(event, work[event]);
};
