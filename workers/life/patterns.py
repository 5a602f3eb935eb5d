"""Patterns: the built-in ones, random ones, files in three formats, and their position on the grid.

plain      one line a row; `.` and space are dead, anything else is alive
.cells     the same with `!` comment lines, `.` dead and `O` alive
RLE        `x = 3, y = 3` and then runs: `b` dead, `o` alive, `$` end of row, `!` end; `#` comments
"""

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from workers.life.rules import Grid

Cells = frozenset[tuple[int, int]]  # (row, col) of the living cells


class BadPattern(ValueError):
    """A pattern is unknown, unreadable, or too large for the grid; the text is for the user."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """The living cells within a box of `rows` x `cols`, whose borders may be dead."""

    name: str
    rows: int
    cols: int
    cells: Cells


def plain(name: str, text: str) -> Pattern:
    """`.` and space are dead, anything else is alive; trailing spaces are ignored."""
    lines = [line.rstrip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    cells = frozenset(
        (row, col)
        for row, line in enumerate(lines)
        for col, mark in enumerate(line)
        if mark not in ". "
    )
    return Pattern(name, len(lines), max(map(len, lines), default=0), cells)


def plaintext(name: str, text: str) -> Pattern:
    """`.cells`: lines that begin with `!` are comments, `.` is dead, `O` or `*` alive."""
    lines = [line.rstrip() for line in text.splitlines() if not line.startswith("!")]
    for number, line in enumerate(lines, 1):
        for mark in line:
            if mark not in ".O* ":
                raise BadPattern(f"{name}: {mark!r} in row {number}: a cell is '.' or 'O'")
    return plain(name, "\n".join(lines))


_HEADER = re.compile(r"x\s*=\s*(\d+)\s*,\s*y\s*=\s*(\d+)\s*(?:,\s*rule\s*=\s*(\S+))?\s*", re.I)
_RUN = re.compile(r"(\d*)([bo$!])", re.I)
_CONWAY = ("B3/S23", "23/3", "LIFE")
_LARGEST_RUN = 100_000  # cells: a malicious file must not fill the memory


def rle(name: str, text: str) -> Pattern:
    """Run length encoded, with Conway's rule only.

    https://conwaylife.com/wiki/Run_Length_Encoded describes the format.
    """
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    header = _HEADER.fullmatch(lines[0]) if lines else None
    if header is None:
        raise BadPattern(f"{name}: an RLE file begins with 'x = COLUMNS, y = ROWS'")
    cols, rows, rule = int(header[1]), int(header[2]), header[3]
    if rule and rule.upper() not in _CONWAY:
        raise BadPattern(f"{name}: the rule is {rule}, but this game has only B3/S23")
    body = "".join("".join(lines[1:]).split())
    row = col = position = 0
    cells: set[tuple[int, int]] = set()
    while position < len(body):
        run = _RUN.match(body, position)
        if run is None:
            raise BadPattern(f"{name}: {body[position]!r} is not one of b, o, $, ! and digits")
        position = run.end()
        count = int(run[1] or 1)
        if count > _LARGEST_RUN:
            raise BadPattern(f"{name}: a run of {count} cells is too long")
        mark = run[2].lower()
        if mark == "!":
            break
        if mark == "$":
            row, col = row + count, 0
            continue
        if mark == "o":
            cells.update((row, col + offset) for offset in range(count))
        col += count
    rows = max(rows, 1 + max((row for row, _ in cells), default=-1))
    cols = max(cols, 1 + max((col for _, col in cells), default=-1))
    return Pattern(name, rows, cols, frozenset(cells))


def load(name_or_path: str) -> Pattern:
    """A built-in pattern by name, or a file: `.cells`, RLE (by suffix or first line), or plain."""
    known = BUILT_IN.get(name_or_path.lower())
    if known is not None:
        return known
    path = Path(name_or_path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadPattern(
            f"no pattern or file {name_or_path!r}; built in are {', '.join(BUILT_IN)}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadPattern(f"cannot read the pattern {name_or_path!r}: {error}") from None
    suffix = path.suffix.lower()
    if suffix == ".cells":
        return plaintext(path.name, text)
    opening = next((line for line in text.splitlines() if not line.startswith("#")), "")
    if suffix == ".rle" or _HEADER.fullmatch(opening.strip()):
        return rle(path.name, text)
    return plain(path.name, text)


def cells_on_grid(pattern: Pattern, size: int, centred: bool = True) -> Iterable[tuple[int, int]]:
    """The living cells on a grid of `size`, with the pattern in the middle or at the top left.

    Raises BadPattern if the pattern does not fit.
    """
    if pattern.rows > size or pattern.cols > size:
        raise BadPattern(
            f"the pattern {pattern.name} has {pattern.rows} rows and {pattern.cols} columns: "
            f"it does not fit a grid of {size}x{size}"
        )
    down = (size - pattern.rows) // 2 if centred else 0
    right = (size - pattern.cols) // 2 if centred else 0
    return [(row + down, col + right) for row, col in sorted(pattern.cells)]


_DRAWINGS = {
    "blinker": "OOO",
    "toad": ".OOO\nOOO.",
    "beacon": "OO..\nOO..\n..OO\n..OO",
    "pulsar": """\
..OOO...OOO..
.............
O....O.O....O
O....O.O....O
O....O.O....O
..OOO...OOO..
.............
..OOO...OOO..
O....O.O....O
O....O.O....O
O....O.O....O
.............
..OOO...OOO..""",
    "pentadecathlon": "..O....O..\nOO.OOOO.OO\n..O....O..",
    "glider": ".O.\n..O\nOOO",
    "lwss": ".O..O\nO....\nO...O\nOOOO.",
    "mwss": "...O..\n.O...O\nO.....\nO....O\nOOOOO.",
    "hwss": "...OO..\n.O....O\nO......\nO.....O\nOOOOOO.",
    "gosper": """\
........................O...........
......................O.O...........
............OO......OO............OO
...........O...O....OO............OO
OO........O.....O...OO..............
OO........O...O.OO....O.O...........
..........O.....O.......O...........
...........O...O....................
............OO......................""",
    "r-pentomino": ".OO\nOO.\n.O.",
    "acorn": ".O.....\n...O...\nOO..OOO",
}

BUILT_IN: dict[str, Pattern] = {name: plain(name, text) for name, text in _DRAWINGS.items()}


def random_start(size: int, seed: int | None) -> Grid:
    """Return a grid with one cell in four alive, the same for the same seed."""
    dice = random.Random(seed)
    cells = [(row, col) for row in range(size) for col in range(size)]
    return Grid.of(size, [cell for cell in cells if not dice.randrange(4)])
