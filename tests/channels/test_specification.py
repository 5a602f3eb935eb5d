"""What Channels' specification asks of a channel layer.

https://channels.readthedocs.io/en/latest/channel_layer_spec.html; each test runs in one process, on
a node in memory, and from one node to another one.
"""

import asyncio
import datetime
import os
from collections.abc import Callable, Coroutine
from functools import wraps
from types import SimpleNamespace
from typing import Any, ClassVar

from asgiref.sync import async_to_sync
from channels.exceptions import ChannelFull, MessageTooLarge
from django.test import override_settings
from twisted.trial.unittest import TestCase

from cluster.channels import ClusterChannelLayer
from cluster.channels.messages import Kind, encode_envelope
from cluster.channels.queues import ABANDONED
from cluster.core.exceptions import ConfigurationError, NotRunning
from cluster.django.api import backends
from cluster.net.websocket.frames import binary_frame
from cluster.testing import asynchronous, capture_publications
from tests.channels.sites import (
    CAPACITY,
    EXPIRY,
    GROUP_EXPIRY,
    ExternalTo,
    MemorySite,
    Site,
    TwoNodesSite,
)
from tests.django.site import load_site

load_site()

Test = Callable[[Any, Site], Coroutine[Any, Any, None]]

EVERYTHING = {
    "type": "every.thing",
    "bytes": b"\x00\xff",
    "text": "Grüße \U0001f600",
    "numbers": [0, -1, 2**63 - 1, -(2**63), 0.5, float("inf")],
    "nothing": None,
    "yes": True,
    "no": False,
    "nested": {"a": [{"b": [[], {}, b""]}], "": ""},
}
BAD_NAMES = ("", "a b", "a/b", "ü", "a!b!c", "!", "a" * 100, b"bytes", 1, None)
BAD_MESSAGES: tuple[Any, ...] = (
    None,
    "text",
    [("type", "x")],
    {1: "a key"},
    {"deep": [{"er": {b"bytes": 1}}]},
    {"day": datetime.date(2026, 1, 1)},
    {"set": {1}},
    {"object": object()},
)


def on_a_site(test: Test) -> Any:
    """Run a test on the site of its class, in an event loop."""

    @asynchronous
    @wraps(test)
    async def run(self: Any) -> None:
        site = self.site()
        await site.settle()
        try:
            await test(self, site)
        finally:
            site.stop()

    del run.__wrapped__  # trial would look at the arguments of the test
    return run


async def no_message(layer: Any, channel: str) -> bool:
    """Whether nothing waits in a channel."""
    task = asyncio.ensure_future(layer.receive(channel))
    for _ in range(5):
        await asyncio.sleep(0)
    if task.done():
        return False
    task.cancel()
    await asyncio.wait([task])
    return True


async def numbers(layer: Any, channel: str, count: int) -> list[int]:
    """The numbers of the next messages of a channel."""
    return [(await layer.receive(channel))["number"] for _ in range(count)]


class Specification:
    site: ClassVar[type[Site]]

    assertEqual: Any
    assertTrue: Any
    assertRaises: Any

    async def assert_raises(self, error: type[Exception], call: Any) -> None:
        try:
            await call
        except error:
            return
        raise AssertionError(f"no {error.__name__}")

    # Messages.

    @on_a_site
    async def test_all_types_arrive(self, site: Site) -> None:
        channel = await site.receiver.new_channel()
        await site.sender.send(channel, EVERYTHING)
        self.assertEqual(EVERYTHING, await site.receiver.receive(channel))

    @on_a_site
    async def test_tuples_become_lists(self, site: Site) -> None:
        channel = await site.receiver.new_channel()
        await site.sender.send(channel, {"pair": (1, ("a", b"b"))})
        self.assertEqual({"pair": [1, ["a", b"b"]]}, await site.receiver.receive(channel))

    @on_a_site
    async def test_what_no_message_may_contain(self, site: Site) -> None:
        channel = await site.receiver.new_channel()
        for message in BAD_MESSAGES:
            await self.assert_raises(TypeError, site.sender.send(channel, message))
            await self.assert_raises(TypeError, site.sender.group_send("group", message))
        await self.assert_raises(ValueError, site.sender.send(channel, {"large": 2**64}))
        deep: Any = {}
        for _ in range(2000):
            deep = {"deeper": deep}
        await self.assert_raises(ValueError, site.sender.send(channel, deep))
        await site.settle()
        self.assertTrue(await no_message(site.receiver, channel))

    @on_a_site
    async def test_a_megabyte_arrives_and_too_much_is_refused(self, site: Site) -> None:
        channel = await site.receiver.new_channel()
        await site.sender.send(channel, {"text": "x" * 1_000_000})
        self.assertEqual(1_000_000, len((await site.receiver.receive(channel))["text"]))
        large = {"bytes": bytes(9 << 20)}
        await self.assert_raises(MessageTooLarge, site.sender.send(channel, large))
        await self.assert_raises(site.sender.MessageTooLarge, site.sender.group_send("g", large))

    @on_a_site
    async def test_a_sender_may_change_its_message_afterwards(self, site: Site) -> None:
        channel = await site.receiver.new_channel()
        message = {"list": [1]}
        await site.sender.send(channel, message)
        message["list"].append(2)
        self.assertEqual({"list": [1]}, await site.receiver.receive(channel))

    # Names.

    @on_a_site
    async def test_invalid_names(self, site: Site) -> None:
        layer = site.sender
        for name in BAD_NAMES:
            await self.assert_raises(TypeError, layer.send(name, {}))
            await self.assert_raises(TypeError, layer.receive(name))
            await self.assert_raises(TypeError, layer.group_add(name, "channel"))
            await self.assert_raises(TypeError, layer.group_add("group", name))
            await self.assert_raises(TypeError, layer.group_discard(name, "channel"))
            await self.assert_raises(TypeError, layer.group_discard("group", name))
            await self.assert_raises(TypeError, layer.group_send(name, {}))
        await self.assert_raises(TypeError, layer.group_send("group!x", {}))
        await self.assert_raises(TypeError, layer.new_channel("a b"))

    @on_a_site
    async def test_new_channels_are_specific_to_their_process(self, site: Site) -> None:
        names = {await site.receiver.new_channel() for _ in range(100)}
        names.add(await site.receiver.new_channel("some.prefix"))
        self.assertEqual(101, len(names))
        self.assertEqual(2, len({name.partition("!")[0] for name in names}))
        for name in names:
            self.assertTrue(site.receiver.require_valid_channel_name(name))

    @on_a_site
    async def test_a_long_name_is_valid(self, site: Site) -> None:
        name = "a" * 99
        receiving = asyncio.ensure_future(site.receiver.receive(name))
        await site.settle()
        await site.sender.send(name, {"number": 1})
        self.assertEqual({"number": 1}, await receiving)

    # Order, and each message once.

    @on_a_site
    async def test_messages_of_a_sender_keep_their_order(self, site: Site) -> None:
        channel = await site.receiver.new_channel("large")
        await site.receiver.group_add("group", channel)
        for number in range(200):
            if number % 3:
                await site.sender.send(channel, {"number": number})
            else:
                await site.sender.group_send("group", {"number": number})
        self.assertEqual(list(range(200)), await numbers(site.receiver, channel, 200))

    @on_a_site
    async def test_a_message_reaches_one_of_several_receivers(self, site: Site) -> None:
        channel = await site.receiver.new_channel("large")
        tasks = [asyncio.ensure_future(numbers(site.receiver, channel, 1)) for _ in range(20)]
        await site.settle()
        for number in range(20):
            await site.sender.send(channel, {"number": number})
        found = await asyncio.gather(*tasks)
        self.assertEqual([[number] for number in range(20)], sorted(found))

    @on_a_site
    async def test_a_receiver_that_is_cancelled_loses_nothing(self, site: Site) -> None:
        channel = await site.receiver.new_channel()
        first, second = (asyncio.ensure_future(site.receiver.receive(channel)) for _ in range(2))
        await site.settle()
        await site.sender.send(channel, {"number": 1})
        first.cancel()
        self.assertEqual({"number": 1}, await second)
        third = asyncio.ensure_future(site.receiver.receive(channel))
        await site.settle()
        third.cancel()
        await site.settle()
        await site.sender.send(channel, {"number": 2})
        self.assertEqual([2], await numbers(site.receiver, channel, 1))

    @on_a_site
    async def test_a_receiver_that_was_woken_and_cancelled_passes_the_message_on(
        self, site: Site
    ) -> None:
        channel = await site.receiver.new_channel()
        tasks = [asyncio.ensure_future(site.receiver.receive(channel)) for _ in range(2)]
        await site.settle()
        await site.receiver.send(channel, {"number": 1})  # wakes the first one
        tasks[0].cancel()
        self.assertEqual({"number": 1}, await tasks[1])

    @on_a_site
    async def test_a_name_that_ends_with_an_exclamation_mark(self, site: Site) -> None:
        channel = await site.receiver.new_channel()
        beginning = channel.partition("!")[0] + "!"
        receiving = asyncio.ensure_future(numbers(site.receiver, beginning, CAPACITY))
        await site.settle()
        for number in range(CAPACITY):
            await site.sender.send(f"{beginning}local{number}", {"number": number})
        self.assertEqual(list(range(CAPACITY)), await receiving)
        for number in range(CAPACITY):  # they share the capacity
            await site.receiver.send(f"{beginning}other{number}", {"number": number})
        await self.assert_raises(ChannelFull, site.receiver.send(f"{beginning}one", {}))

    # Channels that any process may receive from.

    @on_a_site
    async def test_a_message_waits_for_a_receiver(self, site: Site) -> None:
        for number in range(3):
            await site.sender.send("worker", {"number": number})
        await site.settle()
        self.assertEqual([0, 1, 2], await numbers(site.receiver, "worker", 3))

    @on_a_site
    async def test_each_message_reaches_one_process(self, site: Site) -> None:
        found: list[int] = []

        async def read(layer: Any) -> None:
            while True:
                found.append((await layer.receive("large.worker"))["number"])

        tasks = [asyncio.ensure_future(read(layer)) for layer in (site.sender, site.receiver)]
        await site.settle()
        for number in range(50):
            await site.sender.send("large.worker", {"number": number})
        await site.settle()
        self.assertEqual(list(range(50)), sorted(found))
        for task in tasks:
            task.cancel()

    # Capacity.

    @on_a_site
    async def test_a_full_channel(self, site: Site) -> None:
        channel = await site.receiver.new_channel()
        for number in range(CAPACITY):
            await site.sender.send(channel, {"number": number})
        await site.settle()
        await self.assert_raises(ChannelFull, site.receiver.send(channel, {}))
        if not site.is_one_process:
            await site.sender.send(channel, {})
            await site.settle()
            self.assertEqual({"channel_full": 1}, site.receiver.drops.counts)
        self.assertEqual(list(range(CAPACITY)), await numbers(site.receiver, channel, CAPACITY))
        await site.receiver.send(channel, {"number": 9})
        self.assertEqual([9], await numbers(site.receiver, channel, 1))

    @on_a_site
    async def test_capacities_by_name(self, site: Site) -> None:
        small = await site.receiver.new_channel("small")
        await site.receiver.send(small, {})
        await self.assert_raises(ChannelFull, site.receiver.send(small, {}))
        large = await site.receiver.new_channel("large")
        for _ in range(2000):
            await site.receiver.send(large, {})
        await self.assert_raises(site.receiver.ChannelFull, site.receiver.send(large, {}))

    @on_a_site
    async def test_a_group_skips_full_channels(self, site: Site) -> None:
        slow, quick = [await site.receiver.new_channel() for _ in range(2)]
        for channel in (slow, quick):
            await site.receiver.group_add("group", channel)
        for number in range(CAPACITY + 2):
            await site.sender.group_send("group", {"number": number})
            self.assertEqual([number], await numbers(site.receiver, quick, 1))
        self.assertEqual({"channel_full": 2}, site.receiver.drops.counts)
        self.assertEqual(list(range(CAPACITY)), await numbers(site.receiver, slow, CAPACITY))

    # Expiry.

    @on_a_site
    async def test_messages_expire(self, site: Site) -> None:
        channel = await site.receiver.new_channel()
        await site.sender.send(channel, {"number": 1})
        await site.settle()
        site.now += EXPIRY / 2
        await site.sender.send(channel, {"number": 2})
        await site.settle()
        site.now += EXPIRY / 2
        self.assertEqual([2], await numbers(site.receiver, channel, 1))
        self.assertEqual({"channel_expired": 1}, site.receiver.drops.counts)

    @on_a_site
    async def test_expired_messages_do_not_fill_a_channel(self, site: Site) -> None:
        channel = await site.receiver.new_channel()
        await site.receiver.group_add("group", channel)
        for _ in range(CAPACITY):
            await site.sender.group_send("group", {})
        await site.settle()
        site.now += EXPIRY
        await site.sender.group_send("group", {"number": 1})
        await site.settle()
        await site.receiver.send(channel, {"number": 2})
        self.assertEqual([1, 2], await numbers(site.receiver, channel, 2))
        self.assertEqual({"channel_expired": CAPACITY}, site.receiver.drops.counts)

    @on_a_site
    async def test_memberships_expire(self, site: Site) -> None:
        old, renewed = [await site.receiver.new_channel() for _ in range(2)]
        for channel in (old, renewed):
            await site.receiver.group_add("group", channel)
        site.now += GROUP_EXPIRY - 1
        await site.receiver.group_add("group", renewed)
        site.now += 1
        await site.sender.group_send("group", {"number": 1})
        self.assertEqual([1], await numbers(site.receiver, renewed, 1))
        self.assertTrue(await no_message(site.receiver, old))
        self.assertEqual({}, site.receiver.drops.counts)

    @on_a_site
    async def test_a_channel_that_nobody_reads_leaves_its_groups(self, site: Site) -> None:
        abandoned, read = [await site.receiver.new_channel() for _ in range(2)]
        for channel in (abandoned, read):
            await site.receiver.group_add("group", channel)
        for number in range(ABANDONED + 2):
            await site.sender.group_send("group", {"number": number})
            self.assertEqual([number], await numbers(site.receiver, read, 1))
            site.now += EXPIRY
        dropped = site.receiver.drops.counts.total()
        for number in range(3):
            await site.sender.group_send("group", {"number": number})
            self.assertEqual([number], await numbers(site.receiver, read, 1))
        self.assertTrue(await no_message(site.receiver, abandoned))
        self.assertEqual(dropped, site.receiver.drops.counts.total())

    # Groups.

    @on_a_site
    async def test_a_message_reaches_each_member_once(self, site: Site) -> None:
        channels = [await site.receiver.new_channel() for _ in range(300)]
        others = [await site.sender.new_channel() for _ in range(300)]
        for channel in (*channels, *channels[:10]):
            await site.receiver.group_add("group", channel)
        for channel in others:
            await site.sender.group_add("group", channel)
        reading = [asyncio.ensure_future(site.receiver.receive(each)) for each in channels]
        reading += [asyncio.ensure_future(site.sender.receive(each)) for each in others]
        await site.settle()
        await site.sender.group_send("group", {"list": [1]})
        received = await asyncio.gather(*reading)
        self.assertEqual([{"list": [1]}] * 600, received)
        received[0]["list"].append(2)  # receivers share nothing
        self.assertEqual([1], received[1]["list"])
        await site.settle()
        self.assertTrue(await no_message(site.receiver, channels[0]))
        self.assertTrue(await no_message(site.sender, others[0]))

    @on_a_site
    async def test_a_member_receives_what_is_sent_after_group_add(self, site: Site) -> None:
        for number in range(20):
            channel = await site.receiver.new_channel()
            await site.receiver.group_add(f"group{number}", channel)
            await site.sender.group_send(f"group{number}", {"number": number})
            self.assertEqual([number], await numbers(site.receiver, channel, 1))

    @on_a_site
    async def test_a_channel_leaves_a_group(self, site: Site) -> None:
        channel, other = [await site.receiver.new_channel() for _ in range(2)]
        for each in (channel, other):
            await site.receiver.group_add("group", each)
        await site.receiver.group_discard("group", channel)
        await site.receiver.group_discard("group", channel)
        await site.receiver.group_discard("unknown", channel)
        await site.sender.group_send("group", {"number": 1})
        self.assertEqual([1], await numbers(site.receiver, other, 1))
        self.assertTrue(await no_message(site.receiver, channel))
        await site.receiver.group_discard("group", other)
        await site.receiver.group_add("group", channel)
        await site.sender.group_send("group", {"number": 2})
        self.assertEqual([2], await numbers(site.receiver, channel, 1))

    @on_a_site
    async def test_a_channel_of_another_process_joins_and_leaves(self, site: Site) -> None:
        channel = await site.receiver.new_channel()
        await site.sender.group_add("group", channel)
        await site.settle()
        await site.sender.group_send("group", {"number": 1})
        self.assertEqual([1], await numbers(site.receiver, channel, 1))
        await site.sender.group_discard("group", channel)
        await site.sender.group_send("group", {"number": 2})
        await site.settle()
        self.assertTrue(await no_message(site.receiver, channel))

    @on_a_site
    async def test_a_group_without_members(self, site: Site) -> None:
        await site.sender.group_send("nobody", {"number": 1})
        self.assertEqual({}, site.sender.drops.counts)

    # Flush.

    @on_a_site
    async def test_flush(self, site: Site) -> None:
        self.assertEqual(["groups", "flush"], site.sender.extensions)
        channel = await site.receiver.new_channel()
        await site.receiver.group_add("group", channel)
        await site.sender.send(channel, {"number": 1})
        await site.sender.send("worker", {"number": 1})
        await site.sender.flush()
        await site.sender.group_send("group", {"number": 2})
        await site.settle()
        self.assertTrue(await no_message(site.receiver, channel))
        self.assertTrue(await no_message(site.receiver, "worker"))
        await site.sender.send(channel, {"number": 3})
        self.assertEqual([3], await numbers(site.receiver, channel, 1))

    # Threads.

    @on_a_site
    async def test_calls_of_synchronous_views(self, site: Site) -> None:
        """They run in threads, each call in an event loop of its own."""
        channel = await site.receiver.new_channel()
        await asyncio.to_thread(async_to_sync(site.receiver.group_add), "group", channel)
        await asyncio.to_thread(async_to_sync(site.sender.group_send), "group", {"number": 1})
        await asyncio.to_thread(async_to_sync(site.sender.send), channel, {"number": 2})
        self.assertEqual([1, 2], await numbers(site.receiver, channel, 2))
        await asyncio.to_thread(async_to_sync(site.receiver.group_discard), "group", channel)
        await site.sender.group_send("group", {"number": 3})
        await site.sender.send(channel, {"number": 4})
        receiving = asyncio.to_thread(async_to_sync(site.receiver.receive), channel)
        self.assertEqual({"number": 4}, await receiving)
        waiting = asyncio.ensure_future(
            asyncio.to_thread(async_to_sync(site.receiver.receive), channel)
        )
        await site.settle()
        await site.sender.send(channel, {"number": 5})
        self.assertEqual({"number": 5}, await waiting)


class OneProcessTests(Specification, TestCase):
    """A process without a node, such as that of a unit test."""

    site = Site


class MemoryNodeTests(Specification, TestCase):
    """A node in memory."""

    site = MemorySite


class TwoNodesTests(Specification, TestCase):
    """From one node to another one."""

    site = TwoNodesSite

    @on_a_site
    async def test_only_its_own_process_receives_from_a_channel(self, site: Site) -> None:
        channel = await site.receiver.new_channel()
        await self.assert_raises(ValueError, site.sender.receive(channel))

    @on_a_site
    async def test_the_process_of_a_channel_has_ended(self, site: Site) -> None:
        channel = await site.make_layer(lambda: None).new_channel()
        await site.sender.send(channel, {})
        self.assertEqual({"channel_gone": 1}, site.sender.drops.counts)

    @on_a_site
    async def test_the_drops_are_part_of_the_metrics_of_the_node(self, site: Site) -> None:
        channel = await site.receiver.new_channel("small")
        await site.receiver.group_add("group", channel)
        for _ in range(3):
            await site.sender.group_send("group", {})
        await site.settle()
        assert isinstance(site, TwoNodesSite)
        self.assertEqual(2, site.nodes[1].pubsub.dropped["channel_full"])

    @on_a_site
    async def test_a_node_subscribes_once_for_all_members(self, site: Site) -> None:
        assert isinstance(site, TwoNodesSite)
        channels = [await site.receiver.new_channel() for _ in range(10)]
        for channel in channels:
            await site.receiver.group_add("group", channel)
        topic = b"c10k/channels/default/group/group"
        special = site.nodes[1].pubsub.subscriptions.special
        self.assertEqual(1, len(special[topic].callbacks))
        for channel in channels:
            await site.receiver.group_discard("group", channel)
        self.assertTrue(topic not in special)

    @on_a_site
    async def test_a_process_without_a_node_sends_to_all(self, site: Site) -> None:
        """Such as a management command, whose publications one node takes."""
        assert isinstance(site, TwoNodesSite)
        outside = site.make_layer(lambda: None)
        channel = await site.receiver.new_channel()
        await site.sender.new_channel()  # the node that takes the publications uses the layer
        await site.receiver.group_add("group", channel)
        receiving = asyncio.ensure_future(numbers(site.receiver, "worker", 1))
        await site.settle()
        with backends.installed(ExternalTo(site.nodes[0])):
            await outside.group_send("group", {"number": 1})
            await outside.send(channel, {"number": 2})
            await outside.send("worker", {"number": 3})
            self.assertEqual([1, 2], await numbers(site.receiver, channel, 2))
            self.assertEqual([3], await receiving)
            await outside.group_add("other", channel)
            await site.settle()
            await outside.group_send("other", {"number": 4})
            self.assertEqual([4], await numbers(site.receiver, channel, 1))
            await site.sender.send(channel, {"number": 5})
            await site.settle()
            await outside.flush()
            await site.settle()
        self.assertTrue(await no_message(site.receiver, channel))
        self.assertEqual({}, outside.drops.counts)

    @on_a_site
    async def test_nothing_stays_of_channels_that_nobody_uses(self, site: Site) -> None:
        assert isinstance(site, TwoNodesSite)
        later: list[tuple[Callable[..., None], str]] = []
        await site.receiver.new_channel()
        link = site.receiver._link
        link.loop = SimpleNamespace(call_later=lambda delay, call, name: later.append((call, name)))
        await site.receiver.send("unread", {})
        task = asyncio.ensure_future(site.receiver.receive("read"))
        await site.settle()
        task.cancel()
        await asyncio.wait([task])
        for _ in range(2):
            site.now += EXPIRY
            await site.receiver.group_add("group", "sweeps")
            due, later[:] = list(later), []
            for call, name in due:
                call(name)
        self.assertEqual([], later)
        await site.settle()
        presence = site.nodes[0].pubsub.presence
        self.assertEqual((), presence.members(b"c10k/channels/default/readers/read"))
        self.assertEqual({}, site.nodes[1].pubsub.presence._watchers)

    @on_a_site
    async def test_invalid_data_on_a_topic(self, site: Site) -> None:
        assert isinstance(site, TwoNodesSite)
        channel = await site.receiver.new_channel()
        for topic in (b"c10k/channels/default/all", b"c10k/here/channels/default"):
            for data in (b"", b"\xc1", b"[]", encode_envelope("x", Kind.ADD, "c", b"\xff")):
                site.nodes[1].pubsub.publish(topic, binary_frame(data))
        await site.settle()
        self.assertEqual({"malformed": 8}, site.receiver.drops.counts)
        await site.sender.send(channel, {"number": 1})
        self.assertEqual([1], await numbers(site.receiver, channel, 1))

    @on_a_site
    async def test_a_send_waits_while_the_bus_is_full(self, site: Site) -> None:
        assert isinstance(site, TwoNodesSite)
        channel = await site.receiver.new_channel()
        remote_nodes: Any = site.nodes[0].pubsub.remote_nodes
        remote_nodes.full = True
        sending = asyncio.ensure_future(site.sender.send(channel, {"number": 1}))
        await site.settle()
        self.assertTrue(await no_message(site.receiver, channel))
        remote_nodes.full = False
        await sending
        self.assertEqual([1], await numbers(site.receiver, channel, 1))

    @on_a_site
    async def test_other_prefixes_are_other_layers(self, site: Site) -> None:
        assert isinstance(site, TwoNodesSite)
        other = site.make_layer(lambda: site.nodes[0], prefix="other")
        channel = await site.receiver.new_channel()
        await site.receiver.group_add("group", channel)
        await other.group_send("group", {"number": 1})
        await site.settle()
        self.assertTrue(await no_message(site.receiver, channel))


class WithoutNodeTests(TestCase):
    """A unit test of an application: what it sends it receives."""

    async def check(self) -> None:
        layer = ClusterChannelLayer()
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        await layer.group_send("group", {"number": 1})
        await layer.send(channel, {"number": 2})
        await layer.send("worker", {"number": 3})
        self.assertEqual([1, 2], await numbers(layer, channel, 2))
        self.assertEqual([3], await numbers(layer, "worker", 1))
        await layer.flush()

    @override_settings(C10K={"PUBLISH_WITHOUT_CLUSTER": "ignore"})
    @asynchronous
    async def test_without_a_cluster(self) -> None:
        self.patch(os, "environ", {**os.environ, "XDG_RUNTIME_DIR": self.mktemp()})
        with backends.installed(None):
            await self.check()

    @override_settings(C10K={"PUBLISH_WITHOUT_CLUSTER": "error"})
    @asynchronous
    async def test_a_cluster_is_needed(self) -> None:
        self.patch(os, "environ", {**os.environ, "XDG_RUNTIME_DIR": self.mktemp()})
        layer = ClusterChannelLayer()
        with backends.installed(None):
            await layer.send("worker", {})
            with self.assertRaises(NotRunning):
                await layer.group_send("group", {})

    @asynchronous
    async def test_while_publications_are_captured(self) -> None:
        async with capture_publications() as published:
            await self.check()
        self.assertEqual([], published)


class OptionsTests(TestCase):
    """Wrong options are reported with their value."""

    def test_wrong_options(self) -> None:
        make: Any = Site().make_layer
        for option, value in (
            ("expiry", 0),
            ("group_expiry", "1 day"),
            ("capacity", 0),
            ("prefix", "a/b"),
            ("hosts", [("localhost", 6379)]),
        ):
            error = self.assertRaises(
                ConfigurationError, lambda o=option, v=value: make(lambda: None, **{o: v})
            )
            self.assertIn(option, str(error))
