"""Oracle: what the nodes say of their values is true."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils import _pytree as pytree

from fxpect.errors import CheckFailure
from fxpect.examples import copy_graph_module
from fxpect.oracles.evidence import NOTE, Evidence, raise_first
from fxpect.oracles.observe import Trace
from fxpect.oracles.shapes import Symbols, kept_shapes
from fxpect.text.propagation import propagate

# Ends the cause where the node was there before the pass: what it is given changed, what is said of it did not.
STALE = "-stale"
_UNBACKED = re.compile(r"\bz?u(f?)\d+\b")


def check_metadata(evidence: Evidence) -> None:
    """Raise when a node's ``meta["val"]`` or ``meta["example_value"]`` is not what it really gives.

    Dtype, shape, device and stride of every node are compared with the node-by-node run; a difference is
    confirmed by fake propagation, so that where torch's own fake tensors are wrong the pass is not blamed.
    A missing entry is a note. Misses: entries whose symbols only differ at other sizes (see generality).
    """
    raise_first(find_metadata(evidence))


def find_metadata(evidence: Evidence) -> Iterator[CheckFailure]:
    """Yield every node whose metadata is wrong (an error) or missing (a note), in graph order."""
    trace = evidence.interpreted.trace
    symbols: Symbols | None = None
    suspects: list[tuple[torch.fx.Node, str, str, str]] = []
    known = {node.name for node in evidence.before.graph.nodes if evidence.meta_key in node.meta}
    for node in evidence.after.graph.nodes:
        got = trace.get(node.name)
        if got is None or node.name in evidence.interpreted.reshaped:
            continue  # what is on record may be of before or after that: Dynamo keeps the last shape
        meta = node.meta
        for key in ("val", "example_value"):
            if key in meta:
                said = _tensors(meta[key])
                if len(said) == len(got) and all(map(_plainly_equal, said, got)):
                    continue
                if symbols is None:
                    symbols = Symbols(evidence.after, evidence.args, evidence.meta_key)
                wrong = _wrong(said, got, symbols)
                if wrong:
                    suspects.append((node, key, *wrong))
        if evidence.meta_key not in meta and known and got:
            yield evidence.failure(
                "metadata",
                "missing",
                f'expected meta["{evidence.meta_key}"]; got only {sorted(meta)}',
                node=node.name,
                severity=NOTE,
            )
    if suspects:
        yield from _confirmed(evidence, suspects)


def _wrong(said: list[torch.Tensor], got: list[Trace], symbols: Symbols) -> tuple[str, str] | None:
    """Return (cause, words) for the first thing that the metadata says wrongly."""
    if len(said) != len(got):
        return "count", f"expected {len(got)} tensors, as the node gives; got {len(said)}"
    for meta, real in zip(said, got, strict=True):
        if meta.dtype != real.dtype:
            return "dtype", f"expected {real.dtype}, as the node gives; got {meta.dtype}"
        if not symbols.agree(meta.shape, real.shape):
            return "shape", f"expected {list(real.shape)}, as the node gives; got {list(meta.shape)}"
        if meta.device != real.device:
            return "device", f"expected {real.device}, as the node gives; got {meta.device}"
        if real.stride is not None and meta.layout == torch.strided and 0 not in real.shape:
            shown = [i for i, size in enumerate(real.shape) if size > 1]
            if not symbols.agree([meta.stride()[i] for i in shown], tuple(real.stride[i] for i in shown)):
                return "stride", f"expected {real.stride}, as the node gives; got {meta.stride()}"
    return None


def _plainly_equal(meta: torch.Tensor, real: Trace) -> bool:
    """Whether everything is equal without a look at symbols or at which strides show."""
    return (
        not meta._has_symbolic_sizes_strides
        and meta.shape == real.shape
        and meta.dtype == real.dtype
        and real.stride is not None
        and meta.stride() == real.stride
        and meta.device == real.device
    )


def _confirmed(evidence: Evidence, suspects: list[tuple[torch.fx.Node, str, str, str]]) -> Iterator[CheckFailure]:
    """Yield the suspects that fake propagation does not agree with either."""
    faked = fake_forms(evidence.after, evidence.meta_key)
    kept = {node.name: node.target for node in evidence.before.graph.nodes}
    for node, key, cause, words in suspects:
        forms = faked.get(node.name)
        if forms is None or not _same_forms(_tensors(node.meta[key]), forms):
            if kept.get(node.name) == node.target:
                cause += STALE
            yield evidence.failure("metadata", cause, f'meta["{key}"]: {words}', node=node.name)


def fake_forms(gm: torch.fx.GraphModule, meta_key: str) -> dict[str, list[torch.Tensor]]:
    """Return, by node name, the fake tensors that each node gives, as far as the graph runs on fakes."""
    try:
        copy = copy_graph_module(gm)
    except Exception:
        return {}
    said = {node.name: node.meta for node in copy.graph.nodes if node.op not in ("placeholder", "output")}
    for meta in said.values():
        meta.pop("val", None)
        meta.pop("example_value", None)
    with contextlib.suppress(Exception), kept_shapes(gm):
        propagate(copy, meta_key=meta_key)
    names = zip((n.name for n in gm.graph.nodes), copy.graph.nodes, strict=True)
    return {name: _tensors(node.meta[meta_key]) for name, node in names if meta_key in node.meta}


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def _same_forms(said: list[torch.Tensor], forms: list[torch.Tensor]) -> bool:
    return len(said) == len(forms) and all(map(_same_form, said, forms))


def _same_form(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and a.device == b.device and _sizes(a) == _sizes(b)


def _sizes(tensor: torch.Tensor) -> tuple[str, str]:
    """Return shape and telling strides as text: to compare symbolic sizes themselves would add guards.

    Sizes that only a run can know get a new symbol in every propagation: they all read "u".
    """
    strides = (
        []
        if tensor.layout != torch.strided
        else [
            stride
            for size, stride in zip(tensor.shape, tensor.stride(), strict=True)
            if not (isinstance(size, int) and size <= 1)
        ]
    )
    return _UNBACKED.sub("u", str(list(tensor.shape))), _UNBACKED.sub("u", str(strides))
