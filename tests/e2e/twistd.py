"""``python -m tests.e2e.twistd``: twistd of this interpreter, wherever its script may be."""

from twisted.scripts.twistd import run

run()
