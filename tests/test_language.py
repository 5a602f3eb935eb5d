"""Words and phrases that this project does not use in names, comments, messages and docs.

The documentation of Django and `websockets` is the model: the field's standard term, the actor as
the subject, one idea a sentence. Each phrase below has a standard one, which the failure shows:

    docs/topics/history.md:12: "is told": write receives, is notified

``python -m tests.test_language [PATH ...]`` prints all of them, or those below some paths, also
those in EXEMPT.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

from tests.once import once

ROOT = Path(__file__).parent.parent

READ = {".py", ".md", ".js", ".mjs", ".html", ".css", ".toml", ".ini", ".yml", ".conf", ".service"}
READ |= {".in", ".sh", ""}
"""Suffixes of the files that are read; Makefile, .ci/run and similar files have none."""

SKIPPED = {"LICENSE", "tests/test_language.py"}
NOT_OURS = {"__pycache__", "_trial_temp", "build", "dist", "node_modules", "site", "twistd.log"}
NOT_OURS |= {"vendored"}
WITH_A_DOT = {".ci", ".github", ".editorconfig", ".pre-commit-config.yaml"}
"""The hidden files and folders that are part of the project."""

EXEMPT: tuple[str, ...] = ()
"""Files and folders that still have such phrases. Only remove entries."""


class Ban(NamedTuple):
    """A phrase, what to write instead, and the folders in which it is banned (default: all).

    The phrase is a regular expression of whole words in lower case. A space stands for any white
    space, also in the middle of a comment. Names are taken apart: ``LaneFactory`` and
    ``lane_factory`` read "lane factory".
    """

    phrase: str
    use: str
    folders: tuple[str, ...] = ("",)


SWARM = ("workers", "tests/workers", "benchmarks", "docs/topics/swarm.md")
DEMO_AND_DOCS = (
    "workers",
    "django_project",
    "benchmarks",
    "docs/how-to",
)

CODE = (
    "cluster/broker", "cluster/cli", "cluster/core", "cluster/net", "cluster/node",
    "cluster/pubsub", "cluster/supervisor", "cluster/testing", "workers", "benchmarks",
    "django_project", "tests/cli", "tests/core", "tests/django_project", "tests/e2e", "tests/js",
    "tests/net", "tests/node", "tests/pubsub", "tests/supervisor", "tests/testing", "tests/workers",
)  # fmt: skip

WRITTEN = ("cluster", "workers", "benchmarks", "django_project", "tests", "docs", "deploy",
           "README.md", "CHANGELOG.md")  # fmt: skip
"""Without CONTRIBUTING.md, which quotes sentences that are not to be written."""

BANNED = (
    # Names of parts.
    Ban("inlets?", "reader"),
    Ban("outlets?", "writer"),
    Ban("lanes?", 'connection; "fast path" for the technique'),
    Ban("newcomers?", "pending subscriber"),
    Ban("followers?", "callback subscriber"),
    Ban("front doors?", "protocol detection"),
    Ban("standstills?", "event-loop stall"),
    Ban("mistakes", "start-up errors, errors"),
    Ban(r"this process(?:\.py)|import this process", "process setup"),
    Ban("contenders?", "candidate, competitor"),
    Ban("wishes", "requested"),
    Ban("interests?", "subscriptions (of a node)"),
    Ban("packs|(?:a|an|the|one|each|every|next|last|of|such) pack", "batch"),
    Ban("peers", "remote nodes", ("cluster/pubsub", "tests/pubsub")),
    Ban("peers", "competitors", ("benchmarks", "docs/benchmarks.md", "tests/test_benchmarks.py")),
    Ban("(?:the|its|their|of|all) retains", "retained outbox"),
    Ban("outsiders?|an outside", "external publisher"),
    Ban("figures", "statistics, metrics, results", ("cluster/", *DEMO_AND_DOCS)),
    Ban("players?", "cell client"),
    Ban(r"(?<!timer\s)wheels?", "timer wheel", SWARM),
    Ban("granted", "allowed", SWARM),
    Ban("(?:a|the|its|each|every|this|one|of) shares?", "shard", SWARM),
    # Phrases.
    Ban("hung up on|hang(?:s|ing)? up on|hung up", "disconnected"),
    Ban("for ever", "indefinitely"),
    Ban("in vain", "without success, unsuccessfully"),
    Ban("be it|be they", "even if, whether"),
    Ban("anew", "again"),
    Ban("hears?|heard", "receive, notice", ("docs", "README.md", "django_project")),
    Ban("put(?:s|ting)? out", "evict, disconnect (to send: send)"),
    Ban("put(?:s|ting)? off", "defer"),
    Ban(r"let(?:s|ting)? in(?![-\w])", "accept, admit"),
    Ban("(?:is|are|was|were|be|been|being) told", "receives, is notified"),
    Ban("(?:is|are|was|were|be|been) said", "is sent, is documented"),
    Ban(r"who (?:is|are) no|that (?:is|are) none(?!\sof)", "that is not a …, without a …"),
    Ban("let in no more", "whose permission was revoked"),
    Ban("by whoever|whoever|whomever", "the actor: a client that, anyone who"),
    Ban("in one line", "one-line summary, in a single line"),
    Ban("(?<![.,])1 (?:errors|nodes|connections|clients|messages|subscribers|topics|steps|seconds)",
        "the singular"),
    Ban("nobody else|everybody else", "no other client, the other clients"),
    Ban("nobody else in the process", "a reference that only the caller holds"),
    Ban("in ipv6['’]s? clothes", "an IPv4-mapped IPv6 address"),
    Ban("of the one that answered", "Delivered to subscribers on 2 nodes"),
    Ban("safe as it comes", "secure by default"),
    Ban("look(?:s|ing)? on at|look(?:s|ing)? on", "watch"),
    Ban("how soon they hear", "latency"),
    Ban(r"in 0\.00 s", "immediately"),
    Ban("0 twice", "0 duplicates"),
    Ban("whole generations", "complete generations"),
    Ban(r"\d+ nodes of", 'N nodes, settings …'),
    Ban("takes? part|took part|taking part", "joins, is live"),
    Ban("for the price of", "that share"),
    Ban("in the user['’]s words|in its own words", "as texts for the user"),
    Ban("(?:who|what) is there(?! to)", "the members; the state"),
    Ban("as good as none", "is treated as none"),
    Ban("(?:of|for|by|to) whom", "the actor as the subject"),
    Ban("is to blame", "an error of"),
    Ban("hand(?:s|ed)? (?:on|back)", "pass to, return"),
    Ban("hurt|into the void", "the plain verb: kill, drop"),
    # Phrases in code.
    Ban("all the same", "nevertheless", CODE),
    Ban("again and again", "repeatedly", CODE),
    Ban("com(?:e|es|ing) back|came back", "reconnect, return", CODE),
    Ban("go(?:es|ing)? on|went on", "continue, resume", WRITTEN),
    Ban("said anything|says nothing|says so", "send, contain", CODE),
    Ban("for good(?! in)", "permanently", CODE),
    Ban("pil(?:es?|ing) up|gathers here", "queue, accumulate", CODE),
    Ban("(?:is|are) written out", "inlined, with the reason", CODE),
    Ban("whose turn|takes? its time", "the plain condition", CODE),
    Ban("lead(?:s)? (?:somewhere|nowhere)", "the target exists", CODE),
    Ban("leaves? nothing behind|not be had|could be had", "no file is left; reproduce", CODE),
)  # fmt: skip

NAMES = {
    "copies": "retained cache",
    "retains": "retained outbox",
    "peer": "remote node; for benchmarks, competitor",
    "peers": "remote nodes; for benchmarks, competitors",
    "outside": "external publisher",
    "pack": "batch",
    "interest": "subscriptions",
    "place": "slot, position or seat, by meaning",
    "figures": "statistics, metrics",
    "figure": "statistics, metrics",
    "serving": "dispatcher",
    "following": "feed subscriptions",
    "share": "shard",
    "causes": "failure reasons",
    "granted": "allowed",
    "wheel": "timer wheel",
}
"""Words that must not be in names of modules and classes here: word -> replacement."""


class Finding(NamedTuple):
    path: str
    line: int
    words: str
    use: str

    def __str__(self) -> str:
        return f'{self.path}:{self.line}: "{self.words}": write {self.use}'


def files() -> Iterator[Path]:
    """Yield every text file of the project, including files that are not committed."""
    folders = [ROOT]
    while folders:
        for path in sorted(folders.pop().iterdir()):
            if path.name.startswith(".") and path.name not in WITH_A_DOT:
                continue
            if path.name in NOT_OURS or path.suffix == ".egg-info":
                continue
            if path.is_dir():
                folders.append(path)
            elif path.suffix in READ and str(path.relative_to(ROOT)) not in SKIPPED:
                yield path


def plain(text: str) -> str:
    """Return text for BANNED: names are split, comment marks removed, lines unchanged."""
    text = re.sub(r"^[ \t]*(?:#+:?|//+|\*+|>)", "", text, flags=re.MULTILINE)
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)
    return re.sub(r"[_`*]", " ", text).lower()


def compiled(phrase: str) -> re.Pattern[str]:
    """Compile a phrase, which may continue in the next line and in the next string literal."""
    gap = r"(?:[\s\"']+|-)"
    return re.compile(rf"(?<![\w’'])(?:{phrase.replace(' ', gap)})(?!\w)")


PATTERNS = [(ban, compiled(ban.phrase)) for ban in BANNED]


def in_text(path: str, text: str) -> Iterator[Finding]:
    """Yield the banned phrases in a file's text and, as line 0, in its path."""
    for start, each in ((0, path), (1, text)):
        prepared = plain(each)
        for ban, pattern in PATTERNS:
            if path.startswith(ban.folders):
                for match in pattern.finditer(prepared):
                    line = start + prepared.count("\n", 0, match.start())
                    yield Finding(path, line, " ".join(re.split(r"[\s\"-]+", match[0])), ban.use)


def in_names(path: str, text: str) -> Iterator[Finding]:
    """Yield the words of NAMES in a module's name and in its classes' names."""
    names = [(0, Path(path).stem)]
    names += [
        (node.lineno, node.name)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ClassDef)
    ]
    for line, name in names:
        words = plain(name).split()
        for before, word in zip(["", *words], words, strict=False):
            if word in NAMES and (before, word) not in {("timer", "wheel"), ("socket", "peer")}:
                yield Finding(path, line, name, NAMES[word])


def findings() -> list[Finding]:
    """Return the findings in the whole project, in the order of files and lines."""
    found: list[Finding] = []
    for path in files():
        name, text = str(path.relative_to(ROOT)), path.read_text()
        found += in_text(name, text)
        if path.suffix == ".py":
            found += in_names(name, text)
    return sorted(found)


def is_exempt(path: str) -> bool:
    return any(path == each or path.startswith(f"{each}/") for each in EXEMPT)


@once
class LanguageTests(SynchronousTestCase):
    def test_standard_terms(self) -> None:
        found = [str(each) for each in findings() if not is_exempt(each.path)]
        self.assertEqual([], found, "\n" + "\n".join(found))

    def test_exempt_paths_exist(self) -> None:
        self.assertEqual([], [each for each in EXEMPT if not (ROOT / each).exists()])

    def words(self, text: str, path: str = "cluster/a.py") -> list[str]:
        return [each.words for each in in_text(path, text)]

    def test_phrases_are_found_in_names_and_across_lines(self) -> None:
        self.assertEqual(["lane"], self.words("class LaneFactory: ..."))
        self.assertEqual(["lane"], self.words("a_lane.low_water"))
        self.assertEqual(["front door"], self.words("FRONT_DOOR = 1"))
        self.assertEqual(["hung up on"], self.words("def test_clients_hung_up_on(self): ..."))
        self.assertEqual(["is told"], self.words("    # Whom it concerns is\n    # told later."))
        self.assertEqual(["in vain"], self.words('print("waits in"\n  " vain")'))
        self.assertEqual(["lane"], self.words("", "cluster/net/lane.py"))
        self.assertEqual([2], [each.line for each in in_text("a.md", "A\nlane.")])

    def test_ordinary_uses_are_not_found(self) -> None:
        """The same words in their usual sense."""
        for text in (
            "planes, Planet.lanester",
            "struct.pack(b); unpack; msgpack; the packing",
            "The value is let in-flight; interested; interesting",
            "It said so; output out; 11 errors, 1 error, 2.1 seconds",
            "Clients share a thread; the transport's peer; getPeer()",
            "What follows; maybe it; to be item; forever",
        ):
            self.assertEqual([], self.words(text), text)

    def test_names_of_modules_and_classes(self) -> None:
        found = in_names("workers/share.py", "class TimerWheel: ...\nclass Copies: ...\n")
        self.assertEqual([(0, "shard"), (2, "retained cache")], [(f.line, f.use) for f in found])


if __name__ == "__main__":
    for finding in findings():
        if finding.path.startswith(tuple(sys.argv[1:]) or ""):
            print(finding)
