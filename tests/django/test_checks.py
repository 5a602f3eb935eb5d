"""System checks of a site."""

import importlib.util
import os
import resource
from typing import Any

from django.apps import apps
from django.core import checks as django_checks
from django.test import override_settings
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.machines.engine import EngineUnusable
from cluster.django.system_checks import bus_checks, deploy_checks, site_checks
from cluster.uplink import probe
from cluster.uplink.server import Server
from cluster.uplink.url import BusUrl
from tests.django.site import load_site


class ChecksTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        load_site()

    def run_check(self, check: Any, **settings: Any) -> list[str]:
        """The ids of the messages, each of which has a hint."""
        with override_settings(**settings):
            found = check()
        for message in found:
            self.assertTrue(message.hint, message)
        self.found = " ".join(str(message) for message in found)
        return [message.id.removeprefix("c10k.") for message in found]


class SettingTests(ChecksTestCase):
    def test_errors_of_the_setting(self) -> None:
        wrong = {"PING_INTERVALL": 5, "WSGI_THREADS": 0}
        self.assertEqual(self.run_check(site_checks.check_setting, C10K=wrong), ["E001", "E001"])
        self.assertIn("PING_INTERVALL", self.found)
        self.assertEqual(self.run_check(site_checks.check_setting, C10K={}), [])

    def test_the_permission_function_of_audiences(self) -> None:
        for path, expected in (
            (None, []),
            ("django_project.audiences.permission.allowed", []),
            ("django_project.audiences.permission.alowed", ["E002"]),
            ("django_project.audiences.KEPT", ["E002"]),
            ("allowed", ["E002"]),
            ("django_project.settings.DEBUG", ["E002"]),
        ):
            found = self.run_check(site_checks.check_permission, C10K={"AUDIENCE_PERMISSION": path})
            self.assertEqual(expected, found, path)
        self.assertEqual([], self.run_check(site_checks.check_permission, C10K="no dict"))

    def test_order_of_applications(self) -> None:
        class Config:
            def __init__(self, name: str) -> None:
                self.name = name

        names = ["django.contrib.staticfiles", "cluster.django"]
        self.patch(apps, "get_app_configs", lambda: map(Config, names))
        self.assertEqual(site_checks.check_application_order()[0].id, "c10k.W001")
        names.reverse()
        self.assertEqual(site_checks.check_application_order(), [])
        names.pop()
        self.assertEqual(site_checks.check_application_order(), [])

    def test_django_runs_them(self) -> None:
        with override_settings(C10K={"UNKNOWN": 1, "PROXY_TIMEOUT": 30}):
            found = {message.id for message in django_checks.run_checks()}
            deploying = {
                message.id for message in django_checks.run_checks(include_deployment_checks=True)
            }
        self.assertIn("c10k.E001", found)
        self.assertNotIn("c10k.W010", found)
        self.assertIn("c10k.W010", deploying)


class Connection:
    """A database that answers like PostgreSQL, or raises ``error``."""

    vendor = "postgresql"

    def __init__(self, grants: int, reserved: int = 3, **options: Any) -> None:
        self.rows = [("max_connections", str(grants)), ("reserved_connections", str(reserved))]
        self.settings_dict = {"OPTIONS": options}
        self.error: Exception | None = None
        self.closed = False

    def cursor(self) -> "Connection":
        if self.error is not None:
            raise self.error
        return self

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def execute(self, query: str) -> None:
        assert "max_connections" in query

    def fetchall(self) -> list[tuple[str, str]]:
        return self.rows

    def close(self) -> None:
        self.closed = True


class DeployTests(ChecksTestCase):
    def test_pings_and_the_proxys_timeout(self) -> None:
        for timeout, interval, found in (
            (None, 1000, []),
            (60, 20, []),
            (40, 20, []),
            (39, 20, ["W002"]),
            (29, 10, ["W002"]),
            (29, 20, ["W002", "W002"]),
        ):
            ours = {"PROXY_TIMEOUT": timeout, "PING_INTERVAL": interval, "PROXY_HEADERS": ["::1"]}
            self.assertEqual(self.run_check(deploy_checks.check_proxy, C10K=ours), found, ours)
        often = {"PROXY_TIMEOUT": 29, "PING_INTERVAL": 10, "PROXY_HEADERS": ["::1"]}
        often["STREAM_HEARTBEAT"] = 14.5
        self.assertEqual(self.run_check(deploy_checks.check_proxy, C10K=often), [])
        self.assertEqual(
            self.run_check(deploy_checks.check_proxy, C10K={"PROXY_TIMEOUT": 60}), ["W003"]
        )

    def test_connections_to_the_database(self) -> None:
        ours = {"NODES": 4, "WSGI_THREADS": 10, "DATABASE_THREADS": 13}  # and one
        for connection, found in (
            (Connection(99), []),
            (Connection(98), ["W004"]),
            (Connection(12, pool={"max_size": 2}), []),
            (Connection(10, pool={"max_size": 2}), ["W004"]),
            (Connection(19, pool=True), []),
            (Connection(18, pool=True), ["W004"]),
        ):
            self.patch_connections(connection)
            self.assertEqual(self.run_check(deploy_checks.check_database, C10K=ours), found)
            self.assertTrue(connection.closed)

    def test_a_database_that_does_not_answer(self) -> None:
        connection = Connection(100)
        connection.error = OSError("connection refused")
        self.patch_connections(connection)
        self.assertEqual(self.run_check(deploy_checks.check_database, C10K={}), ["W004"])
        self.assertIn("connection refused", self.found)

    def test_other_databases_have_no_limit(self) -> None:
        self.assertEqual(self.run_check(deploy_checks.check_database, C10K={"NODES": 200}), [])

    def patch_connections(self, connection: Connection) -> None:
        from django import db

        self.patch(db, "connections", {"default": connection})

    def test_hosts(self) -> None:
        check = deploy_checks.check_hosts
        self.assertEqual(self.run_check(check, ALLOWED_HOSTS=["a.example"]), [])
        self.assertEqual(self.run_check(check, ALLOWED_HOSTS=["a.example", "*"]), ["W005"])
        self.assertEqual(self.run_check(check, ALLOWED_HOSTS=[]), ["W005"])

    def test_invalid_origins(self) -> None:
        for origin in (
            "*", "app.example.com", "https://", "https://a.example/", "https://*.a.example",
            "https://a.example:port", "null",
        ):  # fmt: skip
            ours = {"ALLOWED_ORIGINS": [origin]}
            self.assertEqual(self.run_check(deploy_checks.check_origins, C10K=ours), ["W006"])
        ours = {"ALLOWED_ORIGINS": ["https://a.example", "http://a.example:8080", "http://[::1]"]}
        self.assertEqual(self.run_check(deploy_checks.check_origins, C10K=ours), [])

    def test_origins_that_may_post_but_not_connect(self) -> None:
        trusted = ["https://a.example", "https://www.b.example", "https://*.c.example"]
        found = self.run_check(
            deploy_checks.check_origins,
            C10K={"ALLOWED_ORIGINS": []},
            CSRF_TRUSTED_ORIGINS=trusted,
            ALLOWED_HOSTS=[".b.example"],
        )
        self.assertEqual(found, ["W007"])
        self.assertIn("Pages of https://a.example may post", self.found)
        allowed = {"ALLOWED_ORIGINS": ["https://a.example"]}
        self.assertEqual(
            self.run_check(
                deploy_checks.check_origins,
                C10K=allowed,
                CSRF_TRUSTED_ORIGINS=trusted[:1],
            ),
            [],
        )

    def test_descriptors(self) -> None:
        for limit, ours, found in (
            (1024, {"NODES": 4}, ["W008"]),
            (2600, {"NODES": 4}, []),
            (1024, {"NODES": 4, "MAX_CONNECTIONS": 900}, []),
            (1024, {"NODES": 4, "MAX_CONNECTIONS": 1000}, ["W008"]),
            (resource.RLIM_INFINITY, {"NODES": 1}, []),
        ):
            self.patch(resource, "getrlimit", lambda _, limit=limit: (100, limit))
            self.assertEqual(self.run_check(deploy_checks.check_descriptors, C10K=ours), found)

    def test_sizes(self) -> None:
        check = deploy_checks.check_sizes
        self.assertEqual(self.run_check(check, C10K={}), [])
        ours = {"MAX_MESSAGE_SIZE": 1 << 30, "MAX_REQUEST_BODY": 1 << 40}
        found = self.run_check(check, C10K=ours, DATA_UPLOAD_MAX_MEMORY_SIZE=None)
        self.assertEqual(found, ["W009"] * 3)
        self.assertIn("DATA_UPLOAD_MAX_MEMORY_SIZE is None", self.found)

    def test_limits_of_one_client(self) -> None:
        check = deploy_checks.check_client_limits
        self.assertEqual(self.run_check(check, C10K={"MESSAGE_RATE": 50}), [])
        neither = {"MESSAGE_RATE": None, "MAX_CONNECTIONS_PER_CLIENT": None}
        self.assertEqual(self.run_check(check, C10K=neither), ["W010"] * 2)

    def test_sessions_in_a_cache_of_one_process(self) -> None:
        memory = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
        redis = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache"}}
        engines = "django.contrib.sessions.backends."
        for engine, caches, found in (
            ("cache", memory, ["W011"]),
            ("cache", redis, []),
            ("cached_db", memory, ["W011"]),
            ("cached_db", redis, []),
            ("db", memory, []),
        ):
            settings = {"SESSION_ENGINE": engines + engine, "CACHES": caches}
            self.assertEqual(self.run_check(deploy_checks.check_sessions, **settings), found)

    def test_an_invalid_setting_is_reported_by_its_own_check_alone(self) -> None:
        for check in deploy_checks.DEPLOY_CHECKS:
            if check is not deploy_checks.check_database:
                self.run_check(check, C10K={"NODES": "four"})


class BusTests(ChecksTestCase):
    """A site of several machines."""

    def setUp(self) -> None:
        super().setUp()
        self.server = Server("7.0.15", "run", ())
        self.error: Exception | None = None
        self.asked: list[str] = []

        async def ask(url: BusUrl) -> Server:
            self.asked.append(str(url))
            if self.error is not None:
                raise self.error
            return self.server

        self.patch(probe, "ask_server", ask)
        self.patch(os, "environ", {"PATH": ""})

    def check_bus(self, url: str | None) -> list[str]:
        return self.run_check(bus_checks.check_bus, C10K={"BUS": url})

    def test_a_site_on_one_machine(self) -> None:
        for bus in (None, "zmq+ipc", "zmq+tcp://10.0.0.1:7000"):
            self.assertEqual(self.check_bus(bus), [])
        self.assertEqual(self.run_check(bus_checks.check_bus, C10K={"BUS": 5}), [])
        self.assertEqual(self.asked, [])

    def test_secrecy(self) -> None:
        for url, found in (
            ("redis://:swordfish@127.0.0.1", []),
            ("redis://:swordfish@localhost", []),
            ("redis://127.0.0.1", ["W013"]),
            ("unix:///run/redis.sock", []),
            ("redis://:swordfish@10.0.0.1", ["W013"]),
            ("redis://redis.example.com", ["W013", "W013"]),
            ("rediss://:swordfish@redis.example.com", []),
            ("rediss://redis.example.com", ["W013"]),
            ("redis+sentinel://:swordfish@10.0.0.1,127.0.0.1/m", ["W013"]),
        ):
            self.assertEqual(self.check_bus(url), found, url)
            self.assertNotIn("swordfish", self.found)

    def test_the_environment_comes_first(self) -> None:
        os.environ["C10K_BUS"] = "redis://:swordfish@10.0.0.1"
        self.assertEqual(self.check_bus("redis://:swordfish@127.0.0.1"), ["W013"])
        self.assertIn("C10K_BUS", self.found)

    def test_a_url_that_is_invalid(self) -> None:
        self.assertEqual(self.check_bus("nats://swordfish@a"), ["W014"])
        self.assertNotIn("swordfish", self.found)
        self.assertEqual(self.asked, [])

    def test_a_server_that_cannot_be_used(self) -> None:
        self.error = EngineUnusable("Redis 6.2 is too old")
        self.assertEqual(self.check_bus("unix:///run/redis.sock"), ["W014"])
        self.assertIn("Redis 6.2 is too old", self.found)

    def test_what_the_server_warns_of(self) -> None:
        self.server = Server("7.0.15", "run", ("maxmemory-policy is allkeys-lru", "replicas"))
        self.assertEqual(self.check_bus("unix:///run/redis.sock"), ["W014", "W014"])

    def test_redis_py_is_needed(self) -> None:
        self.patch(importlib.util, "find_spec", lambda name: None)
        self.assertEqual(self.check_bus("unix:///run/redis.sock"), ["W014"])
        self.assertIn("django-c10k[redis]", self.found)

    def test_a_database_of_each_machine(self) -> None:
        sqlite = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
        check = bus_checks.check_shared_database
        from django.conf import settings

        self.patch(settings, "DATABASES", sqlite)
        self.assertEqual(self.run_check(check, C10K={}), [])
        self.assertEqual(self.run_check(check, C10K={"BUS": "redis://127.0.0.1"}), ["W015"])
        self.patch(settings, "DATABASES", {"default": {"ENGINE": "django.db.backends.postgresql"}})
        self.assertEqual(self.run_check(check, C10K={"BUS": "redis://127.0.0.1"}), [])
