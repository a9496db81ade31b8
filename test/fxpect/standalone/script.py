"""The stand-alone script of a finding: torch alone, the graph node by node, exit 1 while the failure is there."""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
from torch.fx import GraphModule, Node

from fxpect.errors import CheckFailure
from fxpect.examples import Example
from fxpect.specs import Dim, Same, TensorSpec
from fxpect.standalone import body as standalone
from fxpect.text.targets import target_name

MAX_LITERAL = 512

_PLAIN = "graph", "module", "module-inputs", "pattern", "transformer"


def standalone_script(pass_: Any, example: Example, failure: CheckFailure, *, seed: int = 0,
                      pass_source: str | None = None) -> str:
    """Return a program that rebuilds the graph, runs the pass, and exits 1 while the finding is there.

    ``pass_source`` is text that defines ``the_pass``; without it the pass's import path is used, and a
    pass without one gets a marked line to fill in.
    """
    gm = example.graph_module
    body = inspect.getsource(standalone).split('"""', 2)[2].lstrip()
    kind = pass_.kind if pass_.kind in _PLAIN else "module"
    message = str(failure.message).replace("\\", "\\\\").replace('"""', "'''")
    return "\n".join([
        f'"""{pass_.name} breaks {failure.oracle}: {message}\n\n'
        f'Steps from the innocent example: {"; ".join(example.edits) or "none"}.\n'
        'Exits 1 while the failure is there, 0 when it is gone.\n"""',
        "import operator", body,
        "\n# ---------------------------------------------------------------- the pass\n",
        (pass_source or source_of(pass_)).rstrip(), "\n",
        "# ---------------------------------------------------------------- the case\n",
        _build(gm), "\n", _inputs(example, seed), "\n",
        f'found = verdict(build, make_args, the_pass, {kind!r}, {example.meta_key!r}, {failure.oracle!r}, '
        f"{_symbols(example)!r})",
        'print(f"FAILS: {found}" if found else "OK")', "sys.exit(1 if found else 0)", ""])


def source_of(pass_: Any) -> str:
    """Return text that defines ``the_pass`` by its import path, or a marked line where it has none."""
    written = getattr(pass_.source, "__fxpect_script__", None)
    if written is not None:
        return written() if callable(written) else written
    fn = pass_.source
    module, name = getattr(fn, "__module__", None), getattr(fn, "__qualname__", None)
    if module in (None, "__main__", "builtins") or name is None or "<" in name:
        return f"the_pass = ...  # FILL IN: the callable that {pass_.name!r} stands for"
    return f"import importlib\n\nthe_pass = importlib.import_module({module!r}).{name}"


def _build(gm: GraphModule, name: str = "build") -> str:
    """Return the source of a function that makes this graph module."""
    root: dict[str, str] = {}
    inner: list[str] = []
    names: dict[Node, str] = {}
    lines = ["    graph = torch.fx.Graph()"]
    for node in gm.graph.nodes:
        if node.op == "output":
            lines.append(f"    graph.output({_literal(node.args[0], names)})")
            continue
        names[node] = node.name if node.name.isidentifier() and node.name not in ("graph", "root") else f"{node.name}_"
        if node.op == "placeholder":
            lines.append(f"    {names[node]} = graph.placeholder({node.target!r})")
            continue
        if node.op in ("get_attr", "call_module") and node.target not in root:
            value = standalone.attribute(gm, node.target)
            if isinstance(value, GraphModule):
                part = f"{name}_{len(inner)}"
                inner.append(_build(value, part))
                root[node.target] = f"{part}()"
            else:
                root[node.target] = _module(value) if isinstance(value, torch.nn.Module) else _tensor(value)
        target = repr(node.target) if node.op != "call_function" else target_name(node.target)
        arguments = "" if node.op == "get_attr" else \
            f", {_literal(node.args, names)}, {_literal(dict(node.kwargs), names)}"
        lines.append(f"    {names[node]} = graph.{node.op}({target}{arguments})")
    attributes = "{" + ", ".join(f"{path!r}: {value}" for path, value in root.items()) + "}"
    head = [*inner, f"def {name}():"]
    return "\n".join([*head, *lines, f"    return torch.fx.GraphModule({attributes}, graph)"])


def _module(module: torch.nn.Module) -> str:
    """Return an expression that makes this module with these very values."""
    from fxpect.strategies.directions.modules import constructor_arguments

    arguments = ", ".join(f"{k}={v!r}" for k, v in constructor_arguments(module).items())
    state = ", ".join(f"{k!r}: {_tensor(v)}" for k, v in module.state_dict().items())
    made = f"torch.nn.{type(module).__name__}({arguments}).train({module.training})"
    return f"(lambda m: (m.load_state_dict({{{state}}}), m)[1])({made})" if state else made


def _inputs(example: Example, seed: int) -> str:
    lines = ["def make_args():", "    args = []"]
    values = example.realize(seed=seed)
    for spec, value in zip(example.inputs, values, strict=True):
        if type(spec) is Same:
            lines.append(f"    args.append(args[{spec.index}])")
        elif isinstance(value, torch.Tensor):
            lines.append(f"    args.append({_tensor(value)})")
        else:
            lines.append(f"    args.append({_literal(value, {})})")
    return "\n".join([*lines, "    return args"])


def _tensor(value: Any) -> str:
    """Return an expression for a tensor: its very elements, its strides, its ``requires_grad``."""
    if not isinstance(value, torch.Tensor):
        return repr(value)
    plain = value.detach()
    sizes, strides = list(plain.shape), list(plain.stride())
    grad = ".requires_grad_()" if value.requires_grad else ""
    if plain.numel() > MAX_LITERAL:
        return f"torch.randn({sizes}, generator=torch.Generator().manual_seed(0)).to({plain.dtype}){grad}"
    text = f"torch.tensor({_literal(plain.tolist(), {})}, dtype={plain.dtype}).reshape({sizes})"
    if plain.stride() != torch.empty(plain.shape).stride():
        if any(s == 0 for s, n in zip(plain.stride(), plain.shape, strict=True) if n > 1):
            narrow = [1 if s == 0 else n for s, n in zip(plain.stride(), plain.shape, strict=True)]
            first = plain[tuple(slice(0, n) for n in narrow)]
            text = f"torch.tensor({_literal(first.tolist(), {})}, dtype={plain.dtype}).expand({sizes})"
        else:
            text = f"torch.empty_strided({sizes}, {strides}, dtype={plain.dtype}).copy_({text})"
    return text + grad


def _literal(value: Any, names: dict[Node, str]) -> str:
    if isinstance(value, Node):
        return names[value]
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k!r}: {_literal(v, names)}" for k, v in value.items()) + "}"
    if isinstance(value, tuple):
        inner = ", ".join(_literal(v, names) for v in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, list):
        return "[" + ", ".join(_literal(v, names) for v in value) + "]"
    if isinstance(value, slice):
        return f"slice({_literal(value.start, names)}, {_literal(value.stop, names)}, {_literal(value.step, names)})"
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if value is Ellipsis:
        return "..."
    if isinstance(value, complex):
        return f"complex({_literal(value.real, names)}, {_literal(value.imag, names)})"
    if isinstance(value, torch.device):
        return f"torch.device({str(value)!r})"
    if callable(value) and not isinstance(value, torch.dtype):
        return target_name(value)
    return repr(value)


def _symbols(example: Example) -> dict[str, tuple[str, int]]:
    """Return which placeholder of an int is the size of which dim of which tensor."""
    found: dict[str, tuple[str, int]] = {}
    holders = example.placeholders
    for node, spec in zip(holders, example.inputs, strict=True):
        if not isinstance(spec, Dim):
            continue
        for other, tensor in zip(holders, example.inputs, strict=True):
            if isinstance(tensor, TensorSpec) and spec in tensor.shape:
                found[node.target] = (other.target, tensor.shape.index(spec))
                break
    return found
