"""How the command lines read numbers, and how they refuse: in one sentence."""

import math
import re
from collections.abc import Sequence

from twisted.python import usage

from cluster.core.exceptions import ConfigurationError

MAX_SECONDS = 86_400.0


class ClusterOptions(usage.Options):
    """What the three command lines have in common: how they refuse."""

    def __init__(self) -> None:
        self.listen_texts: list[str] = []
        self.refused = False
        super().__init__()

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse and check; UsageError has one sentence for the user."""
        try:
            super().parseOptions(options)
        except ConfigurationError as error:
            self.refused = True
            raise usage.UsageError(str(error)) from None
        except usage.UsageError:
            self.refused = True
            raise

    def parseArgs(self, *words: str) -> None:
        if words:
            raise ConfigurationError(f"this command takes options only, not {words[0]!r}")

    def getUsage(self, width: int | None = None) -> str:
        # twistd prints the usage above every error. Sixty lines would bury the one that matters.
        if self.refused:
            return "Try --help for a list of the options."
        return super().getUsage(width)

    def given(self, name: str) -> tuple[str, str]:
        """An option's text, and where it comes from, for messages."""
        return self[name], f"--{name}"

    def number(self, name: str, low: int, high: int) -> int:
        """The whole number given for an option."""
        text, source = self.given(name)
        if not re.fullmatch(r"\d{1,12}", text, re.ASCII) or not low <= int(text) <= high:
            raise ConfigurationError(
                f"{source} must be a whole number from {low} to {high}, not {text!r}"
            )
        return int(text)

    def seconds(self, name: str, may_be_zero: bool = False) -> float:
        """The time given for an option."""
        text, source = self.given(name)
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (0 <= value <= MAX_SECONDS) or (value == 0 and not may_be_zero):
            raise ConfigurationError(
                f"{source} must be a number of seconds, {'0 or more' if may_be_zero else 'above 0'}"
                f" and at most {MAX_SECONDS:.0f}, not {text!r}"
            )
        return value
