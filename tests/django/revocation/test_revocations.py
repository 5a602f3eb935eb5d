"""Which clients are closed when a session ends or a user changes."""

import asyncio
import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django import db
from django.contrib.auth import get_user_model
from django.contrib.sessions.backends.db import SessionStore
from django.core import signing
from django.core.management import call_command
from django.db import transaction
from django.test import SimpleTestCase, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import NotPublished, NotRunning
from cluster.django.api import backends, topics
from cluster.django.api.payloads import as_message
from cluster.django.handshake import sessions
from cluster.django.revocation import revocable_clients, revocations, session_signals
from cluster.django.revocation.revocable_clients import (
    MARGIN_MS,
    PROMPT_MS,
    RevocableClients,
    digest,
    sign,
)
from cluster.django.revocation.revocations import revoke
from tests.django.fakes import RecordingNode
from tests.django.handshake.test_sessions import COOKIES, request_of
from tests.django.site import load_database
from tests.django.visitors import guest, log_in, new_user


class Page:
    """A client that records how it was closed."""

    def __init__(self, clients: RevocableClients, request: Any) -> None:
        self.closes: list[tuple[int, str]] = []
        self.leave = clients.add(request, lambda code, reason: self.closes.append((code, reason)))

    @property
    def code(self) -> int | None:
        return self.closes[0][0] if self.closes else None


class RevocationTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        load_database()
        self.clients = RevocableClients()
        self.patch(sessions, "revocable_clients", self.clients)
        self.sent: list[str] = []
        node = RecordingNode()
        self.patch(topics, "node", node)
        self.patch(node.pubsub, "publish", self.published)
        self.patch(node.pubsub, "publish_retained", self.published_retained)

    def published(self, topic: bytes, frame: bytes) -> tuple[int, int]:
        self.assertEqual(topic, revocations.TOPIC)
        message = str(as_message(frame))
        self.sent.append(message)
        self.clients.take(message)
        return 0, 0

    def published_retained(
        self, topic: bytes, frame: bytes, depth: int, lifetime: int
    ) -> tuple[int, int]:
        """The same revocation once more, for nodes that are cut off."""
        self.assertEqual((topic, depth, lifetime), (revocations.TOPIC, 10_000, 86_400_000))
        message = str(as_message(frame))
        self.assertEqual(message, self.sent[-1])
        self.clients.take(message)
        return 0, 0

    def page(self, key: str) -> Page:
        return Page(self.clients, request_of(key))

    def assert_nothing_kept(self) -> None:
        self.assertEqual((self.clients._sessions, self.clients._users), ({}, {}))


class SignalTests(RevocationTestCase):
    """Actions of Django code, and the clients that they close."""

    def setUp(self) -> None:
        super().setUp()
        self.user, self.other = new_user(), new_user()
        self.browser, key = log_in(self.user)
        self.tabs = [self.page(key), self.page(key)]
        self.second = self.page(log_in(self.user)[1])
        _, self.guests_key = guest()
        self.bystanders = [self.page(log_in(self.other)[1]), self.page(self.guests_key)]
        self.key = key

    def assert_closed(self, *closed: Page) -> None:
        for page in (*self.tabs, self.second):
            self.assertEqual(page.code, 4401 if page in closed else None)
            self.assertLessEqual(len(page.closes), 1)
        self.assertEqual([page.code for page in self.bystanders], [None, None])
        self.assertEqual(self.clients.closed_total, len(closed))

    def test_logout_closes_the_pages_of_that_session(self) -> None:
        self.browser.logout()
        self.assert_closed(*self.tabs)

    def test_a_session_that_is_deleted(self) -> None:
        from django.contrib.sessions.models import Session

        Session.objects.get(session_key=self.key).delete()
        self.assert_closed(*self.tabs)

    def test_sessions_deleted_in_bulk(self) -> None:
        from django.contrib.sessions.models import Session

        Session.objects.filter(session_key=self.key).delete()
        self.assert_closed(*self.tabs)

    def test_deleting_expired_sessions_closes_nothing(self) -> None:
        from django.contrib.sessions.models import Session

        Session.objects.filter(session_key=self.key).update(
            expire_date=timezone.now() - timedelta(seconds=1)
        )
        self.sent.clear()
        Session.objects.filter(expire_date__lt=timezone.now()).delete()
        self.assertEqual(self.sent, [])

    def test_clearsessions_is_one_query_for_any_number(self) -> None:
        from django.contrib.sessions.models import Session

        Session.objects.exclude(session_key=self.key).update(
            expire_date=timezone.now() - timedelta(seconds=1)
        )
        self.patch(threading, "active_count", lambda: 1)
        with CaptureQueriesContext(db.connection) as queries:
            call_command("clearsessions")
        verbs = [query["sql"].split()[0] for query in queries]
        self.assertEqual(verbs, ["BEGIN", "DELETE", "COMMIT"])
        self.assertEqual([each.session_key for each in Session.objects.all()], [self.key])
        self.assert_closed()
        Session.objects.all().delete()
        self.assert_closed(*self.tabs)

    def test_clearsessions_beside_other_threads_stays_connected(self) -> None:
        from django.contrib.sessions.models import Session

        seen: list[bool] = []

        def clear(store: object) -> None:
            seen.append(session_signals.post_delete.has_listeners(Session))

        self.patch(SessionStore, "clear_expired", classmethod(clear))
        for threads in (1, 2):
            self.patch(threading, "active_count", lambda threads=threads: threads)
            call_command("clearsessions")
        self.assertEqual(seen, [False, True])

    def test_clearsessions_without_a_model_of_sessions(self) -> None:
        self.patch(threading, "active_count", lambda: 1)
        with override_settings(SESSION_ENGINE=COOKIES):
            call_command("clearsessions")

    def test_deactivation(self) -> None:
        self.user.is_active = False
        self.user.save()
        self.assert_closed(*self.tabs, self.second)

    def test_deactivation_alone(self) -> None:
        self.user.is_active = False
        self.user.save(update_fields=["is_active"])
        self.assert_closed(*self.tabs, self.second)

    def test_a_new_password(self) -> None:
        self.user.password = "new"
        self.user.save()
        self.assert_closed(*self.tabs, self.second)

    def test_a_session_with_the_new_password_stays_open(self) -> None:
        self.user.password = "new"
        self.user.save()
        page = self.page(log_in(self.user)[1])
        self.user.save()
        self.assertEqual(page.closes, [])

    def test_other_changes_of_a_user(self) -> None:
        self.user.first_name = "Anna"
        self.user.save()
        self.user.save(update_fields=["last_login"])
        self.assert_closed()

    def test_a_user_who_is_deleted(self) -> None:
        self.user.delete()
        self.assert_closed(*self.tabs, self.second)

    def test_users_deleted_in_bulk(self) -> None:
        type(self.user).objects.filter(pk=self.user.pk).delete()
        self.assert_closed(*self.tabs, self.second)

    def test_revoke_by_user(self) -> None:
        type(self.user).objects.filter(pk=self.user.pk).update(is_active=False)
        self.assert_closed()
        revoke(user=self.user)
        self.assert_closed(*self.tabs, self.second)

    def test_revoke_by_session_key(self) -> None:
        revoke(user=self.user.pk, session_key="no such session")
        self.assert_closed(*self.tabs, self.second)
        revoke(session_key=self.guests_key)
        self.assertEqual(self.bystanders[1].code, 1012)

    def test_a_guest_who_logs_in_may_reconnect(self) -> None:
        browser, key = guest()
        page = self.page(key)
        browser.force_login(self.other)
        self.assertEqual(page.closes, [(1012, "the session has ended")])

    def test_logout_with_sessions_in_cookies(self) -> None:
        """The server does not know which session ended."""
        with override_settings(SESSION_ENGINE=COOKIES):
            browser, key = log_in(self.user)
            page = self.page(key)
            browser.logout()
        self.assertEqual(page.code, 4401)

    def test_in_a_transaction_on_commit(self) -> None:
        with db.transaction.atomic():
            self.user.delete()
            self.assert_closed()
        self.assert_closed(*self.tabs, self.second)

    def test_not_when_it_is_rolled_back(self) -> None:
        with db.transaction.atomic():
            self.user.is_active = False
            self.user.save()
            db.transaction.set_rollback(True)
        self.assert_closed()

    def test_clients_that_have_left(self) -> None:
        for page in (*self.tabs, self.second, *self.bystanders):
            page.leave()
            page.leave()
        self.browser.logout()
        self.user.delete()
        self.assertEqual(self.clients.closed_total, 0)
        self.assert_nothing_kept()

    def test_closed_clients_are_forgotten(self) -> None:
        for page in self.bystanders:
            page.leave()
        self.user.delete()
        self.assert_nothing_kept()

    def test_no_secret_is_published(self) -> None:
        self.browser.logout()
        self.user.password = "new"
        self.user.save()
        published = json.dumps(
            [signing.loads(message, salt="c10k.revocation") for message in self.sent]
        )
        self.assertIn(digest(self.key), published)
        for secret in (self.key, self.user.password, self.user.get_session_auth_hash()):
            self.assertNotIn(secret, published)


class RaceTests(RevocationTestCase):
    """A session that ends while a handshake loads it."""

    def test_the_user_between_loading_and_opening(self) -> None:
        user = new_user()
        request = request_of(log_in(user)[1])
        revoke(user=user)
        self.assertEqual(Page(self.clients, request).code, 4401)
        self.assert_nothing_kept()

    def test_the_password_between_loading_and_opening(self) -> None:
        user = new_user()
        same, changed = (request_of(log_in(user)[1]) for _ in range(2))
        user.save()
        self.assertIsNone(Page(self.clients, same).code)
        user.password = "new"
        user.save()
        self.assertEqual(Page(self.clients, changed).code, 4401)

    def test_the_session_between_loading_and_opening(self) -> None:
        _, key = log_in(new_user())
        request = request_of(key)
        revoke(session_key=key)
        self.assertEqual(Page(self.clients, request).code, 4401)

    def test_an_earlier_revocation_does_not_count(self) -> None:
        user = new_user()
        revoke(user=user)
        self.assertIsNone(self.page(log_in(user)[1]).code)

    def test_a_session_that_is_revoked_but_not_deleted_yet(self) -> None:
        """As at logout, where the signal is sent first."""
        _, key = log_in(new_user())
        revoke(session_key=key)
        self.assertTrue(request_of(key).user.is_anonymous)

    def test_more_revocations_than_are_remembered(self) -> None:
        self.patch(revocable_clients, "REMEMBERED", 3)
        clients = self.clients = RevocableClients()
        request = request_of(log_in(new_user())[1])
        request.revocations_seen = clients.revocations
        for number in range(3):
            revoke(user=-number)
        self.assertIsNone(Page(clients, request).code)
        revoke(user=-4)
        self.assertEqual(Page(clients, request).code, 1012)

    def test_few_revoked_sessions_are_kept(self) -> None:
        self.patch(revocable_clients, "REMEMBERED", 3)
        clients = self.clients = RevocableClients()
        for number in range(5):
            revoke(session_key=str(number))
        known = [clients.is_revoked_session(str(number)) for number in range(5)]
        self.assertEqual(known, [False, False, True, True, True])


class RevocableClientsTests(RevocationTestCase):
    def test_clients_without_a_session_cost_nothing(self) -> None:
        page = self.page("no such session")
        self.assert_nothing_kept()
        page.leave()

    def test_messages_with_an_invalid_signature(self) -> None:
        user = new_user()
        page = self.page(log_in(user)[1])
        for message in ("", "{}", signing.dumps({"user": str(user.pk)}, salt="other"), b"\xff"):
            self.clients.take(message)
        self.assertIsNone(page.code)
        self.assertEqual(self.clients.revocations, 0)


class LateTests(RevocationTestCase):
    """Revocations that reach a node long after they were made."""

    def setUp(self) -> None:
        super().setUp()
        self.now_ms = 1_800_000_000_000
        self.clients = RevocableClients(lambda: self.now_ms / 1000)
        self.patch(sessions, "revocable_clients", self.clients)
        self.user = new_user()

    def late(self, **revocation: Any) -> str:
        """The text of a revocation that is made now."""
        return sign({"at": self.now_ms, "id": "1", **revocation})

    def test_who_logged_in_again_after_it_stays(self) -> None:
        before = self.page(log_in(self.user)[1])
        self.now_ms += 60_000
        late = self.late(user=str(self.user.pk))
        self.now_ms += MARGIN_MS + 1
        after = self.page(log_in(self.user)[1])
        self.now_ms += 60_000
        self.clients.take(late)
        self.assertEqual((before.code, after.code), (4401, None))
        self.assertEqual(self.clients.closed_total, 1)

    def test_around_its_time_the_session_is_checked_again(self) -> None:
        """The times are those of two clocks."""
        before = self.page(log_in(self.user)[1])
        late = self.late(user=str(self.user.pk))
        self.now_ms += MARGIN_MS
        after = self.page(log_in(self.user)[1])
        self.clients.take(late)
        self.assertEqual((before.code, after.code), (1012, 1012))
        self.assertEqual(self.clients._users, {})

    def test_a_prompt_one_concerns_all_clients(self) -> None:
        """Whatever the clocks say: the order of arrival counts, as for a single node."""
        for shift in (0, -PROMPT_MS, 60_000):
            page = self.page(log_in(self.user)[1])
            self.clients.take(
                sign({"user": str(self.user.pk), "at": self.now_ms + shift, "id": str(shift)})
            )
            self.assertEqual(page.code, 4401)

    def test_a_late_change_of_the_password(self) -> None:
        """The user has changed the password twice, and logged in with the last one."""
        late = self.late(user=str(self.user.pk), hash=digest("another password"))
        self.now_ms += 60_000
        page = self.page(log_in(self.user)[1])
        self.clients.take(late)
        self.assertIsNone(page.code)

    def test_a_late_logout_closes_its_session_alone(self) -> None:
        keys = [log_in(self.user)[1] for _ in range(2)]
        late = self.late(session=digest(keys[0]))
        self.now_ms += 3_600_000
        first, second = map(self.page, keys)
        self.clients.take(late)
        self.assertEqual((first.code, second.code), (4401, None))

    def test_while_a_session_is_loaded(self) -> None:
        late = self.late(user=str(self.user.pk))
        request_before = request_of(log_in(self.user)[1])
        self.now_ms += 60_000
        request_after = request_of(log_in(self.user)[1])
        self.clients.take(late)
        self.assertEqual(Page(self.clients, request_before).code, 1012)
        self.assertIsNone(Page(self.clients, request_after).code)

    def test_each_is_taken_once(self) -> None:
        """It arrives twice, and the user may have logged in between."""
        message = self.late(user=str(self.user.pk))
        self.clients.take(message)
        page = self.page(log_in(self.user)[1])
        self.clients.take(message)
        self.assertIsNone(page.code)
        self.assertEqual(self.clients.revocations, 1)

    def test_few_are_remembered(self) -> None:
        self.patch(revocable_clients, "REMEMBERED", 3)
        for number in range(5):
            self.clients.take(self.late(user="no", id=str(number)))
        self.assertEqual(len(self.clients._taken), 3)

    def test_one_of_an_older_version(self) -> None:
        """A process that was not restarted yet sends neither a time nor an ID."""
        for _ in range(2):
            page = self.page(log_in(self.user)[1])
            self.clients.take(sign({"user": str(self.user.pk)}))
            self.assertEqual(page.code, 4401)


class LostTests(RevocationTestCase):
    """A node was cut off for longer than revocations are retained."""

    def setUp(self) -> None:
        super().setUp()
        self.turns: list[Callable[[], None]] = []
        self.clients.next_turn = self.turns.append

    def turn(self) -> None:
        turns, self.turns[:] = self.turns[:], []
        for call in turns:
            call()

    def test_clients_with_a_session_reconnect(self) -> None:
        pages = [self.page(log_in(new_user())[1]), self.page(guest()[1])]
        anonymous = self.page("no such session")
        self.clients.lost()
        self.turn()
        self.assertEqual([page.code for page in (*pages, anonymous)], [1012, 1012, None])
        self.assertEqual((self.turns, self.clients.closed_total), ([], 2))
        self.assert_nothing_kept()

    def test_who_is_being_accepted_reconnects(self) -> None:
        user = new_user()
        request = request_of(log_in(user)[1])
        revoke(user=-1)
        self.clients.lost()
        self.assertEqual(Page(self.clients, request).code, 1012)
        self.assertIsNone(self.page(log_in(user)[1]).code)

    def test_many_clients_take_several_turns(self) -> None:
        self.patch(revocable_clients, "CLOSED_AT_ONCE", 2)
        user = new_user()
        _, key = log_in(user)
        pages = [self.page(key) for _ in range(5)]
        self.clients.lost()
        self.assertEqual(sum(page.code == 1012 for page in pages), 2)
        left = next(page for page in pages if page.code is None)
        left.leave()
        late = self.page(key)
        for _ in range(3):
            self.turn()
        self.assertEqual(sum(page.code == 1012 for page in pages), 4)
        self.assertEqual((left.code, late.code, self.turns), (None, None, []))

    def test_in_an_event_loop(self) -> None:
        page = self.page(guest()[1])

        async def run() -> None:
            RevocableClients().next_turn(self.clients.lost)
            await asyncio.sleep(0)

        asyncio.run(run())
        self.assertEqual(page.code, 1012)


class RevokeTests(RevocationTestCase):
    """What revoke takes."""

    def test_nobody(self) -> None:
        self.assertIn("needs user=", str(self.assertRaises(TypeError, revoke)))
        self.assertRaises(TypeError, revoke, user=None, session_key=None)

    def test_a_name(self) -> None:
        error = self.assertRaises(TypeError, revoke, user="bob")
        self.assertIn("a primary key of User, not 'bob'", str(error))
        self.assertEqual(self.sent, [])

    def test_who_was_never_saved(self) -> None:
        from django.contrib.auth.models import AnonymousUser  # models want settings first

        for user in (get_user_model()(username="new"), AnonymousUser()):
            error = self.assertRaises(ValueError, revoke, user=user)
            self.assertIn("has no primary key", str(error))

    def test_primary_keys(self) -> None:
        user = new_user()
        for one in (user, user.pk, str(user.pk)):
            revoke(user=one)
        published = [signing.loads(message, salt="c10k.revocation") for message in self.sent]
        self.assertEqual([each["user"] for each in published], [str(user.pk)] * 3)
        self.assertEqual({*map(len, published)}, {3})
        self.assertEqual(len({each["id"] for each in published}), 3)


class PublishTests(SynchronousTestCase):
    """Saving a user must work with and without a cluster."""

    def setUp(self) -> None:
        load_database()

    def test_through_the_node(self) -> None:
        node = RecordingNode()
        self.patch(topics, "node", node)
        user = new_user()
        self.assertEqual(node.pubsub.published, [])
        user.delete()
        now, retained = node.pubsub.published
        self.assertEqual(now, (revocations.TOPIC, retained[1]))
        self.assertEqual(retained[2:], (revocations.HISTORY, revocations.LIFETIME_S * 1000, None))

    def test_without_a_cluster(self) -> None:
        """Saving a user must neither fail nor warn when no cluster is running."""

        class NoCluster:
            def publish(self, *_: object) -> None:
                raise NotRunning("no cluster")

            check = publish_later = publish

        self.patch(topics, "node", None)
        with backends.installed(NoCluster()), SimpleTestCase().assertNoLogs("cluster.django"):
            new_user().delete()
            with transaction.atomic():
                new_user().delete()

    def test_machines_that_cannot_be_reached_are_logged(self) -> None:
        """They may be cut off, and have clients."""

        class NobodyConnected:
            def publish(self, *_: object) -> None:
                raise NotRunning("no machine of this site is connected to Redis at redis://a:1/0")

            def publish_later(self, publication: object, done: Callable[[Any], None]) -> None:
                done(NotRunning("no machine of this site is connected"))

            check = publish

        logged: list[str] = []
        self.patch(topics, "node", None)
        self.patch(revocations, "is_bus_named", lambda: True)
        self.patch(
            revocations,
            "_log_unreached",
            lambda key, text, **fields: logged.append(text.format(**fields)),
        )
        with backends.installed(NobodyConnected()):
            revoke(user=-1)
            with transaction.atomic():
                revoke(user=-1)
        where = "a revocation reached no machine: no machine of this site is connected"
        self.assertEqual(logged, [f"{where} to Redis at redis://a:1/0", where, where])

    def test_an_answer_that_comes_later_is_logged(self) -> None:
        class Refusing:
            def publish_later(self, publication: object, done: Callable[[Any], None]) -> None:
                done((1, 1))
                done(NotPublished("too much"))

            check = publish = publish_later

        self.patch(topics, "node", None)
        with backends.installed(Refusing()), transaction.atomic():
            revoke(user=-1)
        self.assertEqual(len(self.flushLoggedErrors(NotPublished)), 2)

    def test_a_cluster_that_fails_is_logged(self) -> None:
        def fail(*args: Any, **kwargs: Any) -> None:
            raise OSError("no")

        node = RecordingNode()
        self.patch(topics, "node", node)
        self.patch(node.pubsub, "publish", fail)
        new_user().delete()
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertEqual(len(node.pubsub.published), 1, "the one with history")
        self.patch(node.pubsub, "publish_retained", fail)
        with transaction.atomic():
            new_user().delete()
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 2)
