"""The log of a process that twistd starts.

twistd's own observers write in the event loop, so that a reader which stops would stop the process.
Here a thread writes. twistd's options keep their meaning:

    -n, or --logfile -      standard output
    --logfile FILE          a file, which is never rotated by the process: SIGUSR1 opens it again
    --syslog, --prefix      the system's log
    --logger NAME           an observer of the operator, which is called in the event loop
"""

import atexit
import sys
from collections.abc import Mapping
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.logger import ILogObserver

from cluster.core.exceptions import ConfigurationError
from cluster.logs.formats import FORMATS
from cluster.logs.outputs import Descriptor, File, Output, Syslog
from cluster.logs.process_log import ProcessLog

DEFAULT_FILE = "twistd.log"


def log_of_twistd(twistd: Mapping[str, Any], name: str, log_format: str) -> ProcessLog | None:
    """Return the log for twistd's options, or None if twistd writes it.

    Args:
        twistd: twistd's options; empty without twistd.
        name: The name of this process in each line.
        log_format: A key of FORMATS.

    Raises:
        ConfigurationError: The log file cannot be opened.
    """
    output = _output(twistd)
    return None if output is None else ProcessLog(name, FORMATS[log_format](), output)


def _output(twistd: Mapping[str, Any]) -> Output | None:
    if "nodaemon" not in twistd or twistd.get("logger"):  # ``twist`` has no such option
        return None
    if twistd.get("syslog"):
        return Syslog(twistd.get("prefix") or "twisted")
    path = twistd.get("logfile")
    if path == "-" and not twistd["nodaemon"]:
        return None  # twistd refuses it
    if path == "-" or (twistd["nodaemon"] and not path):
        return Descriptor(sys.__stdout__.fileno()) if sys.__stdout__ is not None else None
    try:
        return File(path or DEFAULT_FILE)
    except OSError as error:
        raise ConfigurationError(
            f"cannot open the log file {error.filename}: {error.strerror}"
        ) from None


class LoggedService(MultiService):
    """A service, with the log of its process.

    Args:
        service: The service.
        log: The log.
        reactor: The reactor of the process.
    """

    def __init__(self, service: Service, log: ProcessLog, reactor: Any) -> None:
        super().__init__()
        self._log = log
        self._reactor = reactor
        service.setServiceParent(self)

    def setServiceParent(self, parent: Any) -> None:
        """Called by twistd with the application, whose component of this name is its log."""
        parent.setComponent(ILogObserver, self._log)
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        # twistd has become a daemon by now, so the thread survives.
        self._log.start()
        atexit.register(self._log.stop)  # a start that raises ends the process without the reactor
        self._reactor.addSystemEventTrigger("after", "shutdown", self._log.stop)
        super().privilegedStartService()
