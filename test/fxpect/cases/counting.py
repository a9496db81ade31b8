"""Operator counts of a graph, by exact target: what ``ops=`` of the verbs means.

A key is an operator (``"aten.add.Tensor"``), a packet with all its overloads (``"aten.add"``), any function
as a graph text shows it (``"torch.cat"``, ``"operator.getitem"``), a method (``".relu"`` or
``"torch.Tensor.relu"``), a submodule by path (``"self.linear"``) or by class (``"torch.nn.Linear"``), or the
callable or class itself.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch._ops import OpOverload, OpOverloadPacket
from torch.fx import GraphModule, Node

from fxpect.errors import CheckFailure, FxpectError, InputDrift, UnknownTargetError
from fxpect.text.targets import resolve_target, target_name

_COMPARE = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_BOUND = re.compile(r"\s*(==|!=|<=|>=|<|>)\s*(\d+)\s*")


@dataclasses.dataclass(frozen=True)
class Bound:
    """What a count must be: a number, or one side of one (``">=1"``)."""

    compare: str
    number: int

    def holds(self, count: int) -> bool:
        """Say whether ``count`` is in bounds."""
        return bool(_COMPARE[self.compare](count, self.number))

    def __str__(self) -> str:
        return str(self.number) if self.compare == "==" else f"{self.compare}{self.number}"


@dataclasses.dataclass(frozen=True)
class Wish:
    """One entry of ``ops=``: its name, how its nodes are told, and both bounds (None: any count)."""

    name: str
    matches: Callable[[GraphModule, Node], bool]
    before: Bound | None
    after: Bound | None


def parse_ops(ops: Mapping[Any, Any] | None) -> list[Wish]:
    """Read ``ops=``; raises ``FxpectError`` for a name that is no operator and for a bound that is none."""
    if ops is None:
        return []
    if not isinstance(ops, Mapping):
        raise FxpectError(f'expected ops={{"torch.cat": (before, after), ...}}; got {ops!r}')
    wishes = []
    for key, value in ops.items():
        pair = value if isinstance(value, (tuple, list)) else (None, value)
        if len(pair) != 2:
            raise FxpectError(f"ops: expected {key!r}: after, or (before, after); got {value!r}")
        before, after = (_bound(key, part) for part in pair)
        if before is None and after is None:
            raise FxpectError(f"ops: expected a number for {key!r}; got {value!r}")
        wishes.append(Wish(_name(key), _matcher(key), before, after))
    return wishes


def _bound(key: Any, value: Any) -> Bound | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Bound("==", value)
    found = _BOUND.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise FxpectError(f'ops: expected a count of {key!r} such as 2 or ">=1"; got {value!r}')
    bound = Bound(found[1], int(found[2]))
    if len({bound.holds(count) for count in range(bound.number + 2)}) == 1:
        raise FxpectError(f"ops: expected a bound that can hold and fail; got {value!r} for {key!r}")
    return bound


def check_before(wishes: list[Wish], gm: GraphModule, *, pass_name: str, capture: str) -> None:
    """Raise ``InputDrift`` when the captured graph does not hold what the test says the pass is given."""
    wrong = [(wish, count) for wish, count in _counts(wishes, gm) if wish.before and not wish.before.holds(count)]
    if wrong:
        words = "; ".join(
            f"expected {wish.before} x {wish.name} in the graph before the pass; got {count}" for wish, count in wrong
        )
        raise InputDrift(
            "input",
            f"{words}\n  the capture {capture!r} on torch {torch.__version__} gives {census(gm)}",
            pass_name=pass_name,
            cause="input drift: " + ", ".join(w.name for w, _ in wrong),
        )


def find_after(wishes: list[Wish], gm: GraphModule, *, pass_name: str | None) -> Iterator[CheckFailure]:
    """Yield a failure where the graph after the pass does not hold what the test says it makes."""
    wrong = [(wish, count) for wish, count in _counts(wishes, gm) if wish.after and not wish.after.holds(count)]
    if wrong:
        words = "; ".join(
            f"expected {wish.after} x {wish.name} in the graph after the pass; got {count}" for wish, count in wrong
        )
        yield CheckFailure(
            "ops",
            f"{words}\n  the graph after has {census(gm)}",
            pass_name=pass_name,
            cause="ops:" + ", ".join(wish.name for wish, _ in wrong),
        )


def check_ops(gm: GraphModule, ops: Mapping[Any, Any]) -> None:
    """Raise when a graph does not hold these counts, each a number or a bound."""
    wishes = parse_ops(ops)
    if any(wish.before for wish in wishes):
        raise FxpectError(f'expected one count for each operator, such as {{"torch.cat": 1}}; got {ops!r}')
    for failure in find_after(wishes, gm, pass_name=None):
        raise CheckFailure(
            "ops",
            failure.message.replace(" after the pass", "").replace("graph after has", "graph has"),
            cause=failure.cause,
        )


def census(gm: GraphModule) -> str:
    """Return what a graph calls and how often, in the order of the graph: "2 x torch.cat, 1 x .relu"."""
    counts = Counter(name for module, node in calls(gm) if (name := _node_name(module, node)))
    return ", ".join(f"{count} x {name}" for name, count in counts.items()) or "no calls"


def calls(gm: GraphModule) -> Iterator[tuple[GraphModule, Node]]:
    """Yield every call of a graph and of the graphs nested in it, each nested graph once."""
    seen: set[int] = set()
    stack = [gm]
    while stack:
        module = stack.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        for node in module.graph.nodes:
            if node.op in ("get_attr", "call_module"):
                value = _attribute(module, node.target)
                if isinstance(value, GraphModule):
                    stack.append(value)
            if node.op.startswith("call_"):
                yield module, node


def _counts(wishes: list[Wish], gm: GraphModule) -> list[tuple[Wish, int]]:
    found = list(calls(gm)) if wishes else []
    return [(wish, sum(wish.matches(module, node) for module, node in found)) for wish in wishes]


def _attribute(module: torch.nn.Module, path: str) -> Any:
    try:
        return functools.reduce(getattr, path.split("."), module)
    except AttributeError:
        return None


def _node_name(module: GraphModule, node: Node) -> str:
    if node.op == "call_function":
        return target_name(node.target).removeprefix("torch.ops.")
    if node.op == "call_method":
        return f".{node.target}"
    return f"self.{node.target}"


def _name(key: Any) -> str:
    return key if isinstance(key, str) else target_name(key).removeprefix("torch.ops.")


def _matcher(key: Any) -> Callable[[GraphModule, Node], bool]:
    if isinstance(key, str):
        key = key.strip()
        if key.startswith("self.") and key != "self.":
            return lambda module, node: node.op == "call_module" and node.target == key[5:]
        if re.fullmatch(r"\.[A-Za-z_]\w*", key):
            return lambda module, node: node.op == "call_method" and node.target == key[1:]
        key = _resolve(key)
    if isinstance(key, type) and issubclass(key, torch.nn.Module):
        return lambda module, node: node.op == "call_module" and type(_attribute(module, node.target)) is key
    if not callable(key):
        raise FxpectError(f"ops: expected an operator, a function, a module class, or the name of one; got {key!r}")
    if isinstance(key, OpOverloadPacket):
        return lambda module, node: node.op == "call_function" and _packet(node.target) is key
    method = _method(key)
    return lambda module, node: (
        node.op == "call_function"
        and node.target is key
        or method is not None
        and node.op == "call_method"
        and node.target == method
    )


def _packet(target: Any) -> Any:
    return target.overloadpacket if isinstance(target, OpOverload) else target


def _method(key: Any) -> str | None:
    """Return the name under which a function is a method of Tensor, where it is one."""
    name = getattr(key, "__name__", None)
    return name if isinstance(name, str) and getattr(torch.Tensor, name, None) is key else None


def _resolve(name: str) -> Any:
    """Return the callable or module class that a name stands for."""
    candidates = [name, f"torch.ops.{name}"]
    if name.startswith("Tensor."):
        candidates.append(f"torch.{name}")
    for candidate in candidates:
        try:
            return resolve_target(candidate)
        except UnknownTargetError:
            continue
    found = _loaded(name)
    if callable(found):
        return found
    raise FxpectError(
        f"ops: expected the exact name of an operator such as torch.cat, aten.add or aten.add.Tensor; "
        f"got {name!r}, which is none"
    )


def _loaded(name: str) -> Any:
    """Return what a dotted name means among the modules that are loaded; nothing is imported."""
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        module = sys.modules.get(".".join(parts[:length]))
        if module is not None:
            found: Any = module
            for part in parts[length:]:
                found = getattr(found, part, None)
            return found
    return None
