"""The keys of a broker and its nodes: their files."""

import os
import stat
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import ConfigurationError
from cluster.net.bus_keys import BusKeys, make_keys


class KeyFilesTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name, "keys")

    def assert_refused(self, because: str, role: str = "node") -> None:
        error = self.assertRaises(ConfigurationError, BusKeys.load, str(self.folder), role)
        self.assertIn(because, str(error))

    def test_each_side_accepts_the_other_ones_key(self) -> None:
        self.addCleanup(os.umask, os.umask(0))
        paths = make_keys(str(self.folder))
        self.assertEqual(sorted(paths), sorted(map(str, self.folder.iterdir())))
        self.assertEqual({stat.S_IMODE(os.stat(path).st_mode) for path in paths}, {0o600})
        self.assertEqual(stat.S_IMODE(self.folder.stat().st_mode), 0o700)
        broker, node = (BusKeys.load(str(self.folder), role) for role in ("broker", "node"))
        self.assertEqual((broker.accepted, node.accepted), (node.public, broker.public))
        self.assertNotEqual(broker.secret, node.secret)
        self.assertNotIn(node.secret.decode(), repr(node))

    def test_a_node_needs_neither_the_brokers_secret_nor_its_own_public_key(self) -> None:
        make_keys(str(self.folder))
        for name in ("broker.key_secret", "node.key"):
            (self.folder / name).unlink()
        BusKeys.load(str(self.folder), "node")
        self.assert_refused("cannot read the key", "broker")

    def test_existing_files_are_not_overwritten(self) -> None:
        self.folder.mkdir()
        (self.folder / "node.key").write_text("mine")
        error = self.assertRaises(ConfigurationError, make_keys, str(self.folder))
        self.assertIn(f"{self.folder}/node.key exists already", str(error))
        self.assertEqual([path.name for path in self.folder.iterdir()], ["node.key"])
        self.assertEqual((self.folder / "node.key").read_text(), "mine")

    def test_a_folder_that_cannot_be_made(self) -> None:
        self.folder.write_text("")
        error = self.assertRaises(ConfigurationError, make_keys, str(self.folder))
        self.assertIn(f"cannot write {self.folder}", str(error))

    def test_a_secret_that_others_can_read_is_refused(self) -> None:
        make_keys(str(self.folder))
        (self.folder / "node.key_secret").chmod(0o640)
        self.assert_refused("no other user may read it (chmod 600)")

    def test_a_secret_of_another_user_is_refused(self) -> None:
        make_keys(str(self.folder))
        self.patch(os, "geteuid", lambda: 4711)
        if os.getuid() == 0:  # root's files are accepted
            os.chown(self.folder / "node.key_secret", 4712, -1)
        self.assert_refused("must belong to this user")

    def test_files_that_are_no_keys_are_refused(self) -> None:
        make_keys(str(self.folder))
        public, secret = self.folder / "broker.key", self.folder / "node.key_secret"
        for text in ("", 'curve\n    public-key = "short"\n', "\xff"):
            public.write_text(text)
            self.assert_refused(f"{public} is no key")
        public.unlink()
        self.assert_refused(f"cannot read the key {public}: No such file")
        text = secret.read_text()
        secret.write_text(text[: text.index("    secret-key")])
        public.write_text(text)
        self.assert_refused(f"{secret} has no secret key")
        secret.unlink()
        self.assert_refused(f"cannot read the key {secret}: No such file")
