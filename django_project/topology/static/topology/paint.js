// Draws the board: each cell in the colour of its node, dark if it is alive.

import { NOBODY } from "./owners.js";

const HUES = [215, 150, 40, 330, 275, 185, 15, 90]; // degrees

export const hueOf = (index) => HUES[index % HUES.length];

/** The colour of a node, for the map. */
export const tintOf = (index) => `hsl(${hueOf(index)} 60% 50%)`;

export function paint(canvas, board, owners) {
  if (board.size === 0) return;
  const cell = Math.max(1, Math.floor(640 / board.size));
  const side = cell * board.size;
  if (canvas.width !== side) canvas.width = canvas.height = side;
  const context = canvas.getContext("2d", { alpha: false });
  for (let index = 0; index < board.states.length; index++) {
    const owner = owners.of(index);
    const lightness = board.states[index] ? 26 : 84;
    context.fillStyle = owner === NOBODY ? `hsl(0 0% ${lightness}%)` : `hsl(${hueOf(owner)} 62% ${lightness}%)`;
    const [x, y] = [(index % board.size) * cell, Math.floor(index / board.size) * cell];
    context.fillRect(x, y, cell, cell);
  }
  context.fillStyle = "rgb(128 128 128 / .35)";
  if (cell >= 6) {
    for (let at = cell; at < side; at += cell) {
      context.fillRect(at, 0, 1, side);
      context.fillRect(0, at, side, 1);
    }
  }
}
