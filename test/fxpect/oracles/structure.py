"""Oracle: the graph after the pass is well formed."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import torch

from fxpect.errors import CheckFailure, GraphCrash
from fxpect.oracles.causes import first_words, in_one_line
from fxpect.oracles.difference import Difference, form_difference, roughly_equal, words
from fxpect.oracles.evidence import ERROR, NOTE, Evidence, raise_first
from fxpect.oracles.rounding import base_name
from fxpect.text.effects import has_effect


def check_structure(evidence: Evidence) -> None:
    """Raise when the graph breaks a rule of torch.fx that its run need not show.

    Lint; the same placeholders in the same order; the graph owned by its module; calls that fit the
    operator's schema; generated code that is Python and computes what ``fx.Interpreter`` computes. New dead
    nodes and overload packets among overloads are notes. Misses: schemas of functions that are not
    ``torch.ops`` operators; types of arguments.
    """
    raise_first(find_structure(evidence))
    raise_first(find_disagreement(evidence))


def find_structure(evidence: Evidence) -> Iterator[CheckFailure]:
    """Yield what is malformed, without running anything."""
    after = evidence.after
    try:
        after.graph.lint()
    except Exception as error:
        yield evidence.failure("structure", f"lint:{first_words(str(error))}", f"graph.lint(): {in_one_line(error)}")
    if after.graph.owning_module is not after:
        yield evidence.failure(
            "structure",
            "owning-module",
            f"expected graph.owning_module to be the module itself; got {type(after.graph.owning_module).__name__}",
        )
    yield from _signature(evidence)
    dead = {node.name for node in evidence.before.graph.nodes if not node.users}
    for node in after.graph.nodes:
        if isinstance(node.target, torch._ops.OpOverload):
            misfit = schema_misfit(node)
            if misfit:
                yield evidence.failure(
                    "structure", f"schema:{misfit[0]}", f"{node.target}: {misfit[1]}", node=node.name
                )
        elif isinstance(node.target, torch._ops.OpOverloadPacket) and not _has_packets(evidence):
            yield evidence.failure(
                "structure",
                "overload-packet",
                f"expected an overload, as in the rest of the graph; got {node.target}",
                node=node.name,
                severity=NOTE,
            )
        if not node.users and node.name not in dead and _removable(node):
            yield evidence.failure(
                "structure", "dead-node", f"nothing uses {node.format_node()}", node=node.name, severity=NOTE
            )


def _has_packets(evidence: Evidence) -> bool:
    """Whether overload packets belong in this graph: they do before the pass, or it is no graph of overloads."""
    nodes = evidence.before.graph.nodes
    return evidence.meta_key != "val" or any(isinstance(n.target, torch._ops.OpOverloadPacket) for n in nodes)


def _signature(evidence: Evidence) -> Iterator[CheckFailure]:
    old, new = (
        [(n.target, n.args) for n in gm.graph.find_nodes(op="placeholder")] for gm in (evidence.before, evidence.after)
    )
    names = [target for target, _ in old], [target for target, _ in new]
    if len(old) != len(new):
        yield evidence.failure(
            "structure", "placeholders", f"expected {len(old)} inputs {names[0]}; got {len(new)} {names[1]}"
        )
    elif names[0] != names[1]:
        moved = sorted(names[0]) == sorted(names[1])
        yield evidence.failure(
            "structure",
            "placeholders-reordered" if moved else "placeholders-renamed",
            f"expected inputs {names[0]}; got {names[1]}",
            severity=ERROR if moved or evidence.called_by_name else NOTE,
        )
    elif old != new:
        yield evidence.failure("structure", "placeholders-default", f"expected inputs {old}; got {new}")


def _removable(node: torch.fx.Node) -> bool:
    return node.op not in ("placeholder", "output") and not has_effect(node)


def schema_misfit(node: torch.fx.Node) -> tuple[str, str] | None:
    """Return (cause, words) where a call of an overload does not fit its schema, else None."""
    return _misfit(node.target, len(node.args), tuple(node.kwargs))


@functools.lru_cache(maxsize=4096)
def _misfit(target: Any, count: int, keywords: tuple[str, ...]) -> tuple[str, str] | None:
    arguments = target._schema.arguments
    positional = [argument.name for argument in arguments if not argument.kwarg_only]
    if count > len(positional):
        return "arity", f"expected at most {len(positional)} positional arguments; got {count}"
    given = set(positional[:count])
    known = {argument.name for argument in arguments}
    for name in keywords:
        if name not in known:
            return "keyword", f"expected keywords among {sorted(known)}; got {name!r}"
        if name in given:
            return "twice", f"expected one value for {name!r}; got a positional and a keyword one"
    given.update(keywords)
    for argument in arguments:
        if argument.name not in given and not argument.has_default_value():
            return "missing", f"expected an argument {argument.name!r}; got none"
    return None


def find_disagreement(evidence: Evidence) -> Iterator[CheckFailure]:
    """Yield what tells the generated code from the node-by-node run: only one works, or they differ."""
    code, nodes = evidence.ran, evidence.interpreted
    if code.error is not None and nodes.error is not None:
        stopped = nodes.stopped_at
        message = f"expected a graph that runs, as the one before; got {in_one_line(nodes.error)}" + (
            f" in {stopped.format_node()}" if stopped is not None else ""
        )
        yield evidence.crash(
            "graph",
            nodes.error,
            message,
            node=stopped and stopped.name,
            function=base_name(stopped) if stopped is not None else None,
            kind=GraphCrash,
        )
    elif code.error is not None:
        yield evidence.failure(
            "structure",
            f"code:{type(code.error).__name__}:{first_words(str(code.error))}",
            f"fx.Interpreter runs the graph, its generated code does not: {in_one_line(code.error)}",
            kind=GraphCrash,
        )
    elif nodes.error is not None:
        stopped = nodes.stopped_at
        yield evidence.failure(
            "structure",
            f"interpreter:{type(nodes.error).__name__}:{first_words(str(nodes.error))}",
            f"the generated code runs, fx.Interpreter does not: {in_one_line(nodes.error)}",
            node=stopped and stopped.name,
        )
    else:
        yield from _two_runs(evidence)


def _two_runs(evidence: Evidence) -> Iterator[CheckFailure]:
    code, nodes = evidence.ran, evidence.interpreted
    for i, (one, other) in enumerate(zip(code.leaves, nodes.leaves, strict=False)):
        difference = form_difference(one, other, strides=False)
        if difference is None and isinstance(one, torch.Tensor) and not roughly_equal(one, other):
            difference = Difference("values", words(one), words(other))
        if difference is not None:
            yield evidence.failure(
                "structure",
                "code-disagrees",
                f"output {i}: the generated code and fx.Interpreter (uninitialised memory filled) differ: {difference}",
                node=evidence.output_name(i),
            )
            return
