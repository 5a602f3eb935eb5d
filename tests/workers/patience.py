"""Long timeouts for Autobahn servers in tests."""

from typing import Any

from twisted.trial.unittest import TestCase

PATIENCE_S = 60
"""Seconds. Autobahn waits one second, rounded down, for the answer to a close frame, which is too
short on a busy machine. The server then resets the connection, and the client loses the close frame
that it has not read."""


def be_patient(test: TestCase, factory: Any) -> None:
    """Set long timeouts for the server. Call this before you open the port."""
    factory.setProtocolOptions(openHandshakeTimeout=PATIENCE_S, closeHandshakeTimeout=PATIENCE_S)
    test.addCleanup(_forget_timeouts, factory)


def _forget_timeouts(factory: Any) -> None:
    """Cancel the timeouts of connections that were lost without a closing handshake."""
    for call, _ in factory._batched_timer._buckets.values():
        if call.active():
            call.cancel()
