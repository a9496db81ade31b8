"""Modules: another configuration, hooks, arguments of the call, train and eval, shared modules."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from fxpect.strategies.directions.attributes import MADE_NAMES, own_attribute
from fxpect.strategies.draft import Draft, Edit, Inapplicable
from fxpect.strategies.trial import Call
from fxpect.text.constructors import hooked

OPTIONAL = frozenset({"momentum"})
SIZES = frozenset({"in_channels", "out_channels", "in_features", "out_features", "num_features", "num_channels",
                   "normalized_shape", "embedding_dim", "embed_dim"})
OTHER_WORDS = {"padding_mode": ("reflect", "circular", "replicate"), "padding": ("same", "valid")}


def configurations(d: Draft) -> Iterator[Edit]:
    """One constructor argument of one module changed, or a size at all modules that name it."""
    held = {node.target: d.gm.get_submodule(node.target) for node in d.calls() if node.op == "call_module"}
    for path, module in held.items():
        for name, value in constructor_arguments(module).items():
            for new in _other_values(name, value):
                changes = {path: {name: new}}
                if name == "padding_mode" and not any(_flat(getattr(module, "padding", 0))):
                    changes[path]["padding"] = 1  # without a padding its mode makes no difference
                if not _fits(d, changes) and name in SIZES:
                    changes = {p: {n: new for n, v in constructor_arguments(m).items() if n in SIZES and v == value}
                               for p, m in held.items()}
                    changes = {p: change for p, change in changes.items() if change}
                if _fits(d, changes):
                    yield Edit("modules", f"{path}.{name}: {value!r} -> {new!r}" + (
                        f" and {len(changes) - 1} more" if len(changes) > 1 else ""),
                        f"{type(module).__name__}.{name} {_class_of(new)}",
                        lambda draft, changes=changes: _reconfigure(draft, changes))
    yield from _hooked(d)
    yield from _named(d)
    yield from _called_otherwise(d)


def _hooked(d: Draft) -> Iterator[Edit]:
    """Yield a hook on a module, which its call runs and its forward does not, and a path through another module."""
    for node in d.calls():
        if node.op != "call_module":
            continue
        module, kind = d.gm.get_submodule(node.target), type(d.gm.get_submodule(node.target)).__name__
        for where in ("output", "input"):
            twin = hooked(copy.deepcopy(module), where)
            if d.trial.fits(calls={node: Call("call_function", twin, node.args, node.kwargs)}):
                yield Edit("modules", f"{node.target} with a hook on its {where}", f"{kind} with a hook",
                           lambda draft, at=node.name, where=where: _swap_module(
                               draft, draft.node(at),
                               hooked(copy.deepcopy(draft.gm.get_submodule(draft.node(at).target)), where)))
        if "." not in node.target:
            yield Edit("modules", f"{node.target} within a module", f"{kind} within a module",
                       lambda draft, at=node.name: _nest(draft, draft.node(at)))


def _named(d: Draft) -> Iterator[Edit]:
    """Yield other names of modules: one that passes give, and that of another module with its dots taken out."""
    paths = list(dict.fromkeys(node.target for node in d.calls() if node.op == "call_module"))
    for path in dict.fromkeys((*paths[:1], *paths[-1:])):
        for name in MADE_NAMES:
            if not hasattr(d.gm, name):
                yield Edit("modules", f"{path} named {name}", f"a module named {name}",
                           lambda draft, path=path, name=name: _rename(draft, path, name))
    plain = [path for path in paths if "." not in path]
    for path, other in zip(plain, plain[1:]):
        def apply(draft: Draft, path=path, other=other):
            call = next(node for node in draft.calls() if node.op == "call_module" and node.target == path)
            _nest(draft, call)
            _rename(draft, other, call.target.replace(".", "_"))

        yield Edit("modules", f"{path} within a module, {other} named like its path", "modules named alike", apply)


def _rename(draft: Draft, path: str, name: str) -> None:
    setattr(draft.gm, name, draft.gm.get_submodule(path))
    _call_by(draft, path, name)


def _called_otherwise(d: Draft) -> Iterator[Edit]:
    """Yield a call with an argument that has a default, such as ``output_size`` of a transposed convolution."""
    for node in d.calls():
        if node.op != "call_module" or d.tensor(node) is None:
            continue
        module = d.gm.get_submodule(node.target)
        for position, (name, parameter) in enumerate(inspect.signature(module.forward).parameters.items()):
            if parameter.default is parameter.empty or position < len(node.args) or name in node.kwargs:
                continue
            for value in _argument_values(parameter, d.trial.values[node]):
                for by in ("position", "keyword") if position == len(node.args) else ("keyword",):
                    def given(call: torch.fx.Node, name=name, value=value, by=by) -> tuple[tuple, dict[str, Any]]:
                        """Return the arguments of the call and one more."""
                        return ((*call.args, value), dict(call.kwargs)) if by == "position" else \
                            (call.args, {**call.kwargs, name: value})

                    if d.trial.fits(calls={node: Call(node.op, node.target, *given(node))}):
                        yield Edit("modules", f"{node.name}.{name} = {value!r} by {by}",
                                   f"{type(module).__name__}.{name} given",
                                   lambda draft, at=node.name, given=given: draft.set_args(
                                       draft.node(at), *given(draft.node(at))))


def _argument_values(parameter: inspect.Parameter, result: Any) -> Iterator[Any]:
    """Yield values for an argument of a module's call: the other flag, sizes like those of what it gives."""
    if isinstance(parameter.default, bool):
        yield not parameter.default
    elif "int" in str(parameter.annotation) and isinstance(result, torch.Tensor):
        yield [size + 1 for size in result.shape[2:]]
        yield list(result.shape[2:])


def _nest(draft: Draft, call: torch.fx.Node) -> None:
    """Let a module be called by a path through another module."""
    old, holder = call.target, nn.Module()
    holder.add_module(old, draft.gm.get_submodule(old))
    name = own_attribute(draft, "block", holder)
    _call_by(draft, old, f"{name}.{old}")


def modes(d: Draft) -> Iterator[Edit]:
    """One module, or all, in the other of train and eval mode."""
    if d.promises.inference:
        return
    holders = [n for n in d.calls() if n.op == "call_module"]
    for node in holders:
        module = d.gm.get_submodule(node.target)
        mode = "eval" if module.training else "train"

        def apply(draft: Draft, at=node.name):
            call = draft.node(at)
            twin = copy.deepcopy(draft.gm.get_submodule(call.target))
            _swap_module(draft, call, twin.train(not twin.training))

        yield Edit("modules", f"{node.target} in {mode} mode", f"{type(module).__name__} in {mode} mode", apply)


def sharing(d: Draft) -> Iterator[Edit]:
    """One module at two call sites, its parameters used elsewhere, its twin with parameters of its own."""
    holders = [n for n in d.calls() if n.op == "call_module"]
    for node in holders:
        module = d.gm.get_submodule(node.target)
        for other in holders:
            if other.target != node.target and type(d.gm.get_submodule(other.target)) is type(module) and \
                    d.trial.fits(calls={other: Call(other.op, node.target, other.args, other.kwargs)}):
                yield Edit("modules", f"{other.name} calls {node.target}", f"{type(module).__name__} shared",
                           lambda draft, at=other.name, to=node.target: _retarget(draft, at, to))
        for name, _ in module.named_parameters(recurse=False):
            def apply(draft: Draft, at=node.name, path=f"{node.target}.{name}"):
                parameter = draft.insert(draft.placeholders[-1], "get_attr", path)
                draft.add_output(draft.insert(draft.node(at), "call_function", torch.neg, (parameter,)))

            yield Edit("modules", f"{node.target}.{name} read elsewhere",
                       f"{type(module).__name__}.{name} read elsewhere", apply)


def constructor_arguments(module: nn.Module) -> dict[str, Any]:
    """Return the constructor's arguments as the module's attributes tell them; a missing one is left out."""
    found = {}
    for name, parameter in inspect.signature(type(module).__init__).parameters.items():
        if name in ("self", "device", "dtype", "args", "kwargs"):
            continue
        value = getattr(module, name, parameter.default)
        if name == "bias":
            value = getattr(module, "bias", None) is not None
        if isinstance(value, (bool, int, float, str, tuple, list, type(None))):
            found[name] = value
        elif parameter.default is parameter.empty:
            return {}
    return found


def rebuilt(module: nn.Module, **changes: Any) -> nn.Module:
    """Return a module of the same class with other constructor arguments and values from a fixed generator."""
    arguments = {**constructor_arguments(module), **changes}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            new = type(module)(**arguments).train(module.training)
        except Exception as error:
            raise Inapplicable(f"{type(module).__name__}: {error}") from error
        for name, value in [*new.named_parameters(), *new.named_buffers()]:
            if value.dtype.is_floating_point:
                with torch.no_grad():
                    value.copy_(torch.rand_like(value) + 0.5 if "var" in name or "weight" in name and value.dim() == 1
                                else torch.randn_like(value))
    return new


def _fits(d: Draft, changes: dict[str, dict[str, Any]]) -> bool:
    """Whether the graph runs with other arguments of the constructors at some paths."""
    try:
        made = {path: rebuilt(d.gm.get_submodule(path), **change) for path, change in changes.items()}
    except Inapplicable:
        return False
    calls = {node: Call("call_function", made[node.target], node.args, node.kwargs)
             for node in d.calls() if node.op == "call_module" and node.target in made}
    return d.trial.fits(calls=calls)


def _reconfigure(draft: Draft, changes: dict[str, dict[str, Any]]) -> None:
    for path, change in changes.items():
        call = next(node for node in draft.calls() if node.op == "call_module" and node.target == path)
        _swap_module(draft, call, rebuilt(draft.gm.get_submodule(path), **change))


def _swap_module(draft: Draft, call: torch.fx.Node, module: nn.Module) -> None:
    _call_by(draft, call.target, own_attribute(draft, call.target, module))


def _call_by(draft: Draft, old: str, new: str) -> None:
    """Let every call of the module at one path call that at another."""
    for node in draft.calls():
        if node.op == "call_module" and node.target == old:
            node.target = new
            draft.touch(node)


def _retarget(draft: Draft, at: str, to: str) -> None:
    node = draft.node(at)
    node.target = to
    draft.touch(node)


def _other_values(name: str, value: Any) -> Iterator[Any]:
    if isinstance(value, bool):
        yield not value
    elif name in OTHER_WORDS and isinstance(value, str):
        yield from (w for w in OTHER_WORDS[name] if w != value)
    elif isinstance(value, int):
        yield from (value + 1, 2 * value, max(1, value // 2), 1)
    elif isinstance(value, float):
        yield from (0.0, 1.0, 2 * value)
        if name in OPTIONAL:
            yield None
    elif isinstance(value, (tuple, list)) and all(isinstance(v, int) for v in value):
        yield from OTHER_WORDS.get(name, ())
        yield type(value)(v + 1 for v in value)
        yield type(value)([value[0] + 1, *value[1:]])
        yield type(value)([*value[:-1], value[-1] + 1])
    elif value is None:
        yield from (0.5, 3)


def _flat(value: Any) -> tuple:
    return tuple(value) if isinstance(value, (tuple, list, str)) else (value,)


def _class_of(value: Any) -> str:
    return f"= {value}" if isinstance(value, (bool, str, type(None))) else "other"
