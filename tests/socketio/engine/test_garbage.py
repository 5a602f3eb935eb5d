"""Whatever clients send, nothing is logged as an error, and nothing is left."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.socketio.engine.registry import sessions
from tests import profiles
from tests.socketio.engine.engine_site import EngineTestCase

assert profiles

PACKETS = st.one_of(
    st.sampled_from([b"0", b"1", b"2probe", b"3", b"3x", b"4hello", b"5", b"6", b"bAQID", b"b="]),
    st.binary(max_size=20),
)

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["get", "post", "socket", "upgrade", "send", "lose", "wait"]), PACKETS
    ),
    max_size=20,
)

ANY_ORDER = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.differing_executors]
)


class GarbageTests(EngineTestCase):
    @ANY_ORDER
    @given(STEPS)
    def test_any_order(self, steps: list[tuple[str, bytes]]) -> None:
        async def test() -> None:
            sid = await self.open()
            exchanges, sockets = [], []
            for step, data in steps:
                if step == "get":
                    exchanges.append(await self.get(sid))
                elif step == "post":
                    exchanges.append(await self.post(sid, data))
                elif step in ("socket", "upgrade"):
                    made = await (self.socket() if step == "socket" else self.upgrade(sid))
                    sockets.append(made)
                elif step == "send" and sockets:
                    if b"\0" not in data and data.isascii() and len(data) % 2:
                        await sockets[-1].send(data.decode())
                    else:
                        await sockets[-1].send(data)
                elif step == "lose" and sockets:
                    await sockets.pop().lose()
                elif step == "wait":
                    await self.wait(0.3)
            for exchange in exchanges:
                self.assertIn(exchange.response.status, (0, 200, 400))
            ended = sum(isinstance(event, tuple) for event in self.app.events)
            opened = self.app.events.count("open")
            self.assertEqual(opened - ended, len(sessions.clients))

        self._protocols.clear()
        self.app.clients.clear()
        self.app.events.clear()
        self.run_async(test)
        self.assertEqual(self.flushLoggedErrors(), [])
