"""Where a search starts: an innocent model as it is, with sizes that are equal, in training, with dynamic shapes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from fxpect.capture import capture as capture_model
from fxpect.contracts import Contract
from fxpect.errors import CaptureError
from fxpect.examples import Example
from fxpect.specs import TensorSpec
from fxpect.strategies.directions.inputs import may_require_grad
from fxpect.strategies.draft import FUNCTIONAL_CAPTURES, Draft, Edit, Inapplicable
from fxpect.strategies.near import step

# Where the pass is not told which graph it wants, the first of these on which it rewrites is taken.
CAPTURE_ORDER = ("export", "dynamo", "aten", "symbolic", "make_fx", "joint")
SIDE = 4


@dataclasses.dataclass(frozen=True)
class Start:
    """One innocent model to explore from.

    ``capture`` names the graph that the pass is given, None for the first on which it rewrites. ``frozen`` keeps
    parameters as attributes, ``dynamic`` adds a start with dynamic shapes. ``contract`` is what its neighbours keep,
    by default that of the capture. ``pattern`` says that the model is one of the pass's own patterns, by its name: it
    is taken as it is, and explored a little.
    """

    model: Any
    inputs: tuple[Any, ...] = ()
    capture: str | None = None
    frozen: bool = False
    dynamic: bool = True
    contract: Contract | None = None
    pattern: str = ""

    def examples(self, fires: Callable[[Example], bool]) -> list[Example]:
        """Return the examples to start from, the plain one first; raises ``CaptureError`` where there is none."""
        plain = self._captured(fires)
        if self.pattern:
            return [plain.replace(triggers=(f"pattern {self.pattern}",))]
        found = [plain]
        equal = squared(plain)
        others = [equal] if equal is not None else self._anew(plain)
        trained = None if plain.promises.inference else requiring_grad(others[0] if others else plain)
        found += others if trained is None else [trained, *others[1:]]
        if self.dynamic and not isinstance(self.model, Example):
            try:
                found.append(self._capture(plain.capture, dynamic=True))
            except Exception:  # a model that only works at one size has no dynamic neighbourhood
                pass
        return found

    def _anew(self, plain: Example) -> list[Example]:
        """Return the model captured with equal sizes, and with first sizes of 1.

        For a graph that holds the sizes it was made for. A view of dims in another order takes a first size of 1 more
        often than any other.
        """
        if isinstance(self.model, Example) or not all(isinstance(spec, TensorSpec) for spec in self.inputs):
            return []
        found: list[Example] = []
        for first in (SIDE, 1):
            inputs = _of_equal_sizes(self.inputs, first)
            if inputs == tuple(self.inputs):
                continue
            try:
                found.append(dataclasses.replace(self, inputs=inputs)._capture(plain.capture))
            except Exception:  # a model that does not take these sizes
                continue
        return found

    def _captured(self, fires: Callable[[Example], bool]) -> Example:
        if self.capture:
            return self._capture(self.capture)
        found: Example | None = None
        refusals = []
        for name in CAPTURE_ORDER:
            try:
                example = self._capture(name)
            except CaptureError as error:
                refusals.append(str(error).partition("\n")[0])
                continue
            if fires(example):
                return example
            found = found or example  # where the pass rewrites none of them, the first will do
        if found is None:
            raise CaptureError("\n  ".join(["no capture takes this model:", *refusals]))
        return found

    def _capture(self, name: str, **options: Any) -> Example:
        if self.frozen:
            options["frozen"] = True
        example = capture_model(self.model, self.inputs, capture=name, **options).portable()
        return example.replace(contract=self.contract) if self.contract is not None else example


def squared(example: Example) -> Example | None:
    """Return the example with every size of every input equal, so that any permutation of dims types.

    An input whose values are listed, such as indices, stays as it is.
    """
    found = _given(example, _of_equal_sizes(example.inputs), "sizes", f"every size {SIDE}")
    return None if found is None else found.replace(triggers=())  # equal sizes are nobody's cause


def _of_equal_sizes(inputs: tuple[Any, ...], first: int = SIDE) -> tuple[Any, ...]:
    """Return the inputs with all sizes equal but for the first; what is open or has its values listed stays."""
    def resized(spec: TensorSpec) -> TensorSpec:
        return spec.replace(shape=(first, *[SIDE] * len(spec.shape))[:len(spec.shape)], layout=None)

    return tuple(resized(spec) if isinstance(spec, TensorSpec) and not spec.is_dynamic
                 and not isinstance(spec.values, tuple) else spec for spec in inputs)


def requiring_grad(example: Example) -> Example | None:
    """Return the example with every float input that may be a leaf that requires grad; None where that is not new."""
    if example.capture in FUNCTIONAL_CAPTURES:
        return None
    inputs = tuple(spec.replace(requires_grad=True) if isinstance(spec, TensorSpec) and spec.dtype.is_floating_point
                   and may_require_grad(holder) else spec for spec, holder in zip(example.inputs, example.placeholders))
    return _given(example, inputs, "gradients", "inputs require grad")


def _given(example: Example, inputs: tuple[Any, ...], direction: str, what: str) -> Example | None:
    """Return the example with other inputs, None where these are the same or do not fit."""
    if inputs == example.inputs:
        return None

    def apply(draft: Draft) -> None:
        draft.inputs[:] = inputs
        draft.touch_inputs()

    try:
        return step(example, Edit(direction, what, what, apply))
    except Inapplicable:
        return None
