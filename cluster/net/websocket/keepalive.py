"""Keep-alive: pings, and the time that a client has to answer one (RFC 6455, section 5.5.2).

Autobahn sends the pings and measures the time; ConnectionFactory sets the interval and the timeout.
These rules are different here:

* a data frame counts as a pong, because it also shows that the client is alive;
* while reading is paused, the pong may have arrived unread. Then a ping that is not answered in
  time does not end the connection, but is followed by another one, unless sending has failed;
* after our Close, pongs are not read, and only the closing handshake's timeout counts. A client
  that has completed the closing handshake needs no pong.
"""

from cluster.net.websocket.autobahn_protocol import CLOSED, OPEN
from cluster.net.websocket.connection_base import ConnectionBase
from cluster.net.websocket.writer import SINK


class KeepAlive(ConnectionBase):
    """The part of a connection that watches whether the client is alive."""

    def count_as_pong(self) -> None:
        if self.state == OPEN:
            self._cancelAutoPingTimeoutCall()

    def stop_pings(self) -> None:
        """Send no pings to this client: the application has its own."""
        for call in (self.autoPingPendingCall, self.autoPingTimeoutCall):
            if call is not None:
                call.cancel()
        self.autoPingPendingCall = self.autoPingTimeoutCall = self.autoPingPending = None
        self.autoPingInterval = 0.0

    def onAutoPingTimeout(self) -> None:
        """Called by Autobahn when a ping was not answered in time."""
        if self.state == CLOSED or self.closeHandshakeTimeoutCall is not None:
            self.autoPingTimeoutCall = None
            return
        if not self.paused or self.out is SINK:
            super().onAutoPingTimeout()
            return
        self.autoPingTimeoutCall = self.autoPingPending = None
        self.autoPingPendingCall = self.factory.timers.call_later(
            self.autoPingInterval, self._sendAutoPing
        )
