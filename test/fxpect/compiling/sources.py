"""Modules from a string of source: what dynamo does with a function depends on the file it stands in."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from fxpect.errors import FxpectError


@contextlib.contextmanager
def source_module(source: str, name: str, folder: str | Path | None = None) -> Iterator[ModuleType]:
    """Write ``source`` to a file, import it as ``name``, and forget it behind the ``with``.

    The file is ``folder/name.py``, in a folder of its own where none is given. What stood under the name before is
    there again afterwards. Raises ``FxpectError`` for a name that is no identifier, and what the source raises.
    """
    if not name.isidentifier():
        raise FxpectError(f"expected name= to be an identifier; got {name!r}")
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()) if folder is None else folder) / f"{name}.py"
        place.write_text(source, encoding="utf-8")
        specification = importlib.util.spec_from_file_location(name, place)
        assert specification is not None and specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        before = sys.modules.get(name)
        sys.modules[name] = module
        try:
            specification.loader.exec_module(module)
            yield module
        finally:
            del sys.modules[name]
            if before is not None:
                sys.modules[name] = before
