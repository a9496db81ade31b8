"""Compiled code that is saved, loaded and run again: torch's compile packages, as one round trip."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

import torch
import torch._dynamo
from torch._C._dynamo.eval_frame import _reset_precompile_entries
from torch._dynamo.package import CompilePackage, DynamoStore, InMemoryDynamoStore
from torch._dynamo.precompile_context import PrecompileContext

from fxpect.compiling.backends import RecordingBackend

_KEY = "fxpect"


class SavedPackage:
    """What was compiled for one function, in a store; ``save_package`` makes one.

    ``backend`` has the graphs that were compiled, ``store`` is torch's, ``entry`` what dynamo wrote down.
    """

    def __init__(self, function: Callable[..., Any], backend: RecordingBackend, store: DynamoStore, entry: Any):
        self.function, self.backend, self.store, self.entry = function, backend, store, entry

    def load(self, function: Callable[..., Any] | None = None) -> LoadedPackage:
        """Reset dynamo and load the package for ``function`` (default: the one it was saved from).

        Raises torch's ``RuntimeError`` where the source, the Python or the torch is another one.
        """
        torch._dynamo.reset()
        function = self.function if function is None else function
        package, backends = self.store.load_package(function, _KEY)
        return LoadedPackage(function, package, backends)


class LoadedPackage:
    """A package that was loaded: called, it runs what was saved, and never compiles.

        loaded = saved.load()
        with loaded:                # in place inside of the with alone: a reset of dynamo leaves it there
            loaded(x)

    ``backends`` holds the saved graphs. A call that no saved graph fits, as any call outside of the with, raises
    torch's ``RuntimeError`` "Detected recompile".
    """

    def __init__(self, function: Callable[..., Any], package: CompilePackage, backends: dict[Any, Any]):
        self.package, self.backends = package, backends
        self._compiled = _compiled(function, RecordingBackend(), package, None)

    def __enter__(self) -> LoadedPackage:
        self.package.install(self.backends)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        # Not package.uninstall(): that leaves the functions which the saved one called as they are, and in torch 2.13
        # raises KeyError for globals that dynamo has removed itself. The globals that are left are never called.
        for code in self.package._codes:
            _reset_precompile_entries(code)
        torch._dynamo.reset()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run what was saved."""
        with torch.compiler.set_stance("fail_on_recompile"):
            return self._compiled(*args, **kwargs)


def save_package(function: Callable[..., Any], *calls: tuple, dynamic: bool | None = None,
                 backend: RecordingBackend | None = None, store: DynamoStore | None = None) -> SavedPackage:
    """Compile ``function`` with calls, each a tuple of arguments, and save all that this compiled.

    The function has to be found by its name in its module, as pickle asks too. Guards on modules and other
    globals are left out, as torch does where it saves code itself. Raises what a call raises, and torch's
    ``PackageError`` for guards that cannot be saved.
    """
    backend, store = backend or RecordingBackend(), store or InMemoryDynamoStore()
    torch._dynamo.reset()
    PrecompileContext.clear()
    package = CompilePackage(function)
    with torch._dynamo.config.patch(strict_precompile=True):
        compiled = _compiled(function, backend, package, dynamic)
        for args in calls:
            compiled(*args)
    for name, graph in package.cached_backends.items():
        store.record_eager_backend(name, graph)
    store.save_package(package, _KEY)
    return SavedPackage(function, backend, store, package.cache_entry())


def _compiled(function: Callable[..., Any], backend: RecordingBackend, package: CompilePackage,
              dynamic: bool | None) -> Callable[..., Any]:
    return torch._dynamo.optimize(backend, package=package, dynamic=dynamic,
                                  guard_filter_fn=torch.compiler.skip_guard_on_globals_unsafe)(function)
