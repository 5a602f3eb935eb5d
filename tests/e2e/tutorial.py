"""The text of a tutorial as steps that a program can follow.

A fenced block whose first line is a comment with a path is a file; with ``(at the end)`` it is
appended. A block in ``sh`` is a list of commands. Other blocks are ignored.
"""

import re
from dataclasses import dataclass
from pathlib import Path

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"(?:#|//|<!--) (\S+\.\w+)( \(at the end\))?(?: -->)?\n")

SERVERS = ("python manage.py runserver", "twistd ")
"""The beginnings of commands that run until they are stopped."""


@dataclass(frozen=True)
class File:
    """A file of the project to write."""

    path: str
    text: str
    is_appended: bool

    def write(self, folder: Path) -> None:
        """Write the file, or append to it."""
        path = folder / self.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.is_appended:
            before = path.read_text()
            path.write_text(f"{before}\n{self.text}" if before else self.text)
        else:
            path.write_text(self.text)


@dataclass(frozen=True)
class Typed:
    """A command to run in a shell; ``is_server``: it runs until it is stopped."""

    text: str

    @property
    def is_server(self) -> bool:
        return self.text.startswith(SERVERS)


def steps(text: str) -> list[File | Typed]:
    """Return the steps of this page, in order."""
    found: list[File | Typed] = []
    for language, block in _FENCED.findall(text):
        if language == "sh":
            found.append(Typed(block.strip()))
        elif name := _NAME.match(block):
            found.append(File(name[1], block[name.end() :], bool(name[2])))
    return found
