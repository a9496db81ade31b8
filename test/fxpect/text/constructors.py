"""Write a module of torch.nn as the call that builds it, and read such a call; a call that does not is not written."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes

from fxpect.errors import FxpectError, GraphTextError
from fxpect.text.annotations import MOST_ELEMENTS
from fxpect.text.values import ValueReader, dotted

_NOTHING: Any = object()
_TORCH_NN = "torch.nn."
_FACTS = (bool, int, float, str, tuple, list, type(None))
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def _first_layer(of: str) -> Callable[[str], Callable[[Any], Any]]:
    return lambda name: lambda module: _argument(getattr(module, of).layers[0], name)


# Arguments that a module keeps under another name, or within another module.
_LAYER: dict[str, Callable[[Any], Any]] = {
    "d_model": lambda m: m.self_attn.embed_dim, "nhead": lambda m: m.self_attn.num_heads,
    "dim_feedforward": lambda m: m.linear1.out_features, "dropout": lambda m: m.dropout.p,
    "layer_norm_eps": lambda m: m.norm1.eps, "batch_first": lambda m: m.self_attn.batch_first,
    "bias": lambda m: m.linear1.bias is not None}
_ELSEWHERE: dict[str, dict[str, Callable[[Any], Any]]] = {
    "MultiheadAttention": {"bias": lambda m: m.in_proj_bias is not None, "add_bias_kv": lambda m: m.bias_k is not None},
    "TransformerEncoderLayer": _LAYER, "TransformerDecoderLayer": _LAYER,
    "TransformerEncoder": {"encoder_layer": lambda m: m.layers[0]},
    "TransformerDecoder": {"decoder_layer": lambda m: m.layers[0]},
    "Transformer": {
        "num_encoder_layers": lambda m: m.encoder.num_layers, "num_decoder_layers": lambda m: m.decoder.num_layers,
        **{name: _first_layer("encoder")(name)
           for name in ("dim_feedforward", "dropout", "activation", "layer_norm_eps", "norm_first", "bias")}},
    "AdaptiveLogSoftmaxWithLoss": {"cutoffs": lambda m: m.cutoffs[:-1]},
    "RNNCellBase": {"num_chunks": lambda m: m.weight_ih.size(0) // m.hidden_size},
    "LinearCrossEntropyLoss": {"in_features": lambda m: m.linear.in_features,
                               "bias": lambda m: m.linear.bias is not None}}


def constructor(module: torch.nn.Module, constant: Callable[[Any], str]) -> str:
    """Return the call that builds a torch.nn module like this one, or ``opaque(...)``.

    ``constant`` writes a constant; ``.hooked("output")`` stands for a hook of ``hooked``. What is opaque: a module of
    no class of torch.nn, one with other hooks, and one that the call of its class does not build, for it was changed
    since.
    """
    kind = type(module)
    try:
        call = _call(module, constant)
        if call is not None:
            call += "".join(f'.hooked("{where}")' for where in _hooks_of(module))
        built = None if call is None else _built(call)
    except (AttributeError, IndexError, FxpectError):
        call = built = None
    if call is None or built is None or not built.is_like(module):
        return f'opaque("{kind.__module__}.{kind.__qualname__}")'
    return call + ("" if module.training else ".eval()")


def hooked(module: torch.nn.Module, where: str) -> torch.nn.Module:
    """Return the module, which from now on negates its first input ("input") or its output ("output"), by a hook."""
    if where == "output":
        module.register_forward_hook(_negate_output)
    else:
        module.register_forward_pre_hook(_negate_input)
    return module


def _negate_output(module: torch.nn.Module, args: Any, output: Any) -> Any:
    return torch.neg(output)


def _negate_input(module: torch.nn.Module, args: Any) -> Any:
    return (torch.neg(args[0]), *args[1:])


HOOKED = (hooked, _negate_output, _negate_input)  # what a stand-alone script needs of it
_HOOKED = {"output": _negate_output, "input": _negate_input}


def _hooks_of(module: torch.nn.Module) -> list[str]:
    """Return where the hooks of ``hooked`` stand, each as often as it is there."""
    held = [*module._forward_pre_hooks.values(), *module._forward_hooks.values()]
    return [where for hook in held for where, known in _HOOKED.items() if hook is known]


def built_tensors(call: str) -> dict[str, Kind]:
    """Return the parameters and buffers of the module that such a call builds, each with what is no number of it."""
    built = _built(call.removesuffix(".eval()"))
    return {} if built is None else built.tensors


def _call(module: torch.nn.Module, constant: Callable[[Any], str]) -> str | None:
    kind: Any = type(module)
    name_of_kind = kind.__name__
    if MODULES.get(name_of_kind) is not kind:
        return None
    arguments = []
    for name, parameter in _parameters(kind):
        value = _argument(module, name)
        if value is _NOTHING:
            if parameter.default is parameter.empty:
                return None
            continue
        if isinstance(value, torch.nn.Module):
            text = _call(value, constant)
            if text is None:
                return None
        elif isinstance(value, torch.Tensor):  # its numbers have a line of their own
            text = f"torch.ones({', '.join([*map(str, value.shape), f'dtype={value.dtype}'])})"
        elif parameter.default is not parameter.empty and (
                value == parameter.default or _same_sizes(value, parameter.default)):
            continue
        else:
            text = constant(value)
        arguments.append(text if parameter.default is parameter.empty else f"{name}={text}")
    dtypes = {tensor.dtype for tensor in [*module.parameters()] or module.buffers()
              if tensor.dtype.is_floating_point or tensor.dtype.is_complex}
    if len(dtypes) == 1 and torch.float32 not in dtypes and _takes_dtype(kind):
        arguments.append(f"dtype={dtypes.pop()}")
    return f"{_TORCH_NN}{name_of_kind}({', '.join(arguments)})"


@functools.cache
def _takes_dtype(kind: Any) -> bool:
    parameters = inspect.signature(kind.__init__).parameters
    return "dtype" in parameters or issubclass(kind, torch.nn.RNNBase)


@functools.cache
def _parameters(kind: Any) -> list[tuple[str, inspect.Parameter]]:
    """Return the arguments that a text shows: all but self, those for a device and a dtype, and the starred."""
    # Recurrent modules take *args, and hand them to the base after the name of their kind.
    recurrent = issubclass(kind, torch.nn.RNNBase) and kind is not torch.nn.RNNBase
    found = dict(inspect.signature(torch.nn.RNNBase.__init__ if recurrent else kind.__init__).parameters)
    if kind is torch.nn.RNN:
        found["nonlinearity"] = inspect.Parameter("nonlinearity", inspect.Parameter.KEYWORD_ONLY, default="tanh")
    unseen = ("self", "device", "dtype", *(("mode",) if recurrent else ()))
    return [(name, parameter) for name, parameter in found.items() if name not in unseen
            and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)]


def _argument(module: torch.nn.Module, name: str) -> Any:
    """Return a constructor argument from where the module keeps it; a tensor under the name bias means "yes"."""
    elsewhere = _ELSEWHERE.get(type(module).__name__, {}).get(name)
    if elsewhere is not None:
        return elsewhere(module)
    if name == "bias" and not (getattr(module, "affine", True) and getattr(module, "elementwise_affine", True)):
        return _NOTHING  # a norm without a weight has no bias whatever it was told, and older ones were told nothing
    value = vars(module).get(name, _NOTHING)  # quicker than getattr, which looks through parameters and modules
    if value is _NOTHING:
        value = module._parameters.get(name, _NOTHING)
    if value is _NOTHING:
        value = getattr(module, name, _NOTHING)
    return value is not None if name == "bias" and not isinstance(value, bool) and value is not _NOTHING else value


def _same_sizes(value: Any, default: Any) -> bool:
    """Say whether ``value`` is the tuple that torch makes of a single default number."""
    return isinstance(value, tuple) and type(default) is int and all(item == default for item in value)


@dataclasses.dataclass(frozen=True)
class Kind:
    """What is known of a tensor before it has numbers."""

    dtype: torch.dtype
    shape: tuple[int, ...] | None
    requires_grad: bool
    parameter: bool

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Kind:
        """Return the kind of a tensor; a parameter that gets its shape with its first input has none."""
        shape = None if torch.nn.parameter.is_lazy(tensor) else tuple(tensor.shape)
        return cls(tensor.dtype, shape, tensor.requires_grad, isinstance(tensor, torch.nn.Parameter))


def tensors_of(module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the parameters and buffers with their names, one that is shared under each of its names."""
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


@dataclasses.dataclass(frozen=True)
class _Built:
    """What a call builds: its print, the facts and hooks of each module in it, and its tensors."""

    print: str
    facts: list[dict[str, Any]]
    tensors: dict[str, Kind]

    @classmethod
    def of(cls, module: torch.nn.Module) -> _Built:
        return cls(repr(module), [_facts(inner) for inner in module.modules()],
                   {name: Kind.of(tensor) for name, tensor in tensors_of(module)})

    def is_like(self, module: torch.nn.Module) -> bool:
        """Say whether a module is of this make, whatever its tensors hold and whatever else it has."""
        inner = list(module.modules())
        if len({one.training for one in inner}) > 1 or len(inner) != len(self.facts) or repr(module) != self.print:
            return False
        if not self.tensors.keys() <= {name for name, _ in tensors_of(module)}:
            return False
        return all(found.get(name, _NOTHING) == fact for facts, found in zip(self.facts, map(_facts, inner))
                   for name, fact in facts.items())


def _facts(module: torch.nn.Module) -> dict[str, Any]:
    found = {name: value for name, value in vars(module).items()
             if isinstance(value, _FACTS) and not name.startswith("_") and name != "training"}
    found |= {name: len(vars(module)[name] or ()) for name in _HOOKS}
    found["forward"] = vars(module).get("forward")
    return found


@functools.lru_cache(maxsize=4096)
def _built(call: str) -> _Built | None:
    """Return what a call builds, None where it cannot be read."""
    tree: Any = ast.parse(call, mode="eval").body
    with _disable_current_modes(), torch.device("meta"):
        return _Built.of(_construct(tree, ValueReader({}, _no_symbol)))


def _no_symbol(kind: str, text: str, line: int) -> Any:
    raise GraphTextError(f"expected a constant as an argument of a module; got {kind}({text!r})", line)


def is_constructor(tree: Any) -> bool:
    """Say whether an expression builds a module: ``torch.nn.Linear(2, 3)``, with ``.eval()`` and hooks or without."""
    call = _without_eval(tree)
    while _hook(call) is not None:
        call = call.func.value
    return (_name(call) or "").startswith(_TORCH_NN)


def read_constructor(tree: Any, reader: ValueReader) -> torch.nn.Module:
    """Return the torch.nn module that an expression builds; its parameters come from a seed of their own.

    Raises GraphTextError for a class that is not in torch.nn, or when torch refuses the arguments.
    """
    call = _without_eval(tree)
    with torch.device("meta"):  # how large it would be, without the memory
        sizes = [tensor.numel() for _, tensor in tensors_of(_construct(call, reader))
                 if not torch.nn.parameter.is_lazy(tensor)]
    if sum(sizes) > MOST_ELEMENTS:
        raise GraphTextError(f"expected at most {MOST_ELEMENTS} parameters; {_name(call)} has {sum(sizes)}",
                             tree.lineno)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return _construct(call, reader).train(call is tree)


def _without_eval(tree: Any) -> Any:
    called = isinstance(tree, ast.Call) and isinstance(tree.func, ast.Attribute) and tree.func.attr == "eval"
    return tree.func.value if called and isinstance(tree.func.value, ast.Call) else tree


def _name(tree: Any) -> str | None:
    return dotted(tree.func) if isinstance(tree, ast.Call) else None


def _hook(tree: Any) -> str | None:
    """Return where the hook of ``torch.nn.Linear(2, 3).hooked("output")`` stands, None for another expression."""
    if not (isinstance(tree, ast.Call) and isinstance(tree.func, ast.Attribute) and tree.func.attr == "hooked"):
        return None
    where = tree.args[0].value if len(tree.args) == 1 and isinstance(tree.args[0], ast.Constant) else None
    if where not in _HOOKED or tree.keywords or not isinstance(tree.func.value, ast.Call):
        raise GraphTextError('expected a module and .hooked("input") or .hooked("output")', tree.lineno)
    return str(where)


def _construct(tree: Any, reader: ValueReader) -> torch.nn.Module:
    where = _hook(tree)
    if where is not None:
        return hooked(_construct(tree.func.value, reader), where)
    name = _name(tree) or ""
    kind = MODULES.get(name.removeprefix(_TORCH_NN))
    if kind is None or not name.startswith(_TORCH_NN):
        raise GraphTextError(f"expected a module of torch.nn; got {name}", tree.lineno)
    args = [_read_argument(item, reader) for item in tree.args]
    kwargs = {item.arg: _read_argument(item.value, reader) for item in tree.keywords if item.arg}
    try:
        return kind(*args, **kwargs)
    except Exception as error:
        raise GraphTextError(f"cannot build {name}: {error}", tree.lineno) from error


def _read_argument(tree: Any, reader: ValueReader) -> Any:
    """Return an argument of a module: a constant, a tensor of ones, or another module."""
    name = _name(tree) or ""
    if name.startswith(_TORCH_NN) and name.removeprefix(_TORCH_NN) in MODULES:
        return _construct(tree, reader)
    if name == "torch.ones":
        sizes = [reader.read(item) for item in tree.args]
        dtype = next((reader.read(item.value) for item in tree.keywords if item.arg == "dtype"), None)
        if not all(type(size) is int for size in sizes) or not isinstance(dtype, torch.dtype):
            raise GraphTextError("expected torch.ones with sizes and a dtype", tree.lineno)
        return torch.ones(sizes, dtype=dtype)
    return reader.read(tree)


def _buildable_modules() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in torch.nn.modules.__all__:
        kind = getattr(torch.nn, name, None)
        is_module = isinstance(kind, type) and issubclass(kind, torch.nn.Module)
        if is_module and kind.__module__.startswith("torch.nn.modules"):
            if name not in ("Module", "Container", "Sequential", "ModuleList", "ModuleDict", "ParameterList",
                            "ParameterDict"):
                found[name] = kind
    return found


MODULES = _buildable_modules()
