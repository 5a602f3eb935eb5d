"""operate: an operator's command in a view."""

import threading
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from cluster import NotRunning, OperationFailed, operate
from cluster.django import operations
from cluster.django.api import topics


class Node:
    """A node whose event loop runs what it receives at once."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.answer: Deferred[Any] = succeed({"total": 0})
        self.is_here = False
        self.ask_supervisor: Callable[..., Any] | None = self.ask

    def ask(self, what: str, arguments: dict[str, Any]) -> "Deferred[Any]":
        self.asked.append((what, arguments))
        return self.answer

    def in_reactor_later(self, function: Callable[[], None]) -> None:
        thread = threading.Thread(target=function)
        thread.start()
        thread.join()

    def is_reactor_thread(self) -> bool:
        return self.is_here


class OperateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.node = Node()
        self.patch(topics, "node", self.node)

    def test_the_answer(self) -> None:
        self.assertEqual({"total": 0}, operate("clients", user="ada"))
        self.assertEqual([("clients", {"user": "ada"})], self.node.asked)

    def test_an_error(self) -> None:
        self.node.answer = fail(OperationFailed("there is no node 'node9'"))
        self.assertRaises(OperationFailed, operate, "clients", node="node9")

    def test_no_answer(self) -> None:
        self.patch(operations, "TIMEOUT_S", 0.01)
        self.node.answer = Deferred()
        self.assertRaises(OperationFailed, operate, "status")

    def test_without_a_supervisor_or_a_node(self) -> None:
        self.node.ask_supervisor = None
        self.assertRaises(NotRunning, operate, "status")
        self.patch(topics, "node", None)
        self.assertRaises(NotRunning, operate, "status")

    def test_in_the_event_loop(self) -> None:
        self.node.is_here = True
        self.assertRaises(RuntimeError, operate, "disconnect", user="ada")
        self.assertEqual([], self.node.asked)
