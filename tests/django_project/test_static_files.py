"""django_project.static_files: names with hashes, and when the files are written."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.django.site import load_site

load_site()

from django.conf import settings  # noqa: E402
from django.contrib.staticfiles.finders import get_finder  # noqa: E402 - needs the settings
from django.core.handlers.wsgi import WSGIHandler  # noqa: E402
from django.templatetags.static import static  # noqa: E402
from django.test import Client, override_settings  # noqa: E402
from twisted.trial.unittest import SynchronousTestCase  # noqa: E402

from cluster.node.responses.static_files import StaticFiles  # noqa: E402
from django_project import static_files  # noqa: E402


class StaticFilesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.state, self.source = Path(self.mktemp()), Path(self.mktemp())
        self.source.mkdir()
        (self.source / "page.js").write_text('import { a } from "./other.js";\n' * 100)
        (self.source / "other.js").write_text("export const a = 1;\n")

    @contextmanager
    def site(self) -> Iterator[None]:
        root = self.state / "static"
        root.mkdir(parents=True, exist_ok=True)
        with override_settings(
            STATE=self.state,
            STATIC_ROOT=root,
            STATICFILES_DIRS=[*settings.STATICFILES_DIRS, self.source],
        ):
            get_finder.cache_clear()
            try:
                yield
            finally:
                get_finder.cache_clear()

    def test_names_have_hashes_and_files_are_compressed(self) -> None:
        with self.site():
            static_files.prepare()
            url = static("page.js")
            self.assertRegex(url, r"^/static/page\.[0-9a-f]{12}\.js$")
            page = self.state / "static" / url.removeprefix("/static/")
            self.assertRegex(page.read_text(), r'^import { a } from "\./other\.[0-9a-f]{12}\.js";')
            packed = gzip.decompress(page.with_name(page.name + ".gz").read_bytes())
            self.assertEqual(packed, page.read_bytes())

    def test_browsers_keep_names_with_hashes_only(self) -> None:
        with self.site():
            static_files.prepare()
            client = Client(SERVER_NAME="localhost")
            self.assertIn("immutable", client.get(static("page.js"))["Cache-Control"])
            self.assertEqual(client.get("/static/page.js")["Cache-Control"], "max-age=60, public")
            self.assertGreater(len(StaticFiles(WSGIHandler())), 4)

    def test_files_are_written_when_they_have_changed(self) -> None:
        with self.site():
            static_files.prepare()
            before, manifest = static("page.js"), self.state / "static" / "staticfiles.json"
            first = manifest.stat().st_mtime_ns
            static_files.prepare()
            self.assertEqual(manifest.stat().st_mtime_ns, first)
            (self.source / "page.js").write_text("changed\n")
        with self.site():
            static_files.prepare()
            self.assertNotEqual(static("page.js"), before)
            self.assertTrue((self.state / "static" / before.removeprefix("/static/")).is_file())

    def test_without_a_manifest_names_are_plain(self) -> None:
        with self.site():
            self.assertEqual(static("page.js"), "/static/page.js")
