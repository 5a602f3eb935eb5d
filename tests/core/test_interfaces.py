"""The Protocols between the floors."""

import inspect

from twisted.trial.unittest import SynchronousTestCase

from cluster.core import interfaces


class InterfacesTests(SynchronousTestCase):
    def protocols(self) -> dict[str, type]:
        return {
            name: value
            for name, value in vars(interfaces).items()
            if inspect.isclass(value) and value.__module__ == interfaces.__name__
        }

    def test_the_docstring_names_every_protocol(self) -> None:
        self.assertGreater(len(self.protocols()), 1)
        words = set((interfaces.__doc__ or "").replace(",", " ").split())
        self.assertEqual(set(), set(self.protocols()) - words)

    def test_every_method_has_a_docstring(self) -> None:
        """Except properties whose type is another protocol, which has one."""
        silent = [
            f"{name}.{attribute}"
            for name, protocol in self.protocols().items()
            for attribute, value in vars(protocol).items()
            if inspect.isfunction(value) and not attribute.startswith("_") and not value.__doc__
        ]
        self.assertEqual([], silent)
