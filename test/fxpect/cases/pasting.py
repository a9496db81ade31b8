"""Turn an example into lines of Python that can be pasted into a test, and check that they fail there too."""

from __future__ import annotations

from typing import Any

import torch

from fxpect.capture import capture as capture_model
from fxpect.errors import SpecError
from fxpect.examples import Example
from fxpect.specs import TensorSpec, spec_of
from fxpect.specs.writing import spec_call
from fxpect.text.printer import graph_text

MAX_ELEMENTS = 64


def with_values(example: Example, seed: int) -> Example:
    """Return the example with small tensors spelled out element by element, as they are under ``seed``."""
    inputs: list[Any] = []
    for spec, value in zip(example.inputs, example.realize(seed=seed), strict=True):
        if (
            isinstance(value, torch.Tensor)
            and isinstance(spec, (torch.Tensor, TensorSpec))
            and value.numel() <= MAX_ELEMENTS
            and not (isinstance(spec, TensorSpec) and spec.is_dynamic)
        ):
            try:
                spec = spec_of(value).replace(values=value.detach().tolist(), seed=None)
            except SpecError:
                pass
        inputs.append(spec)
    return example.replace(inputs=tuple(inputs))


def reread(example: Example, order: str = "canonical") -> Example:
    """Return the example that a test makes when it is given the text, in this order, and the specs."""
    text = graph_text(example.graph_module, order=order)
    return capture_model(text, example.portable().inputs, capture=example.capture)


def paste(method: str, pass_name: str, example: Example, extra: str = "", order: str = "canonical") -> str:
    """Return the call of a verb with the graph as text in this order; it needs ``from fxpect import T``."""
    text = graph_text(example.graph_module, order=order).rstrip("\n")
    quoted = f'r"""\n{text}\n"""' if '"""' not in text else repr(text + "\n")
    inputs = "".join(f", {spec_call(spec)}" for spec in example.inputs)
    return f'self.{method}({pass_name}, {quoted}{inputs}, capture="{example.capture}"{extra})'


def display_name(pass_name: str) -> str:
    """Return a pass's name as a test would write it; "the_pass" for one without a name."""
    name = pass_name.rpartition(".")[2]
    return name if name.isidentifier() else "the_pass"
