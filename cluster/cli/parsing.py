"""The parser of the three command lines: its numbers, its error messages and ``--version``."""

import importlib.metadata
import math
import platform
import re
import sys
from collections.abc import Sequence

from twisted.python import usage

from cluster.core.exceptions import ConfigurationError
from cluster.logs.formats import FORMATS

MAX_SECONDS = 86_400.0


def log_format(name: str) -> str:
    """Return the value of --log-format; raises ConfigurationError if there is no such form."""
    if name not in FORMATS:
        raise ConfigurationError(f"--log-format must be {' or '.join(FORMATS)}, not {name!r}")
    return name


class ClusterOptions(usage.Options):
    """The base class of the three command lines."""

    def __init__(self) -> None:
        self.listen_texts: list[str] = []
        super().__init__()

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse and check the options. Under twistd, print an error as one line and exit.

        Raises:
            UsageError: An option is invalid, and twistd is not running.
        """
        try:
            super().parseOptions(options)
        except ConfigurationError as error:
            self._refuse(str(error))
        except usage.UsageError as error:
            self._refuse(f"{error} (--help lists the options)")

    def _refuse(self, message: str) -> None:
        if self.parent is None:
            raise usage.UsageError(message) from None
        # twistd would print its own usage above the message.
        sys.exit(f"{self.parent.subCommand}: {message}")

    @staticmethod
    def installed_reactor() -> object:
        """The installed reactor, from twistd's --reactor; None if no reactor is installed yet."""
        return sys.modules.get("twisted.internet.reactor")

    def check_reactor(self, what: str, command: str) -> None:
        """Raise ConfigurationError if another reactor than the asyncio reactor is installed."""
        reactor = self.installed_reactor()
        if reactor is not None and not hasattr(reactor, "_asyncioEventloop"):
            raise ConfigurationError(
                f"{what} needs the asyncio reactor, not {type(reactor).__name__}:"
                f" leave --reactor out, or write twistd --reactor asyncio {command}"
            )

    def opt_version(self) -> None:
        """Display the version and exit."""
        print(f"c10k {installed_version('django-c10k')}")
        print(
            f"Django {installed_version('Django')}, Twisted {installed_version('Twisted')},"
            f" Python {platform.python_version()}"
        )
        sys.exit(0)

    def parseArgs(self, *words: str) -> None:
        if words:
            raise ConfigurationError(f"this command takes options only, not {words[0]!r}")

    def given(self, name: str) -> tuple[str, str]:
        """Return the text of an option, and its source for error messages."""
        return self[name], f"--{name}"

    def number(self, name: str, low: int, high: int) -> int:
        """Return the whole number of an option; raises ConfigurationError if it is out of range."""
        text, source = self.given(name)
        if not re.fullmatch(r"\d{1,12}", text, re.ASCII) or not low <= int(text) <= high:
            raise ConfigurationError(
                f"{source} must be a whole number from {low} to {high}, not {text!r}"
            )
        return int(text)

    def seconds(self, name: str, may_be_zero: bool = False) -> float:
        """Return the seconds of an option; raises ConfigurationError if they are out of range."""
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


def installed_version(distribution: str) -> str:
    """Return the version of a distribution, or a phrase if it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "(run from a checkout, not installed)"
