"""A tutorial's text as steps that can be followed.

A fenced block whose first line is a comment with a path is a file, ``(at the end)`` means that it
is appended; a block in ``sh`` is typed; others are only read.
"""

import re
from dataclasses import dataclass
from pathlib import Path

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"(?:#|//|<!--) (\S+\.\w+)( \(at the end\))?(?: -->)?\n")

SERVERS = ("python manage.py runserver", "twistd ")
"""How commands begin that do not end."""


@dataclass(frozen=True)
class File:
    """Write this into a file of the project."""

    path: str
    text: str
    is_appended: bool

    def write(self, folder: Path) -> None:
        """What the reader does with an editor."""
        path = folder / self.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.is_appended:
            before = path.read_text()
            path.write_text(f"{before}\n{self.text}" if before else self.text)
        else:
            path.write_text(self.text)


@dataclass(frozen=True)
class Typed:
    """Type this into a terminal; ``is_server``: it goes on until it is stopped."""

    text: str

    @property
    def is_server(self) -> bool:
        return self.text.startswith(SERVERS)


def steps(text: str) -> list[File | Typed]:
    """What a reader of this page does, in order."""
    found: list[File | Typed] = []
    for language, block in _FENCED.findall(text):
        if language == "sh":
            found.append(Typed(block.strip()))
        elif name := _NAME.match(block):
            found.append(File(name[1], block[name.end() :], bool(name[2])))
    return found
