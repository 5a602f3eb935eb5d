"""The broker's file with what topics retain: what the next broker reads, and files that fail."""

import os
import stat
import tempfile
from pathlib import Path
from shutil import rmtree

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cluster.broker import history_file as module
from cluster.broker.history_file import HistoryFile
from cluster.core import wire
from cluster.core.broker_state.exchange import Exchange
from cluster.core.machines.gateway import Gateway
from tests import profiles  # noqa: F401  (loads it)
from tests.pubsub.links import LinksTestCase

PUBLICATIONS = st.lists(
    st.tuples(st.sampled_from([b"t", b"u", b"v"]), st.integers(1, 3), st.sampled_from([0, 5_000])),
    max_size=30,
)


class Process:
    """A broker's exchange and its file, at a time in milliseconds."""

    def __init__(self, epoch: str, path: Path) -> None:
        self.clock = Clock()
        self.time = 1_000
        self.exchange = Exchange(epoch)
        self.file = HistoryFile(str(path), self.exchange, self.clock, lambda: self.time)
        self.file.load()
        self.exchange.on_retained = self.file.record
        self.exchange.receive("node", wire.Hello(), self.time)

    def publish(self, topic: bytes, frame: bytes = b"frame", depth: int = 3, life: int = 0) -> None:
        self.exchange.receive("node", wire.Retain(topic, depth, frame, life), self.time)

    def flush(self) -> None:
        """Let time pass until all is written."""
        self.clock.pump([module.FLUSH_S] * 10)

    def kill(self) -> None:
        """End without writing what is left."""
        self.clock = Clock()
        for descriptor in (self.file._file, self.file._new_file):
            if descriptor >= 0:
                os.close(descriptor)

    def state(self) -> dict[bytes, tuple[int, tuple[bytes, ...], tuple[int, ...]]]:
        topics = {}
        for topic in self.exchange.retained.topics():
            entry = self.exchange.retained.get(topic, self.time)
            assert entry is not None
            topics[topic] = entry.offset, tuple(entry.frames), tuple(entry.expires)
        return topics


class HistoryFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="c10k-test-"))
        self.addCleanup(rmtree, self.folder, ignore_errors=True)
        self.path = self.folder / "history"

    def test_the_next_broker_continues(self) -> None:
        first = Process("9f", self.path)
        for number in range(5):
            first.publish(b"t", b"%d" % number)
        first.publish(b"u")
        first.flush()
        first.kill()
        second = Process("a0", self.path)
        self.assertEqual(second.state(), first.state())
        known = second.exchange.retained.get(b"t")
        assert known is not None
        self.assertEqual(known.after("9f", 3), [b"3", b"4"])
        second.publish(b"t", b"5")
        self.assertEqual(known.offset, 6)
        self.assertEqual(known.after("9f", 5), [b"5"])
        second.flush()
        second.file.stop()
        third = Process("b1", self.path)
        self.assertEqual(third.state(), second.state())
        third.file.stop()

    @given(st.lists(PUBLICATIONS, min_size=1, max_size=4), st.data())
    def test_brokers_in_turn_know_the_same(self, lives: list[list[tuple[bytes, int, int]]],
                                           data: st.DataObject) -> None:  # fmt: skip
        self.patch(module, "SLACK_BYTES", 300)
        self.patch(module, "SLICE_BYTES", 1)
        path = Path(tempfile.mkdtemp(dir=self.folder)) / "history"
        time = 0
        expected: dict[bytes, tuple[int, tuple[bytes, ...], tuple[int, ...]]] = {}
        for life, publications in enumerate(lives):
            process = Process(f"{life}e", path)
            process.time = process.time + time
            state = process.state()
            self.assertEqual(state, {topic: was for topic, was in expected.items() if was[0]})
            for number, (topic, depth, lifetime) in enumerate(publications):
                process.publish(topic, b"%d/%d" % (life, number), depth, lifetime)
                process.clock.advance(data.draw(st.sampled_from([0.0, 0.005, 0.05])))
            process.clock.pump([module.FLUSH_S, *[module.SLICE_S] * 20])
            expected = process.state()
            time = process.time - 1_000
            process.kill()

    def test_a_topic_that_loses_frames_while_it_is_written(self) -> None:
        """Pieces that were written before do not bring them back."""
        self.patch(module, "SLACK_BYTES", 300)
        self.patch(module, "SLICE_BYTES", 1)
        first = Process("9f", self.path)
        for number, (depth, seconds) in enumerate(
            [(1, 0.05), (1, 0), (3, 0.05), (1, 0.05), (1, 0), (3, 0.005)]
        ):
            first.publish(b"t", b"%d" % number, depth, 0 if number in (1, 4, 5) else 5_000)
            first.clock.advance(seconds)
        first.flush()
        first.kill()
        second = Process("a0", self.path)
        self.assertEqual(second.state(), first.state())
        second.file.stop()

    def test_the_state_that_several_machines_share_is_not_changed(self) -> None:
        """Only the log changes it, not the clock of one machine."""
        clock, time = Clock(), 1_000
        gateway = Gateway("a", "9f")
        file = HistoryFile(str(self.path), gateway, clock, lambda: time)
        gateway.load([wire.Restore(b"t", 3, 2, (b"1", b"2"), "9f", (2_000, 0))], time)
        before = gateway.digest()
        time = 5_000
        file.begin_again()
        clock.pump([module.SLICE_S] * 10)
        self.assertEqual(gateway.digest(), before)
        self.assertGreater(file.size, 0)
        file.stop()

    def test_a_long_topic_is_written_in_pieces(self) -> None:
        """In one piece, a topic of 64 MB blocked the broker for some 100 ms."""
        self.patch(module, "SLICE_BYTES", 1_000)
        first = Process("9f", self.path)
        for number in range(20):
            first.publish(b"t", b"%2d" % number * 250, depth=10)
        first.publish(b"u")
        written: list[int] = []
        write = module._write

        def recorded(descriptor: int, data: bytes) -> int:
            written.append(len(data))
            return write(descriptor, data)

        self.patch(module, "_write", recorded)
        first.file.begin_again()
        first.clock.advance(module.SLICE_S)
        for number in range(20, 23):  # the oldest are dropped before they are written
            first.publish(b"t", b"%2d" % number * 250, depth=10)
        first.flush()
        self.assertLess(max(written), 4_000)
        self.assertEqual(first.file._missing, {})
        first.kill()
        second = Process("a0", self.path)
        self.assertEqual(second.state(), first.state())
        known = second.exchange.retained.get(b"t")
        assert known is not None
        self.assertEqual(known.after("9f", 20), [b"%2d" % number * 250 for number in (20, 21, 22)])
        second.file.stop()

    def test_the_file_is_private_and_stays_small(self) -> None:
        self.patch(module, "SLACK_BYTES", 10_000)
        self.addCleanup(os.umask, os.umask(0))
        process = Process("9f", self.path)
        for number in range(1_000):
            process.publish(b"t", b"%d" % number * 10)
            if number % 100 == 0:
                process.flush()
        process.flush()
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.assertEqual(self.path.stat().st_size, process.file.size)
        self.assertLess(process.file.size, 30_000)
        self.assertEqual(os.listdir(self.folder), ["history"])
        process.file.stop()

    def test_a_record_that_was_not_written_completely(self) -> None:
        first = Process("9f", self.path)
        first.publish(b"t", b"1")
        first.publish(b"t", b"2")
        first.flush()
        first.kill()
        whole = self.path.read_bytes()
        for cut in (1, 5, len(whole) // 2 - 1):
            self.path.write_bytes(whole[:-cut])
            second = Process("a0", self.path)
            self.assertEqual(second.state()[b"t"][1], (b"1",))
            second.file.stop()
        for garbage in (b"\xff" * 100, b"\0" * 100, b"\1\0\0\0H"):
            self.path.write_bytes(garbage)
            second = Process("a0", self.path)
            self.assertEqual(second.state(), {})
            second.file.stop()

    def test_a_file_that_cannot_be_written_is_begun_again(self) -> None:
        process = Process("9f", self.path)
        process.publish(b"t", b"1")
        process.flush()
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, process.file._file)
        os.close(full)
        process.publish(b"t", b"2")
        process.flush()
        self.assertEqual((process.file.errors, process.file.size), (1, 0))
        self.assertFalse(self.path.exists())
        process.publish(b"t", b"3")
        process.clock.advance(module.RETRY_S)
        process.flush()
        process.kill()
        self.assertEqual(Process("a0", self.path).state()[b"t"][1], (b"1", b"2", b"3"))

    def test_a_folder_that_is_gone(self) -> None:
        process = Process("9f", self.path)
        process.publish(b"t", b"1")
        process.flush()
        rmtree(self.folder)
        process.file.begin_again()
        self.assertEqual(process.file.errors, 1)
        self.folder.mkdir()
        process.clock.advance(module.RETRY_S)
        process.file.stop()
        self.assertEqual(Process("a0", self.path).state()[b"t"][1], (b"1",))

    def test_a_link_is_not_followed(self) -> None:
        target = self.folder / "target"
        target.write_bytes(b"mine")
        self.path.symlink_to(target)
        Process("9f", self.path).file.stop()
        self.assertFalse(self.path.is_symlink())
        self.assertEqual(target.read_bytes(), b"mine")


class KilledBrokerTests(LinksTestCase):
    """The next broker and real nodes."""

    async def test_topics_without_subscribers_keep_their_history(self) -> None:
        history = str(self.folder / "history")
        first = self.start_broker(history=history)
        a, b = await self.nodes("a", "b")
        for number in range(40):
            a.pubsub.publish_retained(b"t", b"%d" % number, 40)
        await self.until(lambda: a.pubsub.queued_bytes == 0)
        a.pubsub._retained_outbox._grace.clear()  # as after some seconds
        await self.until(self.polled(lambda: first.stats()["history_file_bytes"] > 40))
        self.stop_broker(first)
        self.start_broker(history=history)
        frames = b.subscribe(b"t")
        await self.until(lambda: len(frames) == 40)
        a.pubsub.publish_retained(b"t", b"40", 40)
        await self.until(lambda: len(frames) == 41)
        self.assertEqual(frames, [b"%d" % number for number in range(41)])
        known = b.pubsub.subscriptions.history_cache.get(b"t")
        assert known is not None
        self.assertEqual(known.offset, 41)
