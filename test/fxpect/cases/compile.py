"""The test case for functions under torch.compile: their graphs and breaks, and the answers of eager."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils import _pytree as pytree

from fxpect.cases.passes import PreGradPassTestCase
from fxpect.cases.recording import keep_sequence
from fxpect.compiling import GraphSequence, RecordingBackend, graphs_of
from fxpect.compiling.sequences import real_inputs
from fxpect.errors import CheckFailure, FxpectError
from fxpect.oracles.difference import form_difference
from fxpect.oracles.effects import aliases
from fxpect.oracles.memory import copy_args
from fxpect.oracles.observe import Observation, as_tensor, seeded, weights


class CompileTestCase(PreGradPassTestCase):
    """Tests of what torch.compile makes of a function, and of passes over its graphs.

    assertCompiles
        the function, eagerly
        the function, compiled, with passes on the way
        outputs, aliases, what is written, gradients, grad mode      CheckFailure "compile"
    """

    def assertCompiles(
        self,
        function: Callable[..., Any],
        *inputs: Any,
        kwargs: Mapping[str, Any] | None = None,
        dynamic: bool | None = None,
        fullgraph: bool = False,
        pass_: Any = None,
        aot: bool | Mapping[str, Any] = False,
        backend: RecordingBackend | None = None,
        graphs: int | None = None,
        backward: bool = True,
    ) -> GraphSequence:
        """Fail unless ``function`` does under torch.compile what it does eagerly; returns its graphs and breaks.

        Both calls get equal inputs of their own, a Module also equal parameters and buffers. Compared are outputs
        (nesting, form, values, ``requires_grad``), which of them alias which input or output, inputs and state
        after the call, the grad mode after the call and, unless ``backward=False``, the gradients that reach
        inputs and parameters from fixed weights. ``graphs`` is how many graphs there must be; the other arguments
        are those of ``fxpect.compiling.graphs_of``. Raises what compiling raises, and ``FxpectError`` for a
        function that raises eagerly.
        """
        args, keywords = real_inputs(inputs, kwargs or {}, dynamic)
        try:
            expected = _observed(_own(function), args, keywords, backward, _call)
        except Exception as error:
            raise FxpectError(f"expected a function that runs eagerly; got {type(error).__name__}: {error}") from error
        sequences: list[GraphSequence] = []

        def compiled(function: Callable[..., Any], args: tuple, keywords: dict) -> Any:
            options: dict[str, Any] = {"dynamic": dynamic, "fullgraph": fullgraph, "backend": backend}
            sequences.append(graphs_of(function, *args, kwargs=keywords, pass_=pass_, aot=aot, **options))
            return sequences[0].value

        got = _observed(_own(function), args, keywords, backward, compiled)
        (sequence,) = sequences
        keep_sequence(sequence)
        words = _difference(expected, got)
        if words is None and graphs is not None and len(sequence.graphs) != graphs:
            words = f"expected {graphs} graphs; got {len(sequence.graphs)}: {sequence.outline}"
        if words is not None:
            raise CheckFailure(
                "compile",
                f"{words}\n  where: {self._id()}, torch {torch.__version__}\n{sequence.text}",
                before=sequence.graphs[0].text if sequence.graphs else "",
                cause="compile: differs from eager",
            )
        return sequence


@dataclasses.dataclass
class _Observed(Observation):
    """One call; ``grad_mode`` is what it left."""

    grad_mode: bool = True


def _call(function: Callable[..., Any], args: tuple, keywords: dict) -> Any:
    return function(*args, **keywords)


def _own(function: Any) -> Any:
    return copy.deepcopy(function) if isinstance(function, torch.nn.Module) else function


def _observed(function: Any, args: tuple, keywords: dict, backward: bool, run: Callable[..., Any]) -> _Observed:
    """Call ``function`` on copies and return what a caller could see of it."""
    leaves, tree = pytree.tree_flatten((args, keywords))
    own = copy_args(leaves)
    for copied, leaf in zip(own, leaves, strict=True):
        if isinstance(leaf, torch.Tensor):  # a copy has not the marks of dynamic dims
            vars(copied).update({name: mark for name, mark in vars(leaf).items() if name.startswith("_dynamo_")})
    seen = _Observed(initial=leaves, args=own)
    if isinstance(function, torch.nn.Module):
        seen.state = dict([*function.named_parameters(), *function.named_buffers()])
    with torch.set_grad_enabled(torch.is_grad_enabled()), seeded(0):
        seen.outputs = run(function, *pytree.tree_unflatten(own, tree))
        seen.grad_mode = torch.is_grad_enabled()
        seen.leaves, seen.spec = pytree.tree_flatten(seen.outputs)
    if backward:
        seen.grads = _gradients(seen)
    return seen


def _gradients(seen: Observation) -> dict[tuple[str, Any], torch.Tensor | None]:
    """Return the gradients that ``backward`` leaves on inputs and parameters."""
    ends = [leaf for leaf in seen.leaves if isinstance(leaf, torch.Tensor) and leaf.requires_grad]
    if ends:
        torch.autograd.backward(ends, [weights(tuple(end.shape), end.dtype, end.device) for end in ends])
    places: dict[tuple[str, Any], Any] = {("input", i): arg for i, arg in enumerate(seen.args)}
    places.update((("state", name), tensor) for name, tensor in seen.state.items())
    return {key: tensor.grad for key, tensor in places.items()
            if isinstance(tensor, torch.Tensor) and tensor.requires_grad and tensor.is_leaf}  # fmt: skip


def _difference(expected: _Observed, got: _Observed) -> str | None:
    """Return in words what differs first, None where nothing does."""
    if expected.spec != got.spec:
        return f"expected outputs {expected.spec}; got {got.spec}"
    if expected.grad_mode != got.grad_mode:
        return f"grad mode after the call: expected {expected.grad_mode}; got {got.grad_mode}"
    found = got.values()
    for key, value in expected.values().items():
        words = _value_difference(value, as_tensor(found[key]))
        if words:
            return f"{_words(key)}: {words}"
    old, new = aliases(expected), aliases(got)
    for one, other in sorted(old.keys() ^ new.keys(), key=repr):
        does = "is to share" if (one, other) in old else "is not to share"
        return f"{_words(other)} {does} memory with {_words(one)}"
    return None


def _value_difference(expected: Any, got: Any) -> str | None:
    form = form_difference(expected, got)
    if form is not None:
        return str(form)
    if not isinstance(expected, torch.Tensor):
        return None
    if expected.requires_grad != got.requires_grad:
        return f"requires_grad: expected {expected.requires_grad}; got {got.requires_grad}"
    if torch.equal(expected, got):
        return None
    try:
        torch.testing.assert_close(got, expected, equal_nan=True)
    except AssertionError as error:
        return " ".join(str(error).split())
    return None


def _words(key: tuple[str, Any]) -> str:
    kind, place = key
    if kind == "grad":
        return f"gradient of {_words(place)}"
    return f"{'attribute' if kind == 'state' else kind} {place}" + (" after the call" if kind != "output" else "")
