// c10k.js as an ES module:  import { feed, socket } from "/static/c10k/c10k.mjs";
//
// That script makes the global `c10k`, as a module it does the same.

import "./c10k.js";

export const { Feed, Socket, feed, socket } = globalThis.c10k;
