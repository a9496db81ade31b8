"""A model with its arguments: bound, flattened, named, and cut off from the caller's objects."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils import _pytree as pytree

from fxpect.errors import CaptureError, SpecError
from fxpect.specs import Dim, Same, TensorSpec, default_sizes


@dataclasses.dataclass
class Call:
    """A model of our own and one call of it, flat.

    ``specs`` are the caller's inputs leaf by leaf (tensors are private clones), ``values`` the real
    arguments made from them, ``names`` what the model calls them, ``tree`` how they nest in
    ``(args, kwargs)``. ``function`` is the plain function, where the model is one.
    """

    name: str
    model: torch.nn.Module
    function: Callable | None
    specs: list[Any]
    values: list[Any]
    names: list[str]
    tree: pytree.TreeSpec
    sizes: dict[str, int]
    dynamic: bool | None

    def arguments(self, values: list[Any] | None = None) -> tuple[tuple, dict]:
        """Return ``(args, kwargs)`` with these leaves, or with the real ones."""
        return pytree.tree_unflatten(self.values if values is None else values, self.tree)

    def dims(self, leaf: int) -> list[Dim | None]:
        """Return, per dim of tensor leaf ``leaf``, the named ``Dim`` that it has; None where it is fixed."""
        spec, value = self.specs[leaf], self.values[leaf]
        if not isinstance(spec, TensorSpec) or self.dynamic is False:
            return [None] * value.dim()
        return [size if isinstance(size, Dim) else None for size in spec.shape]

    def free_dims(self, leaf: int) -> list[bool]:
        """Return, per dim of tensor leaf ``leaf``, whether ``dynamic=True`` asks to leave its size open."""
        spec, value = self.specs[leaf], self.values[leaf]
        rigid = isinstance(spec, TensorSpec) and (isinstance(spec.values, tuple) or isinstance(spec.layout, tuple))
        return [bool(self.dynamic) and not rigid and size >= 2 for size in value.shape]

    def tensor_leaves(self) -> list[int]:
        """Return the places of the leaves that are tensors."""
        return [i for i, value in enumerate(self.values) if isinstance(value, torch.Tensor)]


def bind(model: Any, inputs: tuple, kwargs: Mapping[str, Any] | None, dynamic: bool | None,
         device: Any = None) -> Call:
    """Return the call of a private copy of ``model``; raises ``CaptureError`` where the inputs do not fit."""
    name = model_name(model)
    leaves, tree = pytree.tree_flatten((tuple(inputs), dict(kwargs or {})))
    leaves = _private(leaves)
    dims = [dim for leaf in leaves for dim in _dims_of(leaf)]
    sizes = default_sizes(dims)
    values = realize(leaves, sizes, device)
    module, function = _own(model, name)
    names = _leaf_names(module.forward, tree, name)
    return Call(name, module, function, leaves, values, names, tree, sizes, dynamic)


def model_name(model: Any) -> str:
    """Return what messages call the model."""
    if isinstance(model, torch.nn.Module):
        return type(model).__name__
    return getattr(model, "__qualname__", None) or getattr(model, "__name__", None) or type(model).__name__


def realize(specs: list[Any], sizes: Mapping[str, int], device: Any = None) -> list[Any]:
    """Return one value per spec; raises ``SpecError`` for a ``Same`` that does not point backwards."""
    values: list[Any] = []
    for i, spec in enumerate(specs):
        if isinstance(spec, TensorSpec):
            value: Any = spec.example(sizes, seed=i, device=device or "cpu")
        elif isinstance(spec, Same):
            if spec.index >= i or not isinstance(values[spec.index], torch.Tensor):
                raise SpecError(f"input {i}: expected {spec!r} to name an earlier tensor; got "
                                f"{'input ' + str(spec.index) if spec.index >= i else repr(specs[spec.index])}")
            value = spec.alias(values[spec.index])
        elif isinstance(spec, Dim):
            value = spec.size(sizes)
        elif isinstance(spec, torch.Tensor) and device is not None:
            value = spec.detach().to(device).requires_grad_(spec.requires_grad)
        else:
            value = spec
        values.append(value)
    return values


def identifier(text: str) -> str:
    """Return ``text`` as a Python identifier."""
    name = re.sub(r"\W+", "_", text).strip("_") or "arg"
    return f"_{name}" if name[0].isdigit() else name


def _dims_of(leaf: Any) -> tuple[Dim, ...]:
    if isinstance(leaf, TensorSpec):
        return leaf.dims
    return (leaf,) if isinstance(leaf, Dim) else ()


def _private(leaves: list[Any]) -> list[Any]:
    """Return the leaves with real tensors cloned; a tensor that comes twice becomes ``Same``."""
    memo: dict[int, Any] = {}
    first: dict[int, int] = {}
    result: list[Any] = []
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, torch.Tensor):
            if id(leaf) in first:
                result.append(Same(first[id(leaf)]))
                continue
            first[id(leaf)] = i
            leaf = clone(leaf, memo)
        result.append(leaf)
    return result


def clone(tensor: torch.Tensor, memo: dict[int, Any]) -> torch.Tensor:
    """Return a leaf like ``tensor``; tensors cloned with one memo that shared storage share it again."""
    copied = copy.deepcopy(tensor.detach(), memo)
    return copied.requires_grad_(tensor.requires_grad)


def _own(model: Any, name: str) -> tuple[torch.nn.Module, Callable | None]:
    if isinstance(model, torch.nn.Module):
        try:
            return copy.deepcopy(model), None
        except Exception as error:
            raise CaptureError(f"{name}: the model cannot be copied: {first_line(error)}") from error
    if not callable(model):
        raise CaptureError(f"expected a Module, a callable, an ExportedProgram, a GraphModule or a graph text; "
                           f"got {model!r}")
    module = torch.nn.Module()
    module.forward = model
    return module, model


def first_line(error: BaseException) -> str:
    """Return the type of an error and the first line that it says."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__


def _leaf_names(function: Callable, tree: pytree.TreeSpec, name: str) -> list[str]:
    """Return an identifier per leaf, from the model's own parameter names."""
    args, kwargs = pytree.tree_unflatten(list(range(tree.num_leaves)), tree)
    parameters: list[str] = []
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        signature = None
    if signature is not None:
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise CaptureError(f"{name}: the inputs do not fit forward{signature}: {error}") from error
        parameters = [p.name for p in signature.parameters.values()
                      if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    roots = [*((parameters[i] if i < len(parameters) else f"arg_{i}", value) for i, value in enumerate(args)),
             *kwargs.items()]
    names = []
    for root, value in roots:
        for path, _ in pytree.tree_flatten_with_path(value)[0]:
            names.append(identifier(root + "".join(f"_{_key(key)}" for key in path)))
    return names


def _key(key: Any) -> Any:
    for attribute in ("idx", "key", "name"):
        if hasattr(key, attribute):
            return getattr(key, attribute)
    return key
