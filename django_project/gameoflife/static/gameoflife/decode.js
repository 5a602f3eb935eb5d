// Decodes the messages of the watcher's WebSocket into plain objects. It does not use the DOM.
//
//   binary, little-endian:
//     'S' u16 size  u32 step  ceil(size*size/8) bytes   the whole board; bit i of byte b is cell 8*b+i
//     'D' u32 step  u32 n  n * u32                      the changes: cell*2 + state
//   text:
//     JSON, {"phase": …, "size": …, "connected": …, "subscribed": …, "needed": …}, and
//     "lost": {node: cells} while cells of nodes that are gone reconnect; "why": why a game is over

export const MAX_SIZE = 1000; // the largest board a server may start
const PHASES = ["idle", "gathering", "running", "over"];
const SNAPSHOT = 0x53; // 'S'
const DELTA = 0x44; // 'D'
const SNAPSHOT_HEADER = 7; // bytes
const DELTA_HEADER = 9; // bytes

/** A frame does not follow the grammar; the board may be incomplete from now on. */
export class MalformedFrame extends Error {}

/**
 * Read one binary frame.
 * @param {ArrayBuffer} buffer
 * @returns {{kind: "snapshot", size: number, step: number, states: Uint8Array}
 *         | {kind: "delta", step: number, cells: Uint32Array, states: Uint8Array}}
 * @throws {MalformedFrame} without having changed anything
 */
export function decode(buffer) {
  const view = new DataView(buffer);
  if (view.byteLength === 0) throw new MalformedFrame("empty frame");
  switch (view.getUint8(0)) {
    case SNAPSHOT:
      return decodeSnapshot(view);
    case DELTA:
      return decodeDelta(view);
    default:
      throw new MalformedFrame(`unknown frame type ${view.getUint8(0)}`);
  }
}

function decodeSnapshot(view) {
  if (view.byteLength < SNAPSHOT_HEADER) throw new MalformedFrame("short snapshot");
  const size = view.getUint16(1, true);
  if (size > MAX_SIZE) throw new MalformedFrame(`a board ${size} wide`);
  const count = size * size;
  if (view.byteLength !== SNAPSHOT_HEADER + Math.ceil(count / 8)) {
    throw new MalformedFrame(`${view.byteLength} bytes for a board ${size} wide`);
  }
  const states = new Uint8Array(count);
  for (let cell = 0; cell < count; cell++) {
    states[cell] = (view.getUint8(SNAPSHOT_HEADER + (cell >> 3)) >> (cell & 7)) & 1;
  }
  return { kind: "snapshot", size, step: view.getUint32(3, true), states };
}

function decodeDelta(view) {
  if (view.byteLength < DELTA_HEADER) throw new MalformedFrame("short delta");
  const count = view.getUint32(5, true);
  if (view.byteLength !== DELTA_HEADER + 4 * count) {
    throw new MalformedFrame(`${view.byteLength} bytes for ${count} changes`);
  }
  const cells = new Uint32Array(count);
  const states = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    const entry = view.getUint32(DELTA_HEADER + 4 * i, true);
    cells[i] = entry >>> 1;
    states[i] = entry & 1;
  }
  return { kind: "delta", step: view.getUint32(1, true), cells, states };
}

/**
 * Read one text frame. Unknown keys are left out, invalid numbers become 0.
 * @returns {{phase: string, size: number, connected: number, subscribed: number, needed: number,
 *           lost: [string, number][], why: string} | null} null for other messages, which a newer server may send.
 */
export function decodeProgress(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof value !== "object" || value === null || !PHASES.includes(value.phase)) return null;
  const whole = (number) => (Number.isSafeInteger(number) && number > 0 ? number : 0);
  const count = (key) => whole(value[key]);
  return {
    phase: value.phase,
    size: count("size"),
    connected: count("connected"),
    subscribed: count("subscribed"),
    needed: count("needed"),
    lost: Object.entries(value.lost ?? {}).filter((entry) => whole(entry[1])),
    why: typeof value.why === "string" ? value.why : "",
  };
}
