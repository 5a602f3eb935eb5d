// Encodes the watcher's binary frames from the grammar, independently of the code that reads them.

export function snapshot(size, step, states) {
  const buffer = new ArrayBuffer(7 + Math.ceil((size * size) / 8));
  const view = new DataView(buffer);
  view.setUint8(0, "S".charCodeAt(0));
  view.setUint16(1, size, true);
  view.setUint32(3, step, true);
  states.forEach((state, cell) => {
    const at = 7 + Math.floor(cell / 8);
    view.setUint8(at, view.getUint8(at) + state * 2 ** (cell % 8));
  });
  return buffer;
}

export function delta(step, changes) {
  const buffer = new ArrayBuffer(9 + 4 * changes.length);
  const view = new DataView(buffer);
  view.setUint8(0, "D".charCodeAt(0));
  view.setUint32(1, step, true);
  view.setUint32(5, changes.length, true);
  changes.forEach(([cell, state], i) => view.setUint32(9 + 4 * i, cell * 2 + state, true));
  return buffer;
}
