"""Write the signature of an exported program as decorator lines, and read them back as plain records."""

from __future__ import annotations

from typing import Any


def signature_lines(signature: Any, names: dict[str, str]) -> list[str]:
    """Return one line for each input that is not the user's own, and each output that is written back.

    ``names`` maps the names of the graph's placeholders to those of the text.
    """
    lines = []
    for spec in signature.input_specs:
        kind = spec.kind.name.lower()
        if kind == "user_input":
            continue
        name = names.get(getattr(spec.arg, "name", ""), "")
        extra = "" if spec.persistent is not False else ", persistent=False"
        lines.append(f'@{kind}("{name}", "{spec.target}"{extra})')
    for index, spec in enumerate(signature.output_specs):
        kind = spec.kind.name.lower()
        if kind != "user_output":
            target = names.get(spec.target, spec.target)
            lines.append(f'@{kind}({index}, "{target}")' if spec.target is not None else f"@{kind}({index})")
    return lines
