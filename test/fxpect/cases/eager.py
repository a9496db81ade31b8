"""Run a model, or what was made of it, on the inputs that specs describe; compare two such runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch.utils import _pytree as pytree

from fxpect.capture.calls import Call
from fxpect.examples import copy_tensor
from fxpect.oracles.causes import in_one_line
from fxpect.oracles.difference import form_difference
from fxpect.oracles.observe import seeded
from fxpect.specs.realizing import realize

Tolerances = Mapping[torch.dtype, tuple[float, float]]


@dataclasses.dataclass
class Run:
    """One call: its outputs flat, how they nest, the arguments and the state after it, or what it raised."""

    leaves: list[Any] = dataclasses.field(default_factory=list)
    tree: pytree.TreeSpec | None = None
    arguments: list[Any] = dataclasses.field(default_factory=list)
    state: dict[str, torch.Tensor] = dataclasses.field(default_factory=dict)
    error: Exception | None = None

    def values(self) -> Iterator[tuple[str, Any]]:
        """Yield everything that a caller could see, with what it is called."""
        yield from ((f"output {i}", leaf) for i, leaf in enumerate(self.leaves))
        yield from ((f"input {i} after the call", leaf) for i, leaf in enumerate(self.arguments))
        yield from ((f"{name} after the call", value) for name, value in self.state.items())


def run_call(call: Call, function: Callable[..., Any], sizes: Mapping[str, int], *, state: bool = True) -> Run:
    """Run ``function`` on fresh arguments of ``call`` at these sizes; an exception is kept, not raised.

    ``state`` also looks at parameters and buffers, and puts them back afterwards.
    """
    values = [
        copy_tensor(value) if value is spec else value
        for spec, value in zip(call.specs, realize(call.specs, dict(sizes)), strict=True)
    ]
    args, kwargs = call.arguments(values)
    run = Run(arguments=values)
    module = function if state and isinstance(function, torch.nn.Module) else None
    tensors = dict([*module.named_parameters(), *module.named_buffers()]) if module is not None else {}
    kept = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    with seeded(0), torch.no_grad():
        try:
            run.leaves, run.tree = pytree.tree_flatten(function(*args, **kwargs))
        except Exception as error:
            run.error = error
        run.leaves = [leaf.detach().clone() if isinstance(leaf, torch.Tensor) else leaf for leaf in run.leaves]
        run.state = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        for name, tensor in tensors.items():
            if not torch.equal(tensor, kept[name]):
                tensor.copy_(kept[name])
    return run


def compare_runs(expected: Run, got: Run, tolerances: Tolerances | None = None, *, effects: bool = True) -> str | None:
    """Return in words what differs first between two runs, or None.

    ``tolerances`` maps a dtype to (rtol, atol); torch's own are the default. ``effects`` looks at arguments
    and state too, by name where both have it.
    """
    if expected.error is not None or got.error is not None:
        return _errors(expected.error, got.error)
    if expected.tree != got.tree:
        return f"expected outputs {expected.tree}; got {got.tree}"
    found = dict(got.values())
    for name, value in expected.values():
        if not effects and not name.startswith("output"):
            continue
        if name in found:
            words = _difference(value, found[name], tolerances or {})
            if words:
                return f"{name}: {words}"
    return None


def _errors(expected: Exception | None, got: Exception | None) -> str | None:
    if expected is not None and got is not None:
        return None
    return (
        f"expected {'a result' if expected is None else in_one_line(expected)}; "
        f"got {'a result' if got is None else in_one_line(got)}"
    )


def _difference(expected: Any, got: Any, tolerances: Tolerances) -> str | None:
    form = form_difference(expected, got, strides=False)
    if form is not None:
        return str(form)
    if not isinstance(expected, torch.Tensor) or torch.equal(expected, got):
        return None
    rtol, atol = tolerances.get(expected.dtype, (None, None))
    try:
        torch.testing.assert_close(got, expected, rtol=rtol, atol=atol, equal_nan=True, check_stride=False)
    except AssertionError as error:
        return " ".join(str(error).split())
    return None
