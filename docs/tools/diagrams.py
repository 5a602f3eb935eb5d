"""Draw docs/images/NAME.svg, a sequence diagram, from docs/images/NAME.txt.

    python docs/tools/diagrams.py

SVG rather than Mermaid: it renders on every code host, on PyPI and offline, and loads no script.
A source has a line for the participants, and then one line for each step::

    participants: Client | Node | Broker
    Client -> Node: a message                 an arrow with its label
    Client --> Node: lost                     a dashed arrow
    Node: what it does                        a note on its line
    == after the commit                       a divider across the diagram

``\\n`` breaks the line of a label.
"""

import re
import sys
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

IMAGES = Path(__file__).resolve().parents[1] / "images"

WIDTH = 760
SIDE = 80  # from the left edge to the first participant's line
TOP = 62  # where the steps begin
LINE = 15  # between two lines of text
GAP = 16  # between two steps
NOTE_WIDTH = 170

STEP = re.compile(r"(.+?) (-->|->) (.+?): (.*)")

STYLE = """
  text { font: 12.5px system-ui, sans-serif; fill: #1f2933; }
  .name { font-weight: 600; }
  .page { fill: #ffffff; stroke: #d5dae1; }
  .head { fill: #e8ecfb; stroke: #5b6ee1; }
  .note { fill: #fff7df; stroke: #d9b44a; }
  .life { stroke: #a6b0bf; stroke-dasharray: 3 4; }
  .arrow { stroke: #3f51b5; stroke-width: 1.5; fill: none; }
  .tip { fill: #3f51b5; }
  .dashed { stroke-dasharray: 6 4; }
  .divider { stroke: #d5dae1; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e3e7ee; }
    .page { fill: #1e2230; stroke: #3a4256; }
    .head { fill: #2b3358; stroke: #8c9eff; }
    .note { fill: #3b3521; stroke: #b99a45; }
    .life { stroke: #5d6780; }
    .arrow { stroke: #9fa8da; }
    .tip { fill: #9fa8da; }
    .divider { stroke: #3a4256; }
  }
"""


@dataclass
class Drawing:
    """The parts of a diagram; ``y`` is where the next step begins."""

    columns: dict[str, float]
    y: float = TOP
    parts: list[str] = field(default_factory=list)

    def text(self, x: float, y: float, label: str, name: str = "") -> None:
        """Lines of text, each centred on x; y is the first line's baseline."""
        for number, line in enumerate(label.split("\\n")):
            self.parts.append(
                f'<text class="{name}" x="{x:g}" y="{y + number * LINE:g}"'
                f' text-anchor="middle">{escape(line)}</text>'
            )

    def arrow(self, source: str, target: str, label: str, dashed: bool) -> None:
        """An arrow with its label above it."""
        start, end = self.columns[source], self.columns[target]
        lines = label.count("\\n") + 1
        self.text((start + end) / 2, self.y + 10, label)
        y = self.y + 10 + (lines - 1) * LINE + 8
        tip = 8 if end > start else -8
        kind = "arrow dashed" if dashed else "arrow"
        self.parts.append(f'<path class="{kind}" d="M{start:g} {y:g}H{end - tip:g}"/>')
        self.parts.append(f'<path class="tip" d="M{end:g} {y:g}l{-tip * 1.2:g} -4.5v9z"/>')
        self.y = y + GAP

    def note(self, participant: str, label: str) -> None:
        """A box on a participant's line."""
        lines = label.count("\\n") + 1
        height = lines * LINE + 10
        x = min(max(self.columns[participant], NOTE_WIDTH / 2 + 8), WIDTH - NOTE_WIDTH / 2 - 8)
        self.parts.append(
            f'<rect class="note" x="{x - NOTE_WIDTH / 2:g}" y="{self.y:g}" rx="4"'
            f' width="{NOTE_WIDTH}" height="{height}"/>'
        )
        self.text(x, self.y + 17, label)
        self.y += height + GAP

    def divider(self, label: str) -> None:
        """A line across, with a heading."""
        self.y += 6
        self.parts.append(f'<path class="divider" d="M8 {self.y:g}H{WIDTH - 8}"/>')
        self.text(WIDTH / 2, self.y + 18, label, "name")
        self.y += 18 + GAP


def draw(source: str) -> str:
    """The SVG of a source."""
    first, *steps = source.strip().splitlines()
    names = [name.strip() for name in first.removeprefix("participants:").split("|")]
    step = (WIDTH - 2 * SIDE) / (len(names) - 1)
    drawing = Drawing({name: SIDE + number * step for number, name in enumerate(names)})
    for line in steps:
        if line.startswith("== "):
            drawing.divider(line[3:])
        elif match := STEP.fullmatch(line):
            drawing.arrow(match[1], match[3], match[4], match[2] == "-->")
        else:
            participant, _, label = line.partition(": ")
            drawing.note(participant, label)
    height = drawing.y + 4
    head = Drawing(drawing.columns)
    for name, x in drawing.columns.items():
        head.parts.append(f'<path class="life" d="M{x:g} 40V{height - 10:g}"/>')
        head.parts.append(
            f'<rect class="head" x="{x - 64:g}" y="12" rx="4" width="128" height="28"/>'
        )
        head.text(x, 31, name, "name")
    body = "\n".join(head.parts + drawing.parts).replace(' class=""', "")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}"'
        f' width="{WIDTH}" height="{height:g}">\n<style>{STYLE}</style>\n'
        f'<rect class="page" x=".5" y=".5" rx="8" width="{WIDTH - 1}" height="{height - 1:g}"/>\n'
        f"{body}\n</svg>\n"
    )


def main() -> int:
    """Draw all diagrams."""
    for path in sorted(IMAGES.glob("*.txt")):
        path.with_suffix(".svg").write_text(draw(path.read_text()))
        print(path.with_suffix(".svg").name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
