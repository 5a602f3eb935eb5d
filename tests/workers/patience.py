"""Autobahn's own timeouts, out of the way."""

from typing import Any

from twisted.trial.unittest import TestCase

PATIENCE_S = 60
"""Autobahn's own second for the answer to a Close frame is rounded down, and may be over at once on
a busy machine: the server then resets the connection, and with it the Close frame that the client
has not read."""


def be_patient(test: TestCase, factory: Any) -> None:
    """Have the server wait for its clients, to be called before its port is opened."""
    factory.setProtocolOptions(openHandshakeTimeout=PATIENCE_S, closeHandshakeTimeout=PATIENCE_S)
    test.addCleanup(_forget_timeouts, factory)


def _forget_timeouts(factory: Any) -> None:
    """Connections that were lost before they were closed leave their timeout to the reactor."""
    for call, _ in factory._batched_timer._buckets.values():
        if call.active():
            call.cancel()
