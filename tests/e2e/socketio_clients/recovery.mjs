// Kills the node of clients, which must continue on others with every event once and in order:
//
//     node recovery.mjs URL [--transports websocket,polling] [--clients 8]
//
// The current folder has the node_modules of package.json. Prints one JSON object a line for each
// transport; exits with 1 if one failed.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { parseArgs } from "node:util";

import { Clients, Collected, call, next } from "./client.mjs";

const BEFORE = 20; // events before the node is killed
const AWAY = 40; // events until its clients are back
const AFTER = 60;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    transports: { type: "string", default: "websocket,polling" },
    clients: { type: "string", default: "8" },
  },
});
const io = createRequire(`${process.cwd()}/`)("socket.io-client");

async function killedNode(clients, room) {
  const receivers = [];
  for (let number = 0; number < Number(values.clients); number += 1) {
    const socket = await clients.open();
    const received = new Collected(socket, "said");
    await call(socket, "join", room);
    receivers.push({ socket, received, id: socket.id, node: socket.welcome.node });
  }
  const node = receivers[0].node;
  let speaker;
  do speaker = await clients.open();
  while (speaker.welcome.node === node);

  const say = async (from, to) => {
    for (let number = from; number < to; number += 1) await call(speaker, "say", room, number);
  };
  const numbers = async (count, { received }) => (await received.until(count)).map(([number]) => number);

  await say(0, BEFORE);
  for (const receiver of receivers) await numbers(BEFORE, receiver);
  const killed = receivers.filter((each) => each.node === node);
  const back = killed.map(({ socket }) => next(socket, "connect"));
  killed[0].socket.emit("crash");
  await next(killed[0].socket, "disconnect");
  await say(BEFORE, AWAY);
  await Promise.all(back);
  await say(AWAY, AFTER);

  const all = [...Array(AFTER).keys()];
  for (const receiver of receivers) assert.deepEqual(await numbers(AFTER, receiver), all);
  for (const { socket, id } of killed) {
    assert.equal(socket.recovered, true);
    assert.equal(socket.id, id);
    const [state] = await call(socket, "state");
    assert.deepEqual({ ...state, node: "" }, { node: "", recovered: true, rooms: [room], data: { room } });
  }
  return { node, killed: killed.length };
}

let failed = false;
for (const transport of values.transports.split(",")) {
  const clients = new Clients(io, positionals[0], transport);
  let line;
  try {
    line = { ok: true, ...(await killedNode(clients, `room of ${transport}`)) };
  } catch (error) {
    failed = true;
    line = { ok: false, error: String(error.stack) };
  }
  clients.close();
  process.stdout.write(`${JSON.stringify({ check: "killed node", transport, ...line })}\n`);
}
process.exit(failed ? 1 : 0);
