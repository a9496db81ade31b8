"""Look a pass up by name: what it does, how it is called, and models that make it fire."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.metadata
import inspect
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

import torch
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from fxpect.contracts import Contract, contract_of
from fxpect.errors import FxpectError

STAGES = ("pre_grad", "joint", "post_grad", "freezing", "fx", "export")
WRITES = ("graph", "order", "names", "types")
ENTRY_POINTS = "fxpect.passes"


@dataclasses.dataclass(frozen=True)
class Innocent:
    """An ordinary model on which the pass fires and is right: where exploration starts.

    ``inputs`` are specs; ``dynamic`` is given to ``capture`` as it is. ``capture`` overrides the one of
    the pass, ``torch`` is a version condition such as ">=2.15".
    """

    name: str
    model: Any
    inputs: tuple[Any, ...]
    dynamic: Any = None
    capture: str = ""
    torch: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Recipe:
    """How a pass is called: a function of (graph module, ...) that needs torch alone, and its settings.

    Calling the recipe returns the pass. ``source()`` is the same as text, for a stand-alone script, so
    ``function`` imports what it uses in its own body. ``home`` is the torch module that holds the pass.
    """

    function: Callable[..., Any]
    home: str
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __call__(self) -> Callable[..., Any]:
        """Return the pass."""

        def the_pass(*args: Any) -> Any:
            return self.function(*args, **self.settings)

        the_pass.__name__ = the_pass.__qualname__ = self.function.__name__
        the_pass.__doc__ = self.function.__doc__
        # What unwraps the pass to learn where it was written, as the report of a crash does, must find torch.
        vars(the_pass).update(__signature__=inspect.signature(self.function), __fxpect_script__=self.source,
                              __wrapped__=_a_function_of(self.home) or self.function)
        return the_pass

    def source(self) -> str:
        """Return a script part that imports torch alone and defines ``the_pass``."""
        body = textwrap.dedent(inspect.getsource(self.function))
        settings = "".join(f", {name}={value!r}" for name, value in self.settings.items())
        return (f"import torch\n\n\n{body}\n\n"
                f"def the_pass(*args):\n    return {self.function.__name__}(*args{settings})\n")


def recipe(function: Callable[..., Any], home: str, /, **settings: Any) -> Recipe:
    """Return the recipe that calls ``function`` with these settings, whose ``repr`` must be Python.

    ``home`` is a module of Inductor's ``fx_passes``, or a dotted path below torch.
    """
    return Recipe(function, f"torch.{home}" if "." in home else f"torch._inductor.fx_passes.{home}", settings)


def _a_function_of(module: str) -> Callable[..., Any] | None:
    """Return any function that was written in the module of that name; None where there is none."""
    try:
        members = list(vars(importlib.import_module(module)).values())
    except ImportError:
        return None
    members += [method for member in members if inspect.isclass(member) for method in vars(member).values()]
    functions = (inspect.unwrap(member) for member in members if callable(member))
    return next((f for f in functions if inspect.isfunction(f) and f.__module__ == module), None)


@dataclasses.dataclass(frozen=True, eq=False)
class CataloguedPass:
    """A pass, the stage it belongs to, and what an honest test of it must know.

    ``make()`` returns the callable, of the form that ``kind`` names (``fxpect.as_pass`` lists them).
    ``capture`` names the graph it is given, ``frozen`` asks for parameters as ``get_attr`` constants.
    ``after`` names the passes that run first inside the callable, as they do in production: a finding
    that one of them shows alone is theirs.

    What the stage promises and what it forgives:
    ``functional``: the pass may rely on a graph that mutates nothing (but inputs, last of all).
    ``inference``: it may rely on modules in evaluation mode and on gradients not being asked for.
    ``numpy_names``: it is given ``axis=`` for ``dim=`` and its like, which Inductor renames first of all.
    ``idempotent``: a second run changes nothing. ``dead_nodes_ok``: the stage removes dead nodes later,
    so texts are compared without them. ``off`` names oracles that cannot judge this pass. ``why`` gives
    the reason. ``writes`` says what a firing pass changes: "graph", or only the "order" of independent
    nodes, their "names", or their "types" (``node.type``). ``dormant`` are the models that it rewrites on another
    torch alone, which the catalogue fills in: it may go wrong next to them all the same. ``examples`` is how many a
    check judges unless it is told, for a pass so slow that the usual number takes more than two minutes.
    """

    name: str
    stage: str
    capture: str
    does: str
    make: Callable[[], Callable[..., Any]]
    models: tuple[Innocent, ...]
    options: str = ""
    kind: str = "module"
    torch: str = ""
    frozen: bool = False
    after: tuple[str, ...] = ()
    functional: bool = False
    inference: bool = False
    numpy_names: bool = False
    idempotent: bool = True
    dead_nodes_ok: bool = False
    off: tuple[str, ...] = ()
    why: str = ""
    writes: str = "graph"
    dormant: tuple[Innocent, ...] = ()
    examples: int | None = None

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise FxpectError(f"pass {self.name}: stage is one of {', '.join(STAGES)}, not {self.stage!r}")
        if self.writes not in WRITES:
            raise FxpectError(f"pass {self.name}: writes is one of {', '.join(WRITES)}, not {self.writes!r}")
        if not self.models:
            raise FxpectError(f"pass {self.name}: give at least one model that makes it fire")
        if (self.off or not self.idempotent) and not self.why:
            raise FxpectError(f"pass {self.name}: say in why= what excuses it from a check")

    def contract(self, capture: str = "") -> Contract:
        """Return what the graphs that it is given promise: all that those of a capture do, by default its own, and what
        the pass may rely on.
        """
        capture = capture or self.capture
        promised = contract_of(capture)
        narrower: dict[str, Any] = {"inference": True} if self.inference else {}
        # The graph of a functional program says in its signature what to write back, and has no epilogue.
        if self.functional and (promised.writes == "anywhere" or capture.startswith("export")):
            narrower["writes"] = "never"
        if capture == "dynamo" and not self.numpy_names:
            narrower["numpy_names"] = False
        return dataclasses.replace(promised, **narrower)

    @property
    def severity(self) -> dict[str, str]:
        """What the stage forgives, as ``judge`` takes it: the start of a cause -> "off"."""
        # What an oracle cannot judge at the sizes of the example it cannot judge at others.
        at_size = [f"generality:at-size:{cause}" for cause in self.off if not cause.startswith("generality")]
        forgiven = [*self.off, *at_size]
        if self.inference:
            forgiven += ["gradients", "crash:backward"]
        if self.dead_nodes_ok:
            forgiven.append("structure:dead-node")
        if not self.idempotent:
            forgiven += ["stability:not-idempotent", "stability:second-run-crashes"]
        return dict.fromkeys(forgiven, "off")

    def script(self) -> str:
        """Return text that defines ``the_pass`` with torch alone, or a marked line to fill in."""
        if isinstance(self.make, Recipe):
            return self.make.source()
        return f"the_pass = ...  # fill in: the callable that {self.name!r} stands for\n"


_registered: dict[str, CataloguedPass] = {}


def register(entry: CataloguedPass) -> CataloguedPass:
    """Add a pass of your own; raises ``FxpectError`` when the name is taken."""
    if entry.name in _by_name():
        raise FxpectError(f"a pass named {entry.name!r} is in the catalogue already; choose another name")
    _registered[entry.name] = entry
    return entry


def catalogue() -> tuple[CataloguedPass, ...]:
    """Return every pass that the installed torch has, torch's own first, in the order of the stages."""
    return tuple(_by_name().values())


def find(name: str) -> CataloguedPass:
    """Return the pass of that name, or whose last part it is; raises ``FxpectError`` with the near ones."""
    entries = _by_name()
    if name in entries:
        return entries[name]
    ends = [entry for entry in entries.values() if entry.name.rpartition(".")[2] == name]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise FxpectError(f"{name!r} names {len(ends)} passes: {', '.join(entry.name for entry in ends)}")
    import difflib

    near = difflib.get_close_matches(name, [*entries, *(n.rpartition(".")[2] for n in entries)], n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; see: fxpect passes"
    raise FxpectError(f"no pass named {name!r} in the catalogue of torch {torch.__version__}{hint}")


def applies(condition: str) -> bool:
    """Whether the installed torch meets a version condition such as ">=2.15"; an empty one always holds."""
    return SpecifierSet(condition).contains(Version(torch.__version__).base_version)


def _by_name() -> dict[str, CataloguedPass]:
    return {**_shipped(), **_registered}


@functools.cache
def _shipped() -> dict[str, CataloguedPass]:
    """The passes of torch and of installed packages that this torch has, with the models that apply."""
    entries: dict[str, CataloguedPass] = {}
    for stage in STAGES:
        _add(entries, importlib.import_module(f"fxpect.passes.{stage}").passes(), f"fxpect.passes.{stage}")
    for point in sorted(importlib.metadata.entry_points(group=ENTRY_POINTS), key=lambda p: (p.name, p.value)):
        loaded = point.load()
        found = loaded() if callable(loaded) else loaded
        _add(entries, [found] if isinstance(found, CataloguedPass) else found, point.value)
    return entries


def _add(entries: dict[str, CataloguedPass], found: Iterable[CataloguedPass], origin: str) -> None:
    for entry in found:
        if not isinstance(entry, CataloguedPass):
            raise FxpectError(f"{origin}: expected a CataloguedPass, got {entry!r}")
        if entry.name in entries:
            raise FxpectError(f"{origin}: a pass named {entry.name!r} is in the catalogue already")
        models = tuple(model for model in entry.models if applies(model.torch))
        if applies(entry.torch) and models:
            dormant = tuple(model for model in entry.models if model not in models)
            entries[entry.name] = dataclasses.replace(entry, models=models, dormant=dormant)
