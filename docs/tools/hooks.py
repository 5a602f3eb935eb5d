"""What mkdocs does besides its configuration (mkdocs.yml names this file under ``hooks``).

Pages of the repository's root and of deploy/ become pages of the site, so that their text exists
once. Links are written for the code host, relative to the file; here those that leave docs/ are
turned to such a page, or to the file on the code host.
"""

import os
import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

INCLUDED = {
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "deploy/README.md": "reference/deploy-files.md",
    "django_project/static/django_project/glider.svg": "images/logo.svg",
}
"""Files outside of docs/: their places in the site."""

HOME = {"README.md": "README.md"}
"""The repository's first page is not in the site; the site's own says the same."""

_PAGES = INCLUDED | HOME
_SOURCES = {page: source for source, page in INCLUDED.items()}

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_FENCED = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)


_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SOURCE = f"{_PROJECT['urls']['Source']}/blob/main/"
"""Where the code host shows a file of the main branch."""


def turn(link: str, folder: Path, page: str) -> str:
    """A link of a file in this folder, as the page with this path in the site needs it."""
    target, hash_, anchor = link.partition("#")
    if not target or "://" in target or target.startswith("mailto:"):
        return link
    path = Path(os.path.normpath(folder / target))
    if not path.exists():
        return link  # mkdocs reports it
    if path.is_dir() and (path / "README.md").exists():
        path /= "README.md"
    inside = str(path.relative_to(ROOT))
    if inside in _PAGES:
        place = _PAGES[inside]
    elif path.is_relative_to(DOCS) and path.is_file():
        place = str(path.relative_to(DOCS))
    else:
        return SOURCE + inside + hash_ + anchor
    return os.path.relpath(place, os.path.dirname(page) or ".") + hash_ + anchor


def on_files(files: Any, config: Any) -> Any:
    """Add the files that are outside of docs/."""
    from mkdocs.structure.files import File  # here, so that the tests need no mkdocs

    for source, page in INCLUDED.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn the links of a page, but not what looks like one in its examples."""
    place = page.file.src_uri
    folder = (ROOT / _SOURCES[place] if place in _SOURCES else DOCS / place).parent

    def replaced(match: re.Match[str]) -> str:
        return f"{match[1]}[{match[2]}]({turn(match[3], folder, place)})"

    parts = _FENCED.split(markdown)
    parts[::2] = [_LINK.sub(replaced, part) for part in parts[::2]]
    return "".join(parts)
