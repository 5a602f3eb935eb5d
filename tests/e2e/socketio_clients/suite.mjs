// Runs the checks in Node, against the server at a URL:
//
//     node suite.mjs URL [--client socket.io-client-4.0] [--transports polling,upgrade]
//                        [--nodes 4] [--kill] [--only TEXT]
//
// The current folder has the node_modules of package.json. Prints one JSON object a line for each
// check; exits with 1 if a check failed.

import { createRequire } from "node:module";
import { parseArgs } from "node:util";

import { run } from "./checks.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    client: { type: "string", default: "socket.io-client" },
    transports: { type: "string", default: "websocket,polling,upgrade" },
    nodes: { type: "string", default: "1" },
    kill: { type: "boolean", default: false },
    only: { type: "string", default: "" },
  },
});
const { client, transports, nodes, kill, only } = values;
const io = createRequire(`${process.cwd()}/`)(client);
const options = { transports: transports.split(","), nodes: Number(nodes), kill, only };
const passed = await run(io, positionals[0], options, (line) => {
  process.stdout.write(`${JSON.stringify({ client, ...line })}\n`);
});
process.exit(passed ? 0 : 1);
