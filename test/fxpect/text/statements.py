"""Read a graph text as lines with names and references, for comparing: no torch, nothing built."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from fxpect.errors import GraphTextError

HOLE = "·"
_ASSIGNMENT = re.compile(r'( *)([^\W\d]\w*)(?:: "([^"]*)")? = (.*)')
_RETURN = re.compile(r"( *)return(?: (.*))?")
_DEF = re.compile(r"( *)def ([^\W\d]\w*)\((.*)")
_PARAMETER = re.compile(r'(\**[^\W\d]\w*)(?:: "([^"]*)")?(?: ?= ?(.*))?')
_NOTE = re.compile(r' *(self[.\[]|\w+: "[^"]*"$|pass$)')
_WORD = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|(?<![\w.])([^\W\d]\w*)\b(?!=)""")


@dataclass
class Value:
    """One line that computes something: an input, a call, or the return.

    ``template`` is the right side with a hole for each value that it uses; ``inputs`` are the positions of those
    values in the function.
    """

    name: str
    template: str
    inputs: tuple[int, ...] = ()
    type: str | None = None
    text: str = ""

    @property
    def word(self) -> str:
        """What the line does in one word: ``clone`` for ``torch.ops.aten.clone.default``."""
        callee = self.template.partition("(")[0]
        if callee.startswith("torch.ops."):
            return callee.split(".")[3] if callee.count(".") > 3 else callee.rpartition(".")[2]
        return callee.removeprefix("self.") if callee.startswith("self") else callee.rpartition(".")[2] or callee


@dataclass
class Function:
    """One graph of a text: its inputs first, then its calls, the return last; ``notes`` are all its other lines."""

    name: str
    values: list[Value] = field(default_factory=list)
    inputs: int = 0
    notes: list[str] = field(default_factory=list)
    nested: list[Function] = field(default_factory=list)


def read(text: str) -> Function:
    """Return the graph that a text shows; raises GraphTextError, with the line, where it is no graph text."""
    lines = text.expandtabs(4).splitlines()
    notes = []
    index = 0
    while index < len(lines) and not lines[index].lstrip().startswith("def "):
        if lines[index].strip():
            if not lines[index].lstrip().startswith(("@", "#")):
                raise GraphTextError(f"expected a graph text; got {lines[index][:60]!r}", index + 1)
            notes.append(lines[index].strip())
        index += 1
    if index == len(lines):
        raise GraphTextError("expected a graph text with a def; got none", index or 1)
    function, index = _function(lines, index)
    function.notes[:0] = notes
    rest = [number for number in range(index, len(lines)) if lines[number].strip()]
    if rest:
        raise GraphTextError(f"expected one graph; got {lines[rest[0]][:60]!r} after it", rest[0] + 1)
    return function


def _function(lines: list[str], index: int) -> tuple[Function, int]:
    head = _DEF.match(lines[index])
    if head is None:
        raise GraphTextError(f"expected def; got {lines[index][:60]!r}", index + 1)
    indent = len(head[1])
    function, places = Function(head[2]), {}
    parameters, index = _parameters(lines, index, head[3])
    for number, parameter in enumerate(parameters):
        found = _PARAMETER.fullmatch(parameter)
        if found is None:
            raise GraphTextError(f"expected a parameter; got {parameter[:60]!r}", index)
        if number or found[1] != "self":
            name = found[1].lstrip("*")
            places[name] = len(function.values)
            default = "" if found[3] is None else f" = {found[3]}"
            function.values.append(Value(name, f"{found[1][:-len(name)]}input{default}", (), found[2], parameter))
    function.inputs = len(function.values)
    while index < len(lines):
        line = lines[index]
        depth = len(line) - len(line.lstrip(" "))
        if line.strip() and depth <= indent:
            break
        if line.lstrip(" ").startswith("def "):
            child, index = _function(lines, index)
            function.nested.append(child)
            continue
        if line.strip():
            _line(function, places, line, index + 1)
        index += 1
    return function, index


def _parameters(lines: list[str], index: int, rest: str) -> tuple[list[str], int]:
    """Return the parameters of a head on one line or on many, and the number of the line after it."""
    start = index
    while not rest.rstrip().endswith("):"):
        index += 1
        if index == len(lines):
            raise GraphTextError("expected ): after the parameters", start + 1)
        rest = rest + lines[index].strip()
    parts = re.split(r', ?(?=(?:[^"]*"[^"]*")*[^"]*$)', rest.rstrip()[:-2]) if len(rest) < 2000 else _split(rest[:-2])
    return [part for part in (part.strip() for part in parts) if part], index + 1


def _split(text: str) -> list[str]:
    """Split at the commas outside quotes, in one pass."""
    pieces = text.split('"')
    parts, current = [], ""
    for number, piece in enumerate(pieces):
        if number % 2:
            current += f'"{piece}"'
            continue
        first, *others = piece.split(",")
        current += first
        for other in others:
            parts.append(current)
            current = other
    return [*parts, current]


def _line(function: Function, places: dict[str, int], line: str, number: int) -> None:
    found = _ASSIGNMENT.fullmatch(line)
    if found is not None:
        template, inputs = _holes(found[4], places)
        places[found[2]] = len(function.values)
        function.values.append(Value(found[2], template, inputs, found[3], line.strip()))
        return
    found = _RETURN.fullmatch(line)
    if found is not None:
        template, inputs = _holes(found[2] or "None", places)
        function.values.append(Value("return", template, inputs, None, line.strip()))
    elif _NOTE.match(line):
        function.notes.append(line.strip())
    else:
        raise GraphTextError(f"expected a line of a graph; got {line.strip()[:60]!r}", number)


def _holes(expression: str, places: dict[str, int]) -> tuple[str, tuple[int, ...]]:
    inputs: list[int] = []

    def hole(found: re.Match) -> str:
        place = places.get(found[1]) if found[1] else None
        if place is None:
            return found[0]
        inputs.append(place)
        return HOLE

    return _WORD.sub(hole, expression), tuple(inputs)
