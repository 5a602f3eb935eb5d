// Draws the board on a canvas: an image with one pixel per cell, scaled up without smoothing.
//
// Each drawing colours all cells with one look-up per cell in a small table. A million cells take a
// few milliseconds; the graphics card scales the image.

import { OLD } from "./board.js";

const HUE_STEP = 20; // degrees from one step to the next
const HUE_RANGE = 256; // degrees, after which the hue starts again at 0
const STILL_HUE = 215; // degrees, for users who prefer reduced motion
const LINE_FROM = 6; // device pixels per cell; between smaller cells, grid lines hide the board
const MAX_LOSS = 1 / 12; // of the side, left empty so that all cells are equally wide

// Alive is dark and dead is light in both schemes; in the dark one the dead cells are deeper in colour.
// Each pair is saturation and lightness in percent.
const SCHEMES = {
  light: {
    dead: { fresh: [100, 84], old: [42, 95] },
    alive: { fresh: [85, 32], old: [40, 20] },
    line: "rgb(255 255 255 / .6)",
  },
  dark: {
    dead: { fresh: [100, 68], old: [55, 63] },
    alive: { fresh: [90, 22], old: [60, 10] },
    line: "rgb(0 0 0 / .22)",
  },
};

/**
 * The hue of a step: 20 degrees more than the step before, modulo 256. A cell that changes takes the
 * hue of the step and keeps it while it fades. Cells that did not change for long have the hue of the
 * current step, paler.
 */
export function hueOf(step) {
  return (step * HUE_STEP) % HUE_RANGE;
}

/** CSS's hsl() as [red, green, blue], each 0-255. */
export function rgbOf(hue, saturation, lightness) {
  const light = lightness / 100;
  const spread = (saturation / 100) * Math.min(light, 1 - light);
  return [0, 8, 4].map((shift) => {
    const k = (shift + hue / 30) % 12;
    return Math.round(255 * (light - spread * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  });
}

/**
 * The colours of a board drawn in `step`, as 32-bit words of an ImageData: for each age of a cell
 * from 0 to OLD steps, dead, then alive.
 * @param {"light" | "dark"} scheme
 * @param {boolean} still - one hue for all, and no fading
 */
export function paletteOf(step, scheme, still) {
  const bytes = new Uint8Array((OLD + 1) * 2 * 4);
  for (let age = 0; age <= OLD; age++) {
    const hue = still ? STILL_HUE : hueOf(age < OLD && age <= step ? step - age : step);
    const part = still ? 1 : age / OLD;
    ["dead", "alive"].forEach((state, index) => {
      const { fresh, old } = SCHEMES[scheme][state];
      const [saturation, lightness] = fresh.map((value, i) => value + (old[i] - value) * part);
      bytes.set([...rgbOf(hue, saturation, lightness), 255], age * 8 + index * 4);
    });
  }
  return new Uint32Array(bytes.buffer); // correct for any byte order of the machine
}

/**
 * The side of a board of `size` cells in device pixels, at most `room`: a whole number of pixels per
 * cell if that leaves little of the room empty, otherwise all of the room.
 */
export function sideFor(size, room) {
  const whole = Math.floor(room / size) * size;
  return room - whole <= room * MAX_LOSS ? whole : room;
}

export class Painter {
  #context;
  #image = document.createElement("canvas");
  #pixels; // ImageData of one pixel a cell
  #words; // the same, one 32-bit word a pixel
  #scheme = "light";
  #still = false;

  constructor(canvas) {
    this.canvas = canvas;
    this.#context = canvas.getContext("2d", { alpha: false });
  }

  /** Choose the colours of later draws; see paletteOf. */
  setColours(scheme, still) {
    this.#scheme = scheme;
    this.#still = still;
  }

  /** Draw `board` into a square of at most `room` CSS pixels. */
  draw(board, room, ratio) {
    if (board.size === 0) return;
    this.#write(board);
    const side = sideFor(board.size, Math.max(1, Math.floor(room * ratio)));
    if (this.canvas.width !== side) this.canvas.width = this.canvas.height = side;
    this.canvas.style.width = this.canvas.style.height = `${side / ratio}px`;
    // If a board has more cells than pixels, smoothing shows all cells; otherwise some are missing.
    this.#context.imageSmoothingEnabled = side < board.size;
    this.#context.drawImage(this.#image, 0, 0, side, side);
    this.#rule(board.size, side);
  }

  #write({ size, step, states, stamps }) {
    const context = this.#image.getContext("2d");
    if (this.#image.width !== size || this.#pixels === undefined) {
      this.#image.width = this.#image.height = size;
      this.#pixels = context.createImageData(size, size);
      this.#words = new Uint32Array(this.#pixels.data.buffer);
    }
    const words = this.#words;
    const palette = paletteOf(step, this.#scheme, this.#still);
    for (let cell = 0; cell < states.length; cell++) {
      const age = (step - stamps[cell]) >>> 0; // modulo 2**32, as the steps are
      words[cell] = palette[(age < OLD ? age : OLD) * 2 + states[cell]];
    }
    context.putImageData(this.#pixels, 0, 0);
  }

  #rule(size, side) {
    const cell = side / size;
    if (cell < LINE_FROM || !Number.isInteger(cell)) return;
    const context = this.#context;
    const width = cell >= 24 ? 2 : 1;
    context.fillStyle = SCHEMES[this.#scheme].line;
    for (let at = cell; at < side; at += cell) {
      context.fillRect(at - (width >> 1), 0, width, side);
      context.fillRect(0, at - (width >> 1), side, width);
    }
  }
}
