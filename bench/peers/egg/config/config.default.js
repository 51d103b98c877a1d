const path = require("path");

module.exports = (app) => {
  const build = path.join(app.baseDir, "../../.build/egg");
  return {
    keys: "bench",
    logger: { dir: path.join(build, "logs") },
    rundir: path.join(build, "run"),
    io: { namespace: { "/": { connectionMiddleware: ["enter"], packetMiddleware: ["each"] } } },
  };
};
