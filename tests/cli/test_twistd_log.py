"""Tests of cluster.cli.twistd_log."""

import os
from pathlib import Path
from typing import Any

from twisted.application.service import Application, Service
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver
from twisted.trial.unittest import SynchronousTestCase

from cluster.cli import twistd_log
from cluster.cli.twistd_log import LoggedService, log_of_twistd
from cluster.core.exceptions import ConfigurationError
from cluster.logs.formats import TextFormat
from cluster.logs.outputs import Descriptor, File
from cluster.logs.process_log import ProcessLog
from tests.logs.test_line_writer import MemoryOutput


class OutputTests(SynchronousTestCase):
    def output(self, **twistd: Any) -> Any:
        options = {"nodaemon": False, "logfile": None, "logger": None, "syslog": False, **twistd}
        log = log_of_twistd(options, "c10k", "text")
        if log is None:
            return None
        output = log.writer._output
        if isinstance(output, File):
            self.addCleanup(os.close, output._fd)
        return output

    def test_standard_output_in_the_foreground(self) -> None:
        for logfile in (None, "", "-"):
            output = self.output(nodaemon=True, logfile=logfile)
            self.assertIs(type(output), Descriptor)

    def test_a_file_in_the_background(self) -> None:
        self.addCleanup(os.chdir, os.getcwd())
        folder = Path(self.mktemp())
        folder.mkdir()
        os.chdir(folder)
        self.assertEqual(Path(self.output()._path).name, "twistd.log")
        self.output(nodaemon=True, logfile="other.log")
        self.assertEqual(sorted(os.listdir()), ["other.log", "twistd.log"])

    def test_a_file_that_cannot_be_opened_is_reported(self) -> None:
        error = self.assertRaises(ConfigurationError, self.output, logfile="/nowhere/x.log")
        self.assertEqual(
            str(error), "cannot open the log file /nowhere/x.log: No such file or directory"
        )

    def test_syslog(self) -> None:
        prefixes: list[str] = []
        self.patch(twistd_log, "Syslog", lambda prefix: prefixes.append(prefix) or MemoryOutput())
        self.output(syslog=True, prefix="site")
        self.assertEqual(prefixes, ["site"])

    def test_what_twistd_writes_itself(self) -> None:
        self.assertIsNone(self.output(logger=lambda: None))
        self.assertIsNone(self.output(logfile="-"))  # refused by twistd: a daemon has no output
        self.assertIsNone(log_of_twistd({}, "c10k", "text"))  # no twistd


class LoggedServiceTests(SynchronousTestCase):
    def test_the_application_has_the_log_and_the_service(self) -> None:
        log, service, application = (
            ProcessLog("c10k", TextFormat(), MemoryOutput()),
            Service(),
            Application("c10k"),
        )
        reactor: Any = MemoryReactorClock()
        logged = LoggedService(service, log, reactor)
        logged.setServiceParent(application)
        self.assertIs(application.getComponent(ILogObserver), log)
        logged.privilegedStartService()
        logged.startService()
        self.assertTrue(service.running)
        self.addCleanup(twistd_log.atexit.unregister, log.stop)
        self.assertTrue(log.writer._worker.is_running)
        ((stop, _, _),) = reactor.triggers["after"]["shutdown"]
        stop()
        self.assertFalse(log.writer._worker.is_running)
