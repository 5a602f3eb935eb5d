from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from workers.connection.listening_sockets import accept_queue, listening
from workers.connection.target import Target

HERE = Target("ws://127.0.0.1:8000", "127.0.0.1", 8000)
THERE = Target("ws://192.0.2.1:8000", "192.0.2.1", 8000)

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1
   1: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222 1
   2: 0100007F:1F40 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 333 1
   3: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 444 1
"""


class ProcTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.proc = Path(self.mktemp())
        (self.proc / "net").mkdir(parents=True)
        (self.proc / "net/tcp").write_text(TCP)
        (self.proc / "sys/net/core").mkdir(parents=True)
        (self.proc / "sys/net/core/somaxconn").write_text("4096\n")

    def test_listening(self) -> None:
        found = list(listening(self.proc))
        self.assertEqual(found, [(8000, "111"), (8000, "222"), (80, "444")])

    def test_accept_queue(self) -> None:
        self.assertEqual(accept_queue([HERE], self.proc), 8192)
        self.assertIsNone(accept_queue([HERE, THERE], self.proc))
        (self.proc / "sys/net/core/somaxconn").unlink()
        self.assertIsNone(accept_queue([HERE], self.proc))
