"""Write the signature of an exported program as decorator lines, and read such lines back as they were."""

from __future__ import annotations

import ast
from typing import Any

from fxpect.errors import GraphTextError


def signature_lines(signature: Any, names: dict[str, str]) -> list[str]:
    """Return one line for each input that is not the user's own, and each output that is written back.

    ``names`` maps the names of the graph's placeholders to those of the text.
    """
    lines = []
    for spec in signature.input_specs:
        kind = spec.kind.name.lower()
        if kind != "user_input":
            arguments = [names.get(getattr(spec.arg, "name", ""), ""), spec.target]
            lines.append(_line(kind, arguments, {} if spec.persistent is not False else {"persistent": False}))
    for index, spec in enumerate(signature.output_specs):
        kind = spec.kind.name.lower()
        if kind != "user_output":
            target = [] if spec.target is None else [names.get(spec.target, spec.target)]
            lines.append(_line(kind, [index, *target], {}))
    return lines


def _line(kind: str, arguments: list[Any], extra: dict[str, Any]) -> str:
    words = [f'"{item}"' if isinstance(item, str) else repr(item) for item in arguments]
    return f"@{kind}({', '.join([*words, *[f'{key}={value!r}' for key, value in extra.items()]])})"


def read_signature(decorators: list[Any]) -> list[str]:
    """Return the lines of the decorators of a text; raises GraphTextError for one that is no plain record."""
    lines = []
    for tree in decorators:
        plain = isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name)
        values = [*tree.args, *(item.value for item in tree.keywords)] if plain else []
        if not plain or not all(isinstance(item, ast.Constant) for item in values):
            raise GraphTextError('expected a line of a signature such as @buffer("b_mean", "norm.mean")', tree.lineno)
        extra = {item.arg: item.value.value for item in tree.keywords if item.arg}
        lines.append(_line(tree.func.id, [item.value for item in tree.args], extra))
    return lines
