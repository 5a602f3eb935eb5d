"""Where the packages are. All other metadata is in pyproject.toml.

Twisted finds plugins by looking for ``twisted/plugins/*.py`` in the folders of ``sys.path``. An
installed c10k therefore puts its plugin file next to Twisted's own plugins, and an editable install
must have ``twistd_plugins`` itself on ``sys.path``.
"""

from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.editable_wheel import _StaticPth, editable_wheel

ROOT = Path(__file__).parent.resolve()
PACKAGES = ("cluster", "django_project", "workers")


class EditableWithPlugins(editable_wheel):
    """``pip install -e .`` by a .pth file that names the checkout and its plugin folder.

    The default strategy is an import hook, which Twisted's scan of ``sys.path`` does not see. The
    method and the class used here are private names of setuptools: see the cap in pyproject.toml.
    """

    def _select_strategy(self, name, tag, build_lib):  # type: ignore[no-untyped-def]
        return _StaticPth(self.distribution, name, [ROOT, ROOT / "twistd_plugins"])


setup(
    packages=[
        *find_packages(include=[f"{name}{rest}" for name in PACKAGES for rest in ("", ".*")]),
        "twisted.plugins",
    ],
    package_dir={"twisted.plugins": "twistd_plugins/twisted/plugins"},
    cmdclass={"editable_wheel": EditableWithPlugins},
)
