"""The stand-alone script of a finding: torch alone, the graph node by node, exit 1 while the failure is there."""

from __future__ import annotations

import base64
import builtins
import inspect
import keyword
import math
import pickle
import re
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from fxpect.errors import CheckFailure
from fxpect.examples import Example
from fxpect.oracles import memory
from fxpect.specs import Dim, Same, TensorSpec
from fxpect.specs.values import kind_of
from fxpect.standalone import body as standalone
from fxpect.text.constructors import HOOKED, constructor, tensors_of
from fxpect.text.modules import numbers_of
from fxpect.text.packing import inputs_of, packing, packing_code
from fxpect.text.targets import imports_of, target_name

MAX_LITERAL = 512  # elements that are written one by one; of more the bytes are packed
MAX_PACKED = 1 << 20  # characters; of a tensor that takes more the kind of values is kept

_PLAIN = "graph", "module", "module-inputs", "pattern", "transformer"
_HELPERS = (memory.storage_key, memory.strides_that_show, memory.overlap, memory._extent, memory._bytes)
# Names that the lines of a graph use, which none of its values may take.
_USED = frozenset({"torch", "operator", "math", "graph", "root", *dir(builtins), *keyword.kwlist, *vars(standalone),
                   *(part.__name__ for part in HOOKED)})


def standalone_script(pass_: Any, example: Example, failure: CheckFailure, *, seed: int = 0,
                      pass_source: str | None = None) -> str:
    """Return a program that rebuilds the graph, runs the pass, and exits 1 while the finding is there.

    It exits 0 when the finding is gone, and 2 where it cannot tell: an oracle that a script does not hold, a torch
    without the pass, a line to fill in. ``pass_source`` is text that defines ``the_pass``; without it the pass's
    import path is used, and a pass without one gets a marked line to fill in.
    """
    gm = example.graph_module
    kind = pass_.kind if pass_.kind in _PLAIN else "module"
    message = str(failure.message).replace("\\", "\\\\").replace('"""', "'''")
    built = _build(gm)
    imports = sorted({module for name in _calls(gm) for module in imports_of(name)})
    more = [*(HOOKED if "hooked(" in built else ()), *([packing_code] if "packing_code(" in built else [])]
    return "\n".join([
        f'"""{pass_.name} breaks {failure.oracle}: {message}\n\n'
        f'Steps from the innocent example: {"; ".join(example.edits) or "none"}.\n'
        'Exits 1 while the failure is there, 0 when it is gone, 2 where that cannot be told.\n"""',
        "from __future__ import annotations\n",
        *(f"import {module}" for module in ("operator", *imports)), _body(more),
        "\n# ---------------------------------------------------------------- the pass\n",
        (pass_source or source_of(pass_)).rstrip(), "\n",
        "# ---------------------------------------------------------------- the case\n",
        built, "\n", _inputs(example, seed), "\n",
        "try:",
        f"    found = verdict(build, make_args, the_pass, {kind!r}, {example.meta_key!r}, {failure.oracle!r}, "
        f"{_symbols(example)!r})",
        "except CannotTell as reason:", '    print(f"CANNOT TELL: {reason}")', "    sys.exit(2)",
        'print(f"FAILS: {found}" if found else "OK")', "sys.exit(1 if found else 0)", ""])


def _body(more: Iterable[Callable[..., Any]] = ()) -> str:
    """Return the source of what every script holds, and of ``more`` functions."""
    text = inspect.getsource(standalone).split('"""', 2)[2].lstrip()
    kept = "\n".join(line for line in text.split("\n") if not line.startswith("from fxpect"))
    sources = [inspect.getsource(helper) for part in (_HELPERS, more) for helper in part]
    helpers = [f"EXACT_UP_TO = {memory.EXACT_UP_TO}\n", *sources]
    return "\n\n".join([kept, *helpers])


def _calls(gm: GraphModule) -> set[str]:
    """Return the names of the functions that a graph, or one nested in it, calls."""
    nodes = [node for part in gm.modules() if isinstance(part, GraphModule) for node in part.graph.nodes]
    return {target_name(node.target) for node in nodes if node.op == "call_function"}


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
    names: dict[Node, str] = {}
    lines = ["    graph = torch.fx.Graph()"]
    for node in gm.graph.nodes:
        if node.op == "output":
            lines.append(f"    graph.output({_literal(node.args[0], names)})")
            continue
        names[node] = _name(node.name, set(names.values()))
        if node.op == "placeholder":
            default = f", default_value={_literal(node.args[0], names)}" if node.args else ""
            lines.append(f"    {names[node]} = graph.placeholder({node.target!r}{default})")
            continue
        target = repr(node.target) if node.op != "call_function" else target_name(node.target)
        arguments = "" if node.op == "get_attr" else \
            f", {_literal(node.args, names)}, {_literal(dict(node.kwargs), names)}"
        lines.append(f"    {names[node]} = graph.{node.op}({target}{arguments})")
    spec = packing(gm.graph)
    if spec is not None:
        like = _literal(pytree.tree_unflatten([0] * spec.num_leaves, spec), {})
        lines.append(f"    graph.set_codegen(packing_code({inputs_of(gm.graph)}, pytree.tree_structure({like})))")
    inner, attributes = _attributes(gm, name)
    mode = [] if gm.training else ["    made.training = False"]
    return "\n".join([*inner, f"def {name}():", *attributes, *lines, "    made = torch.fx.GraphModule(root, graph)",
                      *mode, "    return made\n"])


def _name(name: str, taken: set[str]) -> str:
    """Return a variable for a node, near its name."""
    if not name.isidentifier() or name.startswith("build"):
        name = re.sub(r"\W", "_", f"node_{name}")
    while name in _USED or name in taken:
        name += "_"
    return name


def _attributes(gm: GraphModule, name: str) -> tuple[list[str], list[str]]:
    """Return the functions that make the nested graphs, and the lines that make ``root``: attributes by path.

    A tensor that several paths lead to, such as the weight of a module that is called, is one.
    """
    paths = dict.fromkeys(node.target for node in gm.graph.nodes if node.op in ("get_attr", "call_module"))
    inner: list[str] = []
    lines = ["    root = {}"]
    places: dict[int, str] = {}
    for path in sorted(paths, key=lambda path: path.count(".")):
        value = standalone.attribute(gm, path)
        owner = next((root for root in paths if path.startswith(f"{root}.")), None)
        place = f"root[{path!r}]"
        if owner is not None:
            made = f"attribute(root[{owner!r}], {path[len(owner) + 1:]!r})"
        elif id(value) in places:
            made = places[id(value)]
        elif isinstance(value, GraphModule):
            part = f"{name}_{len(inner)}"
            inner.append(_build(value, part))
            made = f"{part}()"
        elif isinstance(value, torch.nn.Module):
            made = _module(value, place, places)
        else:
            made = _tensor(value)
        lines.append(f"    {place} = {made}")
        places.setdefault(id(value), place)
    return inner, lines


def _module(module: torch.nn.Module, place: str, places: dict[int, str]) -> str:
    """Return an expression that makes this module with these very values; ``places`` learns of its tensors."""
    made = constructor(module, lambda value: _literal(value, {}))
    if not made.startswith("torch.nn."):
        kind = f"{type(module).__module__}.{type(module).__qualname__}"
        return _pickled(module) or f"...  # FILL IN: the module that stands here, a {kind}"
    made, *hooks = made.split(".hooked(")  # the script has a function of that name
    wrapped = [f", {hook.partition(')')[0]})" for hook in hooks]
    made = "hooked(" * len(hooks) + made + "".join(wrapped) + (".eval()" if hooks and not module.training else "")
    state = []
    for name, tensor in tensors_of(module):
        state.append(f"{name!r}: {places.get(id(tensor)) or _tensor(tensor)}")
    for name, tensor in tensors_of(module):
        places.setdefault(id(tensor), f"attribute({place}, {name!r})")
    return f"fill({made}, {{{', '.join(state)}}})" if state else made


def _pickled(value: Any) -> str | None:
    """Return an expression for an object of torch, None for what another process may not know."""
    if not type(value).__module__.startswith("torch."):
        return None
    try:
        return f"unpickle({_packed(pickle.dumps(value))!r})"
    except Exception:
        return None


def _packed(data: bytes) -> str:
    return base64.b85encode(zlib.compress(data, 9)).decode()


def _inputs(example: Example, seed: int) -> str:
    lines = ["def make_args():", "    args = []"]
    values = example.realize(seed=seed)
    for spec, value in zip(example.inputs, values, strict=True):
        if type(spec) is Same:
            lines.append(f"    args.append(args[{spec.index}])")
        elif isinstance(spec, Same):  # a view of it
            first, offset = f"args[{spec.index}]", value.storage_offset()
            grad = f".requires_grad_({value.requires_grad})"
            lines.append(f"    args.append({first}.detach().as_strided("
                         f"{list(value.shape)}, {list(value.stride())}, {offset}){grad})")
        elif isinstance(value, torch.Tensor):
            lines.append(f"    args.append({_tensor(value)})")
        else:
            lines.append(f"    args.append({_literal(value, {})})")
    return "\n".join([*lines, "    return args"])


def _tensor(value: Any) -> str:
    """Return an expression for a tensor: its very elements, its strides, its ``requires_grad``."""
    if not isinstance(value, torch.Tensor):
        return repr(value)
    if value.layout is not torch.strided or value.is_quantized:
        return f"unpickle({_packed(pickle.dumps(value.detach()))!r})"
    plain = value.detach().resolve_conj().resolve_neg()
    sizes, strides, offset = list(plain.shape), list(plain.stride()), plain.storage_offset()
    length = 1 + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True)) if plain.numel() else 0
    if plain.is_contiguous() and not offset:
        text = _elements(plain)
    elif offset or memory.overlaps_itself(plain):
        text = f"{_elements(memory.whole(plain)[:offset + length])}.as_strided({sizes}, {strides}, {offset})"
    else:
        text = f"torch.empty_strided({sizes}, {strides}, dtype={plain.dtype}).copy_({_elements(plain)})"
    if isinstance(value, torch.nn.Parameter):
        return f"torch.nn.Parameter({text}{'' if value.requires_grad else ', requires_grad=False'})"
    return text + (".requires_grad_()" if value.requires_grad else "")


def _elements(plain: torch.Tensor) -> str:
    """Return an expression for a contiguous tensor of these elements: one by one, as one, packed, or of their kind."""
    sizes, dtype = list(plain.shape), plain.dtype
    if plain.numel() <= MAX_LITERAL:
        return f"torch.tensor({_literal(numbers_of(plain), {})}, dtype={dtype}).reshape({sizes})"
    packed = _packed(plain.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    if len(packed) <= MAX_PACKED:
        return f"unpack({packed!r}, {dtype}, {sizes})"
    generator = "generator=torch.Generator().manual_seed(0)"
    if dtype.is_floating_point or dtype.is_complex:
        made = f"torch.randn({sizes}, {generator}).to({dtype})"
        return f"{made}.abs().add(0.125)" if kind_of(plain) == "positive" else made
    low, high = int(plain.min()), int(plain.max())
    return f"torch.randint({low}, {high + 1}, {sizes}, {generator}).to({dtype})"


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
