"""Have the API pages find ``cluster.publish`` where it is defined (mkdocs.yml names this file).

The package imports its public names when they are used, which a reader of its source does not
see. What it has in ``_PUBLIC`` becomes an alias of the definition.
"""

import ast
from typing import Any

import griffe


class PublicNames(griffe.Extension):
    """Adds the aliases once the package is loaded."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Add them."""
        if pkg.name != "cluster":
            return
        for name, module in ast.literal_eval(str(pkg["_PUBLIC"].value)).items():
            pkg.set_member(name, griffe.Alias(name, f"{module}.{name}"))
