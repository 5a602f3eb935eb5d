// The site of the checks on the reference server: `node reference.mjs`, in a folder that has the
// node_modules of package.json. Prints its URL. It shows that a check asks for what clients know.

import { createServer } from "node:http";
import { createRequire } from "node:module";

const { Server } = createRequire(`${process.cwd()}/`)("socket.io");

const http = createServer();
const io = new Server(http, { pingInterval: 300, pingTimeout: 20_000 });

function refusal(message, data) {
  return Object.assign(new Error(message), { data });
}

io.use((socket, next) => {
  const { refuse } = socket.handshake.auth;
  next(refuse ? refusal("refused", { code: 42, why: ["you asked"] }) : undefined);
});

io.on("connection", (socket) => {
  const { auth, query } = socket.handshake;
  const rooms = () => [...socket.rooms];
  socket.emit("welcome", { node: process.pid, sid: socket.id, auth, query: query.colour ?? null });
  socket.on("echo", (...data) => data.pop()?.(...data));
  socket.on("emit_back", (event, ...data) => socket.emit(event, ...data));
  socket.on("transport", (done) => done(socket.conn.transport.name));
  socket.on("rooms", (done) => done(rooms()));
  socket.on("ask", (...data) => {
    const done = data.pop();
    socket.timeout(20_000).emit("question", ...data, (error, ...answer) => done(answer));
  });
  socket.on("ask_unanswered", (done) => {
    socket.timeout(100).emit("unanswered", (error) => done(error ? "timed out" : "answered"));
  });
  socket.on("burst", (count) => {
    for (let number = 0; number < count; number++) socket.emit("numbered", number);
  });
  socket.on("volatile_burst", (count, done) => {
    for (let number = 0; number < count; number++) socket.volatile.emit("numbered", number);
    done();
  });
  socket.on("join", (room, done) => {
    socket.join(room);
    done(rooms());
  });
  socket.on("leave", (room, done) => {
    socket.leave(room);
    done(rooms());
  });
  socket.on("count", async (room, done) => done((await io.in(room).fetchSockets()).length));
  socket.on("say", (room, text, done) => {
    socket.to(room).emit("said", text);
    done?.();
  });
  socket.on("say_to_all", (room, text, done) => {
    io.to(room).emit("said", text);
    done();
  });
  socket.on("say_except", (room, other, text, done) => {
    socket.to(room).except(other).emit("said", text);
    done();
  });
  socket.on("tell", (id, text, done) => {
    io.to(id).emit("said", text);
    done();
  });
  socket.on("broadcast", (text, done) => {
    socket.broadcast.emit("to_all", text);
    done();
  });
  socket.on("kick", (close) => socket.disconnect(close));
  socket.on("disconnect", (reason) => io.to(`watch ${auth.name}`).emit("left", auth.name, reason));
});

const admin = io.of("/admin");
admin.use((socket, next) => {
  const { token } = socket.handshake.auth;
  next(token === "secret" ? undefined : refusal("not authorized", { token }));
});
admin.on("connection", (socket) => {
  socket.on("who", (done) => done(socket.handshake.auth.name));
});

http.listen(0, "127.0.0.1", () => {
  process.stdout.write(`http://127.0.0.1:${http.address().port}/\n`);
});
