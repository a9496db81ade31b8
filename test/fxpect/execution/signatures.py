"""What a callable says about itself: its parameters, their annotations and names."""

from __future__ import annotations

import builtins
import functools
import importlib
import inspect
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import Graph, GraphModule

from fxpect.errors import PassFormError

KINDS = ("graph", "module", "module-inputs", "pattern", "program", "manager", "list", "transformer")
CLASSES = (("graph", Graph), ("module", GraphModule), ("program", torch.export.ExportedProgram))

_GRAPH_NAMES = {"graph", "fx_graph", "fxgraph"}
_MODULE_NAMES = {"gm", "graph_module", "graphmodule", "module", "mod", "model", "m", "root"}
_PROGRAM_NAMES = {"ep", "exported", "program", "exported_program", "exp_program"}
_OPTION_WORDS = ("setting", "config", "option", "spec", "device", "location", "backend", "target")
_OPTIONAL_INPUTS = {"example_inputs", "example_args", "sample_inputs", "sample_args", "fake_inputs", "inputs"}
_SEQUENCES = {"Sequence", "Iterable", "Collection", "list", "List", "tuple", "Tuple", "Tensor", "Any",
              "object"}
_INPUT_WORDS = ("input", "sample", "example", "_args")


class Unbound:
    """Stands for an instance of a class that has not been made yet."""

    def __init__(self, cls: type):
        self.cls = cls


def members(cls: type) -> set[str]:
    """Return the names a class and its bases define, ``object`` left out."""
    return {name for base in cls.__mro__ if base is not object for name in vars(base)}


def read(fn: Any) -> inspect.Signature | None:
    """Return the signature, without ``self``, or None for a builtin that has none."""
    if isinstance(fn, Unbound):
        signature = read(fn.cls.__call__)
        return signature and signature.replace(parameters=list(signature.parameters.values())[1:])
    try:
        return inspect.signature(fn)
    except (TypeError, ValueError):
        return None
    except NameError:
        # Python 3.14 looks annotations up here; one imported for type checkers alone is not there.
        formats = importlib.import_module("annotationlib").Format
        return inspect.signature(fn, **{"annotation_format": formats.STRING})


def _positional(signature: inspect.Signature) -> list[inspect.Parameter]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p for p in signature.parameters.values() if p.kind in kinds]


def required(signature: inspect.Signature) -> list[inspect.Parameter]:
    """Return the positional parameters without a default."""
    return [p for p in _positional(signature) if p.default is inspect.Parameter.empty]


def spreads(signature: inspect.Signature | None) -> bool:
    """Whether inputs are taken one by one: ``(gm, *sample_args)``."""
    parameters = signature.parameters.values() if signature else ()
    star = any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters)
    return star and signature is not None and len(required(signature)) == 1


def form_of(fn: Any, name: str, default: str) -> tuple[str, bool, bool]:
    """Return the kind, whether it is a guess, and whether inputs are spread over parameters."""
    for kind, cls in CLASSES:
        if getattr(cls, getattr(fn, "__name__", ""), None) is fn:
            return kind, False, False
    signature = read(fn)
    if signature is None:
        return default, True, False
    missing = [p.name for p in signature.parameters.values()
               if p.kind is inspect.Parameter.KEYWORD_ONLY and p.default is inspect.Parameter.empty]
    needed = required(signature)
    if missing or len(needed) > 2:
        names = missing or [p.name for p in needed[1:]]
        raise unknown(name, f"it needs a value for {', '.join(names)}", bind=names)
    first = next(iter(needed or _positional(signature)), None)
    if first is None and not any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values()):
        raise unknown(name, "it takes no argument")
    told, certain = _first_kind(first, signature, fn)
    if len(needed) == 2:
        _check_second(needed[1], told, name)
        return "module-inputs", False, False
    positional = _positional(signature)
    if told in (None, "module") and len(positional) > 1 and positional[1].name in _OPTIONAL_INPUTS:
        return "module-inputs", False, False
    star = [p.name for p in signature.parameters.values() if p.kind is p.VAR_POSITIONAL]
    if told == "module" and needed and star and any(word in star[0] for word in _INPUT_WORDS):
        return "module-inputs", False, True
    return told or default, not certain, False


def _first_kind(first: inspect.Parameter | None, signature: inspect.Signature,
                fn: Any) -> tuple[str | None, bool]:
    """Return the kind that the first parameter asks for, or None, and whether that is certain."""
    if first is not None:
        kind = annotated(first, fn) or _inherited(fn)
        if kind:
            return kind, True
    result = _words(str(signature.return_annotation))
    if result and result != "graph":
        return result, True
    return (None if first is None else named(first.name)), False


def _check_second(second: inspect.Parameter, first_kind: str | None, name: str) -> None:
    """Refuse a second parameter that is no list of inputs."""
    if first_kind in ("graph", "program") or any(word in second.name for word in _OPTION_WORDS):
        raise unknown(name, f"it needs a value for {second.name}", bind=[second.name])
    annotation = second.annotation
    if annotation is not second.empty and not _all_words(annotation) & _SEQUENCES:
        shown = annotation.__name__ if isinstance(annotation, type) else str(annotation)
        raise unknown(name, f"{second.name}: {shown} is not a sequence of inputs", bind=[second.name])


def annotated(parameter: inspect.Parameter, fn: Any) -> str | None:
    """Return the kind that the annotation of this parameter names, or None."""
    annotation = _resolve(parameter.annotation, fn)
    if annotation is inspect.Parameter.empty:
        return None
    if isinstance(annotation, type):
        if issubclass(annotation, torch.nn.Module):
            return "module"
        return next((kind for kind, cls in CLASSES if issubclass(annotation, cls)), None)
    return _words(str(annotation)) or _words(str(parameter.annotation))


def _inherited(fn: Any) -> str | None:
    """Read the annotation that an override of ``__call__`` left to its base class."""
    cls = fn.cls if isinstance(fn, Unbound) else type(fn)
    if inspect.isroutine(fn) or cls is functools.partial:
        return None
    for base in cls.__mro__:
        call = vars(base).get("__call__")
        signature = read(call) if inspect.isfunction(call) else None
        parameters = _positional(signature)[1:] if signature else []
        kind = annotated(parameters[0], call) if parameters else None
        if kind:
            return kind
    return None


def _resolve(annotation: Any, fn: Any) -> Any:
    """Look a dotted string annotation up where the function was written; nothing is evaluated."""
    if not isinstance(annotation, str):
        return annotation
    while isinstance(fn, functools.partial):
        fn = fn.func
    call = fn.cls.__call__ if isinstance(fn, Unbound) else fn if inspect.isroutine(fn) else type(fn).__call__
    first, *rest = annotation.strip("\"'").split(".")
    value = getattr(inspect.unwrap(call), "__globals__", {}).get(first, getattr(builtins, first, None))
    for part in rest:
        value = getattr(value, part, None)
    return annotation if value is None else value


def _all_words(annotation: Any) -> set[str]:
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return set(re.findall(r"[A-Za-z_]\w*", text))


def _words(annotation: str) -> str | None:
    words = _all_words(annotation)
    if words & {"GraphModule", "Module", "PassResult"}:
        return "module"
    return "graph" if "Graph" in words else "program" if "ExportedProgram" in words else None


def named(name: str) -> str | None:
    """Return the kind that a parameter of this name usually takes, or None."""
    name = name.lower().strip("_")
    if name in _GRAPH_NAMES or name.endswith("_graph"):
        return "graph"
    if name in _MODULE_NAMES or name.endswith(("_module", "_gm")):
        return "module"
    return "program" if name in _PROGRAM_NAMES or name.endswith("_program") else None


def unknown(name: str, why: str, bind: Sequence[str] = ()) -> PassFormError:
    """Return the error that says why a form cannot be told and what to write instead."""
    fix = "fxpect.as_pass(fn, kind=...) with kind one of " + ", ".join(KINDS)
    if bind:
        fix = f"functools.partial({name}, {', '.join(f'{n}=...' for n in bind)}), or {fix}"
    return PassFormError(f"cannot tell how to call {name}: {why}. Use {fix}")
