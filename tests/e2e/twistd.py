"""``python -m tests.e2e.twistd``: twistd of this interpreter, independent of its script's path."""

from twisted.scripts.twistd import run

run()
