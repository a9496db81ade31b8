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

from fxpect.capture.models import OwnModel, model_name, own_model
from fxpect.errors import CaptureError, SpecError
from fxpect.specs import Dim, Same, TensorSpec, View, default_sizes
from fxpect.specs.realizing import dims_of, realize


@dataclasses.dataclass
class Call:
    """A model of our own and one call of it, flat.

    ``specs`` are the caller's inputs leaf by leaf (tensors are private clones), ``values`` the real
    arguments made from them, ``names`` what the model calls them, ``tree`` how they nest in
    ``(args, kwargs)``.
    """

    name: str
    own: OwnModel
    specs: list[Any]
    values: list[Any]
    names: list[str]
    tree: pytree.TreeSpec
    sizes: dict[str, int]
    dynamic: bool | None

    @property
    def model(self) -> torch.nn.Module:
        """The model as a module."""
        return self.own.module

    def arguments(self, values: list[Any] | None = None) -> tuple[tuple, dict]:
        """Return ``(args, kwargs)`` with these leaves, or with the real ones."""
        return pytree.tree_unflatten(self.values if values is None else values, self.tree)

    def dims(self, leaf: int) -> list[Dim | None]:
        """Return the named ``Dim`` of each dim of tensor leaf ``leaf``, None where the dim is fixed."""
        spec, value = self.specs[leaf], self.values[leaf]
        if not isinstance(spec, TensorSpec) or self.dynamic is False:
            return [None] * value.dim()
        return [size if isinstance(size, Dim) else None for size in spec.shape]

    def free_dims(self, leaf: int) -> list[bool]:
        """Return for each dim of tensor leaf ``leaf`` whether ``dynamic=True`` leaves its size open."""
        spec, value = self.specs[leaf], self.values[leaf]
        rigid = isinstance(spec, TensorSpec) and tuple in (type(spec.values), type(spec.layout))
        return [bool(self.dynamic) and not rigid and size >= 2 for size in value.shape]

    def tensor_leaves(self) -> list[int]:
        """Return the places of the leaves that are tensors."""
        return [i for i, value in enumerate(self.values) if isinstance(value, torch.Tensor)]


def bind(model: Any, inputs: tuple, kwargs: Mapping[str, Any] | None, dynamic: bool | None,
         device: Any = None) -> Call:
    """Return the call of a private copy of ``model``.

    Raises ``CaptureError`` where the inputs do not fit, ``SpecError`` where they contradict each other.
    """
    name = model_name(model)
    leaves, tree = pytree.tree_flatten((tuple(inputs), dict(kwargs or {})))
    leaves = _private(leaves)
    if model is not stand_in and any(isinstance(leaf, Dim) for leaf in leaves):
        raise SpecError(f"{name}: a Dim as an input is a symbolic size of a graph; give a model the int")
    sizes = default_sizes(dim for leaf in leaves for dim in dims_of(leaf))
    values = realize(leaves, sizes, device=device)
    own = own_model(model)
    names = _leaf_names(own.module.forward, tree, name)
    return Call(name, own, leaves, values, names, tree, sizes, dynamic)


def stand_in(*args: Any, **kwargs: Any) -> None:
    """Take any arguments, where a call has a graph and no model."""


def identifier(text: str) -> str:
    """Return ``text`` as a Python identifier."""
    name = re.sub(r"\W+", "_", text).strip("_") or "arg"
    return f"_{name}" if name[0].isdigit() else name


def _private(leaves: list[Any]) -> list[Any]:
    """Return the leaves with real tensors cloned; one that is, or continues, an earlier one is its alias."""
    memo: dict[int, Any] = {}
    earlier: dict[int, torch.Tensor] = {}
    result: list[Any] = []
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, torch.Tensor):
            alias = next((found for k, base in earlier.items() if (found := _alias(base, leaf, k))), None)
            if alias is None:
                earlier[i] = leaf
            leaf = alias or clone(leaf, memo)
        result.append(leaf)
    return result


def _alias(base: torch.Tensor, tensor: torch.Tensor, index: int) -> Same | None:
    """Return how ``tensor`` comes from ``base``, input ``index``; None where no spec says it."""
    if base is tensor:
        return Same(index)
    plain = base.layout == tensor.layout == torch.strided and type(base) is type(tensor) is torch.Tensor
    if not plain or base.stride() != tensor.stride() or base.dtype != tensor.dtype or not tensor.numel() \
            or base.untyped_storage().data_ptr() != tensor.untyped_storage().data_ptr():
        return None
    offset = tensor.storage_offset() - base.storage_offset()
    for dim, (size, step) in enumerate(zip(base.shape, base.stride(), strict=True)):
        start = size - tensor.shape[dim]
        if base.shape[:dim] + base.shape[dim + 1:] == tensor.shape[:dim] + tensor.shape[dim + 1:] \
                and 0 <= start and start * step == offset:
            return View(index, start, dim if start else 0)
    return None


def clone(tensor: torch.Tensor, memo: dict[int, Any]) -> torch.Tensor:
    """Return a leaf like ``tensor``; tensors cloned with one memo that shared storage share it again."""
    copied = copy.deepcopy(tensor.detach(), memo)
    return copied.requires_grad_(tensor.requires_grad)


def _leaf_names(function: Callable, tree: pytree.TreeSpec, name: str) -> list[str]:
    """Return an identifier per leaf, from the model's own parameter names."""
    args, kwargs = pytree.tree_unflatten(list(range(tree.num_leaves)), tree)
    parameters: list[str] = []
    rest = "arg"
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
        rest = next((p.name for p in signature.parameters.values() if p.kind is p.VAR_POSITIONAL), rest)
    parameters += [f"{rest}_{i}" for i in range(len(args) - len(parameters))]
    roots = [*zip(parameters, args, strict=False), *kwargs.items()]
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
