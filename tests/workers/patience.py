"""Long timeouts for Autobahn servers in tests."""

from typing import Any

from twisted.trial.unittest import TestCase

PATIENCE_S = 60
"""Autobahn waits one second for the answer to a close frame, rounded down, which a busy machine may
not manage. The server then resets the connection, and the client loses the close frame that it has
not read."""


def be_patient(test: TestCase, factory: Any) -> None:
    """Give the server long timeouts. Call it before you open the port."""
    factory.setProtocolOptions(openHandshakeTimeout=PATIENCE_S, closeHandshakeTimeout=PATIENCE_S)
    test.addCleanup(_forget_timeouts, factory)


def _forget_timeouts(factory: Any) -> None:
    """Cancel the timeouts of connections that were lost without a closing handshake."""
    for call, _ in factory._batched_timer._buckets.values():
        if call.active():
            call.cancel()
