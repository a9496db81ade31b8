"""The calling conventions of passes, and how to tell which one a pass has.

The rule, first match wins; everything but the last two steps is certain:

1. ``kind=`` given by the caller.
2. The type: a list or tuple, a ``PatternMatcherPass`` or its bound ``apply``, a pass manager, an
   ``fx.Interpreter`` class with ``transform()``, a class to be instantiated, a method of ``Graph``,
   ``GraphModule`` or ``ExportedProgram``.
3. The annotation of the first parameter (a string too), in the class itself or in a base class, then
   the annotation of the result.
4. The name of the first parameter: ``graph``, ``gm``, ``ep`` and their relatives.
5. A GraphModule.

A form that comes from step 4 or 5 is a guess. A guessed pass that asks the object it was given for an
attribute that only another form has (``g.nodes`` on a GraphModule) is started again, on a fresh graph,
with that other form. Nothing else that a pass raises is ever taken as a hint.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch.fx import Graph, GraphModule, Interpreter

from fxpect.errors import PassFormError
from fxpect.execution.signatures import (
    CLASSES,
    KINDS,
    Unbound,
    annotated,
    form_of,
    members,
    named,
    read,
    required,
    spreads,
    unknown,
)

Result = TypeVar("Result")


@dataclasses.dataclass
class Subject:
    """What a pass may be given: a module it may break, a maker of inputs, an exported program or None."""

    gm: GraphModule
    inputs: Callable[[], Sequence[Any]]
    exported: torch.export.ExportedProgram | None = None

    def given(self, kind: str) -> Any:
        """Return the object that a pass of this kind gets as its first argument."""
        if kind == "graph":
            return self.gm.graph
        return self.exported if kind == "program" else self.gm


@dataclasses.dataclass(eq=False)
class Pass:
    """A pass with its calling convention, made by ``as_pass``.

    ``source`` is what the caller gave. ``guessed`` says that ``kind`` may still be corrected by the first
    run. ``parts`` are the members of a list. ``spread``: inputs are passed one by one. ``make`` builds the
    callable anew for each run, ``from_program`` says that it needs the ExportedProgram for that.
    """

    name: str
    kind: str
    source: Any
    parts: tuple[Pass, ...] = ()
    guessed: bool = False
    spread: bool = False
    make: Callable[[Subject], Any] | None = None
    from_program: bool = False
    doubt: tuple[str, Raised] | None = dataclasses.field(default=None, repr=False)

    def invoke(self, subject: Subject) -> Any:
        """Call the pass once and return its raw answer; not for lists, see ``answers.apply``."""
        fn = self.make(subject) if self.make else self.source
        if self.kind == "graph":
            return fn(subject.gm.graph)
        if self.kind == "module-inputs":
            inputs = list(subject.inputs())
            return fn(subject.gm, *inputs) if self.spread else fn(subject.gm, inputs)
        if self.kind == "pattern":
            return getattr(fn, "apply", fn)(subject.gm)
        if self.kind == "program":
            return fn(subject.exported)
        if self.kind == "transformer":
            return fn(subject.gm).transform()
        return fn(subject.gm)

    @property
    def takes_program(self) -> bool:
        """Whether the pass is called with an ExportedProgram."""
        return self.kind == "program" or (self.kind == "list" and self.parts[0].takes_program)

    @property
    def needs_program(self) -> bool:
        """Whether there must be an ExportedProgram: the pass is called with one, or made from one."""
        return self.kind == "program" or self.from_program or any(part.needs_program for part in self.parts)


def as_pass(fn: Any, *, kind: str | None = None, name: str | None = None) -> Pass:
    """Return ``fn`` with its calling convention; the rule is in this module's docstring.

    ``kind`` is one of "graph" (called with a Graph), "module" (GraphModule), "module-inputs" (GraphModule,
    list of example inputs), "pattern" (an object with ``apply``), "program" (ExportedProgram), "manager" (a
    callable pass manager), "list" (one after the other) and "transformer" (a class; ``fn(gm).transform()``).
    Raises ``PassFormError`` when the form cannot be told or is not one of these.
    """
    return detect(fn, kind=kind, name=name)


def detect(fn: Any, *, kind: str | None = None, name: str | None = None, default: str = "module") -> Pass:
    """Do what ``as_pass`` does; ``default`` is the form for a callable that says nothing about itself."""
    if kind is not None and kind not in KINDS:
        raise PassFormError(f"expected kind= one of {', '.join(KINDS)}; got {kind!r}")
    if isinstance(fn, Pass):
        if kind in (None, fn.kind):
            return fn if name is None else dataclasses.replace(fn, name=name)
        return detect(fn.source, kind=kind, name=name or fn.name)
    name = name or _name(fn)
    if kind == "list" or (kind is None and isinstance(fn, (list, tuple))):
        return _from_list(fn, name, default)
    if kind is not None:
        return _from_kind(fn, kind, name)
    _refuse(fn, name)
    if isinstance(fn, type):
        return _from_class(fn, name, default)
    if is_pattern_pass(fn):
        return Pass(name, "pattern", fn)
    if _is_manager(fn):
        return Pass(name, "manager", fn)
    if not callable(fn):
        if callable(getattr(fn, "apply", None)):
            return Pass(name, "pattern", fn)
        raise unknown(name, f"a {type(fn).__name__} is not callable")
    form, guessed, spread = form_of(fn, name, default)
    return Pass(name, form, fn, guessed=guessed, spread=spread)


# What a pass may raise and the run survives. KeyboardInterrupt is the user's, never a finding.
CRASHES = (Exception, SystemExit, GeneratorExit)


class Raised(Exception):
    """A pass raised ``error`` when it was called with ``given``."""

    def __init__(self, pass_: Pass, error: BaseException, given: Any):
        super().__init__(f"{pass_.name} raised {type(error).__name__}")
        self.pass_, self.error, self.given = pass_, error, given


class WrongForm(Exception):
    """A guessed pass asked for an attribute that another form has; the run starts again."""

    def __init__(self, kind: str, raised: Raised):
        super().__init__(f"{raised.pass_.name} is a {kind} pass")
        self.kind, self.raised = kind, raised


def settle(attempt: Callable[[], Result]) -> Result:
    """Call ``attempt``, again from scratch when a guess was wrong; a pass changes its form at most once.

    A pass that fits neither form keeps the first guess, and ``Raised`` tells what it raised there.
    """
    while True:
        try:
            return attempt()
        except WrongForm as wrong:
            pass_ = wrong.raised.pass_
            if pass_.doubt is None:
                pass_.doubt = (pass_.kind, wrong.raised)
                pass_.kind = wrong.kind
                continue
            pass_.kind, first = pass_.doubt
            pass_.guessed = False
            raise first from None


def other_form(error: AttributeError, given: Any) -> str | None:
    """Return the kind that has the attribute which ``given`` lacks, or None for any other error."""
    if error.obj is not given or not isinstance(error.name, str):
        return None
    for kind, cls in CLASSES:
        if not isinstance(given, cls) and hasattr(cls, error.name):
            return kind
    return None


def _name(fn: Any) -> str:
    while isinstance(fn, functools.partial):
        fn = fn.func
    if isinstance(fn, (list, tuple)):
        return "[" + ", ".join(_name(part) for part in fn) + "]"
    if is_pattern_pass(fn):
        owner = getattr(fn, "__self__", fn)
        return owner.pass_name or "pattern_matcher"
    owner = getattr(fn, "__self__", None)
    if inspect.ismethod(fn) and not isinstance(owner, type):
        return type(owner).__name__ + ("" if fn.__name__ == "__call__" else f".{fn.__name__}")
    return getattr(fn, "__name__", None) or type(fn).__name__


def is_pattern_pass(fn: Any) -> bool:
    """Tell Inductor's PatternMatcherPass, or its bound ``apply``, without importing Inductor."""
    inductor = sys.modules.get("torch._inductor.pattern_matcher")
    if inductor is None:
        return False
    if inspect.ismethod(fn) and fn.__name__ == "apply":
        fn = fn.__self__
    return isinstance(fn, inductor.PatternMatcherPass)


def _is_manager(fn: Any) -> bool:
    from torch.fx.passes.infra.pass_manager import PassManager
    from torch.fx.passes.pass_manager import PassManager as PlainManager

    return isinstance(fn, (PassManager, PlainManager))


def _refuse(fn: Any, name: str) -> None:
    if isinstance(fn, Interpreter):
        raise PassFormError(f"{name}: this {type(fn).__name__} is bound to one module already; "
                            f"expected the class itself: {type(fn).__name__}")
    if isinstance(fn, (Graph, torch.nn.Module, torch.export.ExportedProgram)):
        raise PassFormError(f"expected a pass; got a {type(fn).__name__}, which is a model. The pass "
                            "comes first: (pass, model, *inputs). If it is one: as_pass(fn, kind='module')")
    for call in (fn, inspect.unwrap(fn) if callable(fn) else fn, type(fn).__call__ if callable(fn) else fn):
        if inspect.isgeneratorfunction(call) or inspect.iscoroutinefunction(call) \
                or inspect.isasyncgenfunction(call):
            raise PassFormError(f"{name} is a generator function or a coroutine: calling it runs nothing. "
                                "Expected a plain function")


def _from_list(fn: Any, name: str, default: str) -> Pass:
    if not isinstance(fn, (list, tuple)) or not fn:
        raise PassFormError(f"expected a list of one or more passes; got {fn!r}")
    parts = tuple(detect(part, default=default) for part in fn)
    if len({part.takes_program for part in parts}) > 1:
        raise PassFormError(f"{name}: passes over an ExportedProgram and passes over a GraphModule do not "
                            "mix in one list; run them as stages of their own")
    return Pass(name, "list", fn, parts)


def _from_kind(fn: Any, kind: str, name: str) -> Pass:
    if kind == "pattern":
        if not callable(getattr(fn, "apply", None)) and not callable(fn):
            raise PassFormError(f"{name}: expected an object with apply(gm) for kind='pattern'; got {fn!r}")
        return Pass(name, kind, fn)
    if not callable(fn):
        raise PassFormError(f"{name}: expected a callable for kind={kind!r}; got {fn!r}")
    if isinstance(fn, type) and kind != "transformer" and not required(read(fn) or inspect.Signature()):
        return Pass(name, kind, fn, make=lambda subject: fn())
    spread = kind == "module-inputs" and spreads(read(fn))
    return Pass(name, kind, fn, spread=spread)


def _from_class(cls: type, name: str, default: str) -> Pass:
    if callable(getattr(cls, "transform", None)):
        return Pass(name, "transformer", cls)
    if "__call__" not in members(cls):
        raise unknown(name, "the class has neither __call__ nor transform")
    if inspect.isabstract(cls):
        names = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
        raise PassFormError(f"{name} is abstract: {names} must be written first")
    needed = required(read(cls) or inspect.Signature())
    form, guessed, spread = form_of(Unbound(cls), name, default)
    if not needed:
        return Pass(name, form, cls, guessed=guessed, spread=spread, make=lambda subject: cls())
    if len(needed) == 1 and (annotated(needed[0], cls) or named(needed[0].name)) == "program":
        return Pass(name, form, cls, spread=spread, from_program=True,
                    make=lambda subject: cls(subject.exported))
    raise PassFormError(f"{name}: the class needs {', '.join(p.name for p in needed)} to be made; "
                        f"give an instance: {name}(...)")
