// The site of socketio_site.py on the reference server, Socket.IO on Node: one process, or $WORKERS
// processes with the cluster adapter, as in its documentation. $SOCKETIO_MODULES is the folder with
// node_modules. Prints its address when all processes listen.

import cluster from "node:cluster";
import { createServer } from "node:http";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.SOCKETIO_MODULES}/`);
const { Server } = require("socket.io");
const { createAdapter, setupPrimary } = require("@socket.io/cluster-adapter");

const ROOM = "broadcast";
const WORKERS = Number(process.env.WORKERS ?? 1);
const INTERVAL_MS = 1000 * Number(process.env.SOCKETIO_PING_INTERVAL ?? 25);

function serve() {
  const http = createServer();
  const io = new Server(http, { pingInterval: INTERVAL_MS });
  if (cluster.isWorker) io.adapter(createAdapter());
  io.on("connection", (socket) => {
    if (socket.handshake.auth.role === "subscriber") socket.join(ROOM);
    socket.on("join", (room, done) => {
      socket.join(room);
      done();
    });
    socket.on("publish", (text, room = ROOM) => io.to(room).emit("message", text));
    socket.on("echo", (text, done) => done(text));
  });
  http.listen(0, "127.0.0.1", 4096, () => {
    if (!cluster.isWorker) listening(http.address().port);
  });
}

function listening(port) {
  process.stdout.write(`listening on http://127.0.0.1:${port}/\n`);
}

if (WORKERS === 1 || cluster.isWorker) {
  serve();
} else {
  setupPrimary();
  cluster.setupPrimary({ serialization: "advanced" });
  let ready = 0;
  cluster.on("listening", (worker, { port }) => {
    ready += 1;
    if (ready === WORKERS) listening(port);
  });
  for (let number = 0; number < WORKERS; number++) cluster.fork();
}
