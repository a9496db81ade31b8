"""Spelling: the same operator as function, method, operator, torch.nn.functional or another ATen overload."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch.fx import Node

from fxpect.strategies.draft import Draft, Edit, Inapplicable
from fxpect.strategies.signatures import base_name
from fxpect.strategies.trial import Call

ALIASES = {"cat": ("concat", "concatenate"), "concat": ("cat",), "reshape": ("view",), "view": ("reshape",),
           "permute": ("transpose",), "clamp": ("clip",), "mul": ("multiply",), "div": ("divide", "true_divide"),
           "sub": ("subtract",), "transpose": ("swapaxes", "swapdims"), "movedim": ("moveaxis",), "neg": ("negative",),
           "absolute": ("abs",), "mm": ("matmul",), "bmm": ("matmul",), "matmul": ("mm", "bmm"), "add": ("__add__",)}
ATEN_ALIASES = {"view": ("reshape", "_unsafe_view", "view_copy"), "reshape": ("view", "_unsafe_view"),
                "permute": ("transpose", "permute_copy"), "split": ("split_with_sizes", "unsafe_split"),
                "split_with_sizes": ("split", "unsafe_split_with_sizes", "split_with_sizes_copy"),
                "expand": ("expand_copy",), "select": ("select_copy",), "slice": ("slice_copy",),
                "clone": ("alias", "lift_fresh_copy"), "_to_copy": ("to",), "squeeze": ("squeeze_copy",),
                "unsqueeze": ("unsqueeze_copy",), "mul": ("multiply",), "full": ("ones", "zeros")}


def spellings(d: Draft) -> Iterator[Edit]:
    """Every other way to call the same operator, at all its calls."""
    for node in d.calls():
        if node.op == "call_module" or d.is_number(node):
            continue
        name = base_name(node.target)
        seen = {(node.op, node.target)}
        for op, target in _others(d, node, name):
            if (op, target) in seen:
                continue
            seen.add((op, target))
            twins = [n.name for n in d.calls() if n.target == node.target]
            shown = f"method {target}" if op == "call_method" else _shown(target)
            for group, suffix in [(twins, "")] + ([([node.name], " once")] if len(twins) > 1 else []):
                if not _fits(d, group, op, target):
                    continue
                yield Edit("spellings", f"{node.name} as {shown}{suffix}", f"{name} as {shown}{suffix}",
                           lambda draft, group=tuple(group), op=op, target=target: _respell(draft, group, op, target))


def _others(d: Draft, node: Node, name: str) -> Iterator[tuple[str, Any]]:
    if d.functional:
        for alias in (name, *ATEN_ALIASES.get(name, ())):
            packet = getattr(torch.ops.aten, alias, None)
            for overload in packet.overloads() if packet is not None else ():
                target = getattr(packet, overload)
                if not target._schema.is_mutable:
                    yield "call_function", target
        if torch._prims_common is not None and hasattr(torch.ops.prims, name):
            yield "call_function", getattr(torch.ops.prims, name).default
        return
    for alias in (name, *ALIASES.get(name, ())):
        if hasattr(torch.Tensor, alias):
            yield "call_method", alias
        for home in (torch, F, torch.special, torch.functional, operator):
            target = getattr(home, alias, None)
            if callable(target):
                yield "call_function", target
        packet = getattr(torch.ops.aten, alias, None)
        if packet is not None and "default" in packet.overloads():
            yield "call_function", packet.default


def _shown(target: Any) -> str:
    if isinstance(target, torch._ops.OpOverload):
        return str(target)
    return f"{getattr(target, '__module__', None) or 'torch'}.{getattr(target, '__name__', target)}"


def _fits(d: Draft, group: list[str], op: str, target: Any) -> bool:
    try:
        return d.trial.fits(calls={d.node(at): _respelled(d.node(at), op, target) for at in group})
    except Inapplicable:
        return False


def _respell(draft: Draft, group: tuple[str, ...], op: str, target: Any) -> None:
    for at in group:
        node = draft.node(at)
        call = _respelled(node, op, target)
        node.op, node.target = op, target
        draft.set_args(node, call.args, dict(call.kwargs))


def _respelled(node: Node, op: str, target: Any) -> Call:
    args, kwargs = node.args, node.kwargs
    if target == "__add__" and len(args) + len(kwargs) > 2:
        raise Inapplicable("x + y has no alpha")
    if op == "call_method" and not args:
        keyword = next((k for k in ("input", "self") if k in kwargs), None)
        if keyword is None:
            raise Inapplicable("no receiver")
        args = (kwargs[keyword],)
        kwargs = {k: v for k, v in kwargs.items() if k != keyword}
    if op == "call_method" and isinstance(args[0], (list, tuple)):
        raise Inapplicable("a list has no such method")
    return Call(op, target, args, kwargs)
