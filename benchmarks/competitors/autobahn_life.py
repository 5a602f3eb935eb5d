"""The relay of Life in plain Autobahn: `python -m benchmarks.competitors.autobahn_life --port 0`.

Autobahn's server protocol and factory with their defaults, except for a longer timeout of the
closing handshake, and one `sendMessage` for each receiver of a message. With --prepared, Autobahn's
`prepareMessage` encodes a message for several receivers once. (The option for TCP_NODELAY has no
effect in the versions we know, and is not set.)
"""

import argparse
from typing import Any, ClassVar

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionDeny


class Life:
    """One game: its workers, and the subscribers of each cell."""

    def __init__(self, size: int) -> None:
        self.cells = size * size
        self.workers: list[LifeProtocol] = []
        self.subscribed = 0
        self.subscribers: dict[bytes, list[LifeProtocol]] = {}

    def tell_all(self, message: bytes) -> None:
        for worker in self.workers:
            if worker.state == worker.STATE_OPEN:
                worker.sendMessage(message)


class LifeProtocol(WebSocketServerProtocol):
    game: Life | None = None

    def onConnect(self, request: Any) -> None:
        if request.path not in ("/reset/", "/worker/"):
            raise ConnectionDeny(ConnectionDeny.NOT_FOUND)
        self.path = request.path

    def onOpen(self) -> None:
        if self.path == "/reset/":
            return
        game = self.factory.game
        if len(game.workers) >= game.cells:
            self.sendCloseFrame(code=1013, reasonUtf8=b"the game is full", isReply=False)
            return
        self.game = game
        game.workers.append(self)
        if len(game.workers) == game.cells:
            game.tell_all(b"sub")

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        game = self.game
        if self.path == "/reset/":
            self.reset(payload)
        elif game is None:
            return
        elif payload == b"sub":
            game.subscribed += 1
            if game.subscribed == game.cells:
                game.tell_all(b"run")
        elif payload.count(b" ") == 1:
            game.subscribers.setdefault(payload, []).append(self)
        else:
            cell = payload[payload.index(b" ") + 1 : payload.rindex(b" ")]
            subscribers = game.subscribers.get(cell, ())
            if self.factory.prepared:
                message = self.factory.prepareMessage(payload)
                for subscriber in subscribers:
                    subscriber.sendPreparedMessage(message)
            else:
                for subscriber in subscribers:
                    if subscriber.state == subscriber.STATE_OPEN:  # otherwise sendMessage raises
                        subscriber.sendMessage(payload)

    def reset(self, payload: bytes) -> None:
        try:
            size = int(payload)
        except ValueError:
            size = 0
        if not 1 <= size <= 1000:
            self.sendCloseFrame(code=1008, reasonUtf8=b"not a size: 1 to 1000", isReply=False)
            return
        for worker in self.factory.game.workers:
            worker.sendCloseFrame(code=1012, reasonUtf8=b"a new game", isReply=False)
        self.factory.game = Life(size)
        self.sendClose(1000)

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:
        game = self.game
        if game is None:
            return
        self.game = None
        if self in game.workers and len(game.workers) < game.cells:
            game.workers.remove(self)


class LifeFactory(WebSocketServerFactory):
    protocol = LifeProtocol
    noisy: ClassVar[bool] = False

    def __init__(self, reactor: Any, prepared: bool = False) -> None:
        super().__init__(reactor=reactor)
        # The default of 1 s is rounded down, so the connection may be closed before the client has
        # read the Close frame of its reset, and the game would fail.
        self.setProtocolOptions(closeHandshakeTimeout=10)
        self.game = Life(1)
        self.prepared = prepared


def main() -> None:
    from twisted.internet import reactor

    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, default=0, help="0: a free one (default)")
    options.add_argument("--prepared", action="store_true", help="encode a message once for all")
    given = options.parse_args()
    factory = LifeFactory(reactor, given.prepared)
    port = reactor.listenTCP(  # type: ignore[attr-defined]
        given.port, factory, backlog=4096, interface="127.0.0.1"
    )
    print(f"listening on ws://127.0.0.1:{port.getHost().port}/", flush=True)
    reactor.run()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
