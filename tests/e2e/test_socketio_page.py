"""The page /socketio/ of the demo site in a real browser, with the client of npm, on two nodes."""

import uuid
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.e2e import npm
from tests.e2e.browser import PHONE, start_browser
from tests.e2e.processes import ROOT, TEST_TIMEOUT_S, start_cluster
from tests.once import once

SITE = "tests.e2e.socketio_page_site"
NODES = 2


def say(page: Any, text: str) -> None:
    page.fill("#message", text)
    page.press("#message", "Enter")


def wait_for(page: Any, text: str, kind: str = ".said") -> None:
    page.wait_for_selector(f"{kind}:has-text({text!r})")


@once
class SocketIOPageTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def test_a_chat_with_the_page_of_the_websocket(self) -> None:
        browser = await start_browser(self)
        modules = await deferToThread(npm.installed, ROOT / "django_project" / "socketio")
        cluster = await start_cluster(
            self,
            *("--settings", SITE, "--nodes", str(NODES)),
            extra={
                "C10K_STATE_DIR": str(Path(self.mktemp()).absolute()),
                "SOCKETIO_CLIENT": str(modules / "node_modules" / "socket.io-client" / "dist"),
            },
        )
        room = uuid.uuid4().hex

        def chat() -> None:
            one = browser.open(f"{cluster.base_url}socketio/{room}/")
            one.wait_for_selector("#link[data-state=open]")
            one.wait_for_selector("#transport:has-text('websocket')")
            two = browser.open(f"{cluster.base_url}socketio/{room}/", PHONE)
            wait_for(one, "connected", ".note")
            three = browser.open(f"{cluster.base_url}chat/{room}/")
            three.wait_for_selector("#link[data-state=open]")
            say(one, "hello <b>all</b>")
            for page in (two, three):
                wait_for(page, "hello <b>all</b>")
            one.wait_for_selector(".own .fate:has-text('Sent')")
            say(three, "by WebSocket")
            for page in (one, two):
                wait_for(page, "by WebSocket")
            four = browser.open(f"{cluster.base_url}socketio/{room}/")
            for text in ("hello <b>all</b>", "by WebSocket"):
                wait_for(four, text)
            two.context.close()
            wait_for(one, "disconnected", ".note")

        await browser.call(chat)
        self.assertEqual(browser.troubles, [])
