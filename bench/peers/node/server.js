const { Server } = require("socket.io");

const io = new Server();
require("./work.js")(io);
io.listen(Number(process.argv[2]));
