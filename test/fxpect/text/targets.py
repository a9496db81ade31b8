"""Translate between the callable of a node and the qualified name that a graph text shows, by an allow list.

A text may come from a bug report, so a name is looked up only among operators (``torch.ops``), torch functions
that take tensors, methods of ``torch.Tensor``, arithmetic of ``operator`` and ``math``, a few builtins that
tracing leaves behind, and what a test registered. Nothing else is ever reached by attribute access.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import importlib
import inspect
import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch._ops import HigherOrderOperator, OpOverload, OpOverloadPacket

from fxpect.errors import FxpectError, UnknownTargetError

# Where torch keeps functions that reach a graph; the first place that holds the very object gives its name.
_TORCH_PLACES = (
    "torch", "torch.nn.functional", "torch.linalg", "torch.fft", "torch.special", "torch.sparse", "torch.foreach",
    "torch.functional", "torch.nn.init", "torch.nested", "torch.signal.windows", "torch.amp.autocast_mode",
    "torch._C._nn", "torch._C._linalg", "torch._C._fft", "torch._C._special", "torch._C._sparse",
    "torch._C._nested", "torch._C", "torch._C._VariableFunctions", "torch._C._functorch",
    "torch._functorch.predispatch", "torch._functorch.vmap", "torch._functorch.eager_transforms", "torch.autograd",
    "torch.autograd.functional", "torch.autograd.forward_ad", "torch.nn.utils.rnn",
    "torch.fx.experimental.symbolic_shapes", "torch.masked", "torch.nn.grad", "torch._utils", "torch._C._autograd",
    "torch.backends.cuda")

# Where every public function of its own takes tensors or makes one, whether or not a subclass can override it.
_OPEN_PLACES = frozenset({
    "torch.nn.functional", "torch.nn.init", "torch.nn.grad", "torch.signal.windows", "torch.masked", "torch.nested",
    "torch.sparse", "torch.linalg", "torch.fft", "torch.special"})
# Where every builtin that is named after an ATen operator calls this operator.
_OPERATOR_PLACES = frozenset({
    "torch.nn.functional", "torch.linalg", "torch.fft", "torch.special", "torch.sparse", "torch.nested",
    "torch._C._VariableFunctions", "torch._C._nn", "torch._C._linalg", "torch._C._fft", "torch._C._special",
    "torch._C._sparse", "torch._C._nested"})

# Functions that torch does not let a subclass override, mostly because they take no tensor, yet that graphs call.
_MORE_TORCH = frozenset(
    "torch." + name for name in (
        "arange as_tensor bartlett_window blackman_window complex empty empty_like empty_permuted empty_strided eye "
        "full full_like hamming_window hann_window kaiser_window linspace logspace normal ones ones_like rand "
        "rand_like randint randint_like randn randn_like randperm range scalar_tensor tensor sparse_coo_tensor "
        "sparse_csr_tensor sparse_compressed_tensor tril_indices triu_indices vander zeros zeros_like asarray "
        "broadcast_shapes can_cast promote_types result_type is_tensor is_grad_enabled is_floating_point is_complex "
        "set_grad_enabled get_default_dtype finfo iinfo sym_float sym_int sym_ite sym_max sym_min sym_not sym_sqrt "
        "sym_sum sym_fresh_size sym_constrain_range sym_constrain_range_for_size cond while_loop _check "
        "_check_is_size _check_value _check_index _check_type _check_tensor_all _check_with _assert _assert_async "
        "_C._set_grad_enabled _C._autograd._saved_tensors_hooks_disable _C._autograd._saved_tensors_hooks_enable "
        "_C._functorch._vmap_increment_nesting _C._functorch._vmap_decrement_nesting _C._functorch._add_batch_dim "
        "_C._functorch._remove_batch_dim _C._functorch._grad_increment_nesting "
        "_C._functorch._grad_decrement_nesting _C._functorch._wrap_for_grad _C._functorch._unwrap_for_grad "
        "_C._functorch.set_inplace_requires_grad_allowed _functorch.predispatch._vmap_increment_nesting "
        "_functorch.predispatch._vmap_decrement_nesting _functorch.predispatch._add_batch_dim "
        "_functorch.predispatch._remove_batch_dim _functorch.predispatch.lazy_load_decompositions "
        "_functorch.vmap.lazy_load_decompositions amp.autocast_mode._enter_autocast "
        "amp.autocast_mode._exit_autocast fx.experimental.symbolic_shapes.cast_symbool_to_symint_guardless "
        "nn.utils.rnn.pad_sequence manual_seed seed Size autograd.grad _utils._element_size _constrain_as_size "
        "autocast_increment_nesting autocast_decrement_nesting set_autocast_enabled set_autocast_cache_enabled "
        "_C._nested.nested_tensor _C._functorch.is_batchedtensor _C._are_functorch_transforms_active "
        "_C._get_cudnn_sdp_enabled _C._get_flash_sdp_enabled _C._get_mem_efficient_sdp_enabled "
        "_C._get_math_sdp_enabled _C._get_overrideable_sdp_enabled _C._is_autocast_available _C._SDPAParams "
        "backends.cuda.is_flash_attention_available backends.cuda.can_use_flash_attention "
        "backends.cuda.can_use_efficient_attention _functorch.vmap._validate_and_get_batch_size "
        "_functorch.predispatch._jvp_increment_nesting _functorch.predispatch._jvp_decrement_nesting "
        "_functorch.predispatch._enter_dual_level _functorch.predispatch._exit_dual_level "
        "_functorch.predispatch._make_dual _functorch.predispatch._unpack_dual "
        "_functorch.predispatch._wrap_for_grad _functorch.predispatch._unwrap_for_grad "
        "_functorch.eager_transforms._set_tensor_requires_grad _functorch.eager_transforms._autograd_grad "
        "_C._set_fwd_grad_enabled autograd.forward_ad._maybe_load_decompositions "
        "nn.modules.linear_cross_entropy_options.LinearCrossEntropyOptions "
        "autograd.grad_mode._enter_inference_mode autograd.grad_mode._exit_inference_mode").split())

# Reached by an allowed path, yet able to touch files, processes, or run a callable that the text supplies.
_REFUSED_TORCH = frozenset(
    "torch." + name for name in (
        "autocast from_file load save compile vmap export hub jit nn.functional.assert_int_or_pair "
        "sparse.as_sparse_gradcheck Tensor.apply_ Tensor.map_ Tensor.map2_ "
        "Tensor.register_hook Tensor.register_post_accumulate_grad_hook Tensor.share_memory_ Tensor.storage "
        "Tensor.untyped_storage Tensor.numpy Tensor.module_load Tensor.resize_as_sparse_").split()
)

BUILTINS = {name: getattr(builtins, name) for name in (
    "abs bool complex divmod float getattr int isinstance len list max min pow range round slice sum tuple").split()}
_READABLE_ATTRIBUTES = frozenset(
    "shape dtype device layout T mT H mH real imag data grad ndim requires_grad itemsize nbytes is_cuda is_cpu is_meta "
    "is_sparse is_quantized is_nested is_leaf names values indices index start stop step bits eps max min tiny "
    "smallest_normal resolution __name__ type".split())
_DUNDER_METHODS = frozenset(
    f"__{word}__" for word in (
        "abs add and bool complex contains eq float floordiv ge getitem gt iadd iand idiv ifloordiv ilshift imod imul "
        "index int invert ior ipow irshift isub itruediv ixor le len long lshift lt matmul mod mul ne neg nonzero or "
        "pos pow radd rand rdiv reversed rfloordiv rlshift rmatmul rmod rmul ror rpow rrshift rshift rsub rtruediv "
        "rxor setitem sub truediv xor div").split())
_REFUSED_OPERATOR = frozenset(  # run a callable, or take unbounded time and memory for one number
    {"attrgetter", "itemgetter", "methodcaller", "call", "factorial", "comb", "perm"})
_PLAIN_METHODS = frozenset(
    "append extend index count items keys values get copy bit_length conjugate is_integer as_integer_ratio "
    "tolist numel dim size stride item".split())

_LIBRARIES = {  # operators that torch registers only when this module is imported
    "prims": "torch._prims", "rngprims": "torch._prims.rng_prims",
    "quantized_decomposed": "torch.ao.quantization.fx._decomposed",
    "_c10d_functional": "torch.distributed._functional_collectives"}

_SILENT = frozenset(  # nothing comes out of these, so that a missing type says nothing
    "torch._C._set_grad_enabled torch.amp.autocast_mode._enter_autocast torch.amp.autocast_mode._exit_autocast "
    "operator.setitem operator.delitem torch._check torch._check_is_size torch._assert torch._assert_async "
    "torch.set_grad_enabled torch.manual_seed".split())

_registered: dict[str, Callable] = {}
_registered_names: dict[Any, str] = {}


def register_target(function: Callable, name: str | None = None) -> Callable:
    """Allow graph texts to call ``function``, and return it, so that this is also a decorator.

    ``name`` is the dotted name shown in texts; without it the module and qualified name of the function.
    Raises FxpectError when the name already stands for another function.
    """
    if not callable(function):
        raise FxpectError(f"register_target: expected a callable; got {function!r}")
    name = name or _own_name(function)
    if not all(part.isidentifier() for part in name.split(".")):
        raise FxpectError(f"register_target: expected a dotted name; got {name!r}")
    known = _registered.get(name)
    known = None if known is not None and _own_name(known) == _own_name(function) else known or _resolve(name)
    if name.startswith("torch.ops."):
        raise FxpectError(f"register_target: {name} belongs to torch; operators need no registration")
    if known is not None and known is not function:
        raise FxpectError(f"register_target: {name} already stands for {known!r}")
    _registered[name] = function
    _registered_names[function] = name
    _target_name.cache_clear()
    return function


def target_name(target: Any) -> str:
    """Return the qualified name that a graph text shows for a callable; it never holds an address or a path."""
    if target in _registered_names:
        return _registered_names[target]
    return _target_name(target, getattr(target, "__name__", None))


@functools.cache
def _target_name(target: Any, short: Any) -> str:
    """Return the name; ``short`` tells builtins apart that are equal: torch.mm == torch.dsmm."""
    if isinstance(target, OpOverload):
        return f"torch.ops.{target.namespace}.{target._schema.name.partition('::')[2]}.{target._overloadname}"
    if isinstance(target, OpOverloadPacket):
        return "torch.ops." + target._qualified_op_name.replace("::", ".")
    if isinstance(target, HigherOrderOperator):
        return f"torch.ops.higher_order.{target.name()}"
    if isinstance(short, str):
        for place, holder in (("operator", operator), ("math", math)):
            if getattr(holder, short, None) is target:
                return f"{place}.{short}"
        if BUILTINS.get(short) is target:
            return short
        found = _torch_name(target, short)
        if found:
            return found
    return _own_name(target)


def _torch_name(target: Any, short: str) -> str | None:
    """Return the first public place in torch that holds this very object."""
    names = [short]
    for prefix in ("linalg_", "fft_", "special_", "sparse_", "nested_"):
        if short.startswith(prefix):
            names.append(short[len(prefix):])
    for place in _TORCH_PLACES:
        holder = _walk(place)
        for name in names:
            if holder is not None and _get(holder, name) is target:
                return f"{place}.{name}"
    if getattr(torch.Tensor, short, None) is target:
        return f"torch.Tensor.{short}"
    return None


def _get(holder: Any, name: str) -> Any:
    """Return an attribute without triggering a module's lazy loading."""
    return vars(holder).get(name) if inspect.ismodule(holder) else getattr(holder, name, None)


@functools.cache
def _walk(path: str) -> Any:
    """Return the torch module of a fixed, trusted dotted path, or None when this torch lacks it."""
    holder: Any = torch
    for part in path.split(".")[1:]:
        holder = getattr(holder, part, None)
        if holder is None:
            return None
    return holder


def _own_name(target: Any) -> str:
    owner = target if hasattr(target, "__qualname__") or hasattr(target, "__name__") else type(target)
    name = getattr(owner, "__qualname__", None) or owner.__name__
    if name.startswith("pybind11_"):  # the type behind a bound function, whose name tells how torch was compiled
        name = owner.__name__
    bound = getattr(target, "__self__", None)
    if isinstance(bound, type) and "." not in name:
        name = f"{bound.__qualname__}.{name}"
    module = getattr(owner, "__module__", None) or getattr(bound, "__module__", None)
    parts = (f"{module}.{name}" if module and module != "builtins" else name).replace("<lambda>", "lambda_").split(".")
    return ".".join(part for part in parts if part.isidentifier())


def has_no_result(target: Any) -> bool:
    """Say whether nothing comes out of a function, so that it has no type either."""
    schema = getattr(target, "_schema", None)
    return not schema.returns if schema is not None else target_name(target) in _SILENT


def imports_of(name: str) -> tuple[str, ...]:
    """Return the modules that a program must import before it can use a callable under its qualified name."""
    parts = name.split(".")
    if name.startswith("torch.ops."):
        library = "torch._higher_order_ops" if parts[2] == "higher_order" else _LIBRARIES.get(parts[2])
        return () if library is None else (library,)
    module = getattr(_registered.get(name), "__module__", None)
    return (module,) if module is not None and name.startswith(f"{module}.") else ()


def resolve_target(name: str, line: int | None = None) -> Callable:
    """Return the callable of a qualified name, looked up in the allow list alone.

    Raises UnknownTargetError, which names the target and the line, for everything that is not an operator,
    a torch function, a method of Tensor or a registered function.
    """
    if name in _registered:
        return _registered[name]
    found = _resolve(name)
    if found is None:
        raise UnknownTargetError(
            f"expected an operator; got {name}. Only torch.ops operators, torch functions, Tensor methods, operator "
            "and math can be called; allow another function with fxpect.register_target(function)", line)
    return found


@functools.cache
def _resolve(name: str) -> Callable | None:
    if name in _REFUSED_TORCH:
        return None
    root, _, rest = name.partition(".")
    if name.startswith("torch.ops."):
        return _resolve_operator(name.split(".")[2:])
    if root in ("operator", "math"):
        found = getattr(operator if root == "operator" else math, rest, None)
        refused = rest.startswith("_") or rest in _REFUSED_OPERATOR or not inspect.isbuiltin(found)
        return None if refused else found
    if not rest:
        return BUILTINS.get(root)
    if root != "torch":
        return None
    place, _, last = name.rpartition(".")
    if place == "torch.Tensor":
        return getattr(torch.Tensor, last) if is_allowed_method(last) and hasattr(torch.Tensor, last) else None
    if place not in _TORCH_PLACES and name not in _MORE_TORCH:
        return None
    holder = _walk(place)
    found = None if holder is None else _get(holder, last)
    if found is None or isinstance(found, type) and name not in _MORE_TORCH or not callable(found):
        return None
    return found if name in _MORE_TORCH or found in _overridable() or _is_open(found, place) else None


def _is_open(found: Any, place: str) -> bool:
    """Say whether a function is an operator by where it is kept, though no subclass can override it."""
    if inspect.isbuiltin(found):
        operators = place in _OPERATOR_PLACES or place == "torch" and hasattr(_walk("torch._C._VariableFunctions"),
                                                                              found.__name__)
        return operators and _is_safe_operator(f"aten::{found.__name__}")
    own = inspect.isfunction(found) and f"{found.__module__}.".startswith(f"{place}.")
    return own and place in _OPEN_PLACES and not found.__name__.startswith("_")


def _is_safe_operator(qualified: str) -> bool:
    """Say whether there is such an operator, none of whose forms touches a file."""
    schemas = torch._C._jit_get_schemas_for_operator(qualified)
    return bool(schemas) and not any(_touches_files(schema) for schema in schemas)


@functools.cache
def _overridable() -> frozenset:
    """Return every torch function that takes tensors, as torch itself lists them."""
    listed = torch.overrides.get_overridable_functions()
    functions = {function for functions in listed.values() for function in functions}
    return frozenset(functions.union(torch.overrides.get_testing_overrides()))


def _resolve_operator(parts: list[str]) -> Callable | None:
    """Return ``torch.ops.<namespace>.<name>[.<overload>]`` when each step really is an operator."""
    if len(parts) not in (2, 3) or not all(part.isidentifier() for part in parts):
        return None
    if parts[0] == "higher_order":
        importlib.import_module("torch._higher_order_ops")  # torch registers these operators on import
        with contextlib.suppress(ModuleNotFoundError):  # all but some, which their own module registers
            importlib.import_module(f"torch._higher_order_ops.{parts[1]}")
        plain = len(parts) == 2 and not parts[1].startswith("__")
        found = getattr(torch.ops.higher_order, parts[1], None) if plain else None
        return found if isinstance(found, HigherOrderOperator) else None
    qualified = f"{parts[0]}::{parts[1]}"
    if parts[0] in _LIBRARIES:
        importlib.import_module(_LIBRARIES[parts[0]])
    if parts[0] == "debugprims" or not _is_safe_operator(qualified):
        return None
    packet = getattr(getattr(torch.ops, parts[0]), parts[1], None)
    if not isinstance(packet, OpOverloadPacket):
        return None
    overloads = packet.overloads()
    if len(parts) == 2:
        return packet
    return getattr(packet, parts[2]) if parts[2] in overloads else None


def _touches_files(schema: Any) -> bool:
    """Say whether an operator reads or writes a file, as far as the names of its strings show."""
    names = [argument.name.lower() for argument in schema.arguments if "str" in str(argument.type)]
    return any(word in name for name in names for word in ("file", "path", "fname"))


@functools.cache
def is_allowed_method(name: str) -> bool:
    """Say whether a text may call this method on a value: Tensor methods, and those of sizes, lists and numbers."""
    if f"torch.Tensor.{name}" in _REFUSED_TORCH:
        return False
    if name.startswith("_"):
        found = getattr(torch.Tensor, name, None)
        private = inspect.ismethoddescriptor(found) and not name.startswith("__") and _is_safe_operator(f"aten::{name}")
        return name in _DUNDER_METHODS or private
    return name in _PLAIN_METHODS or callable(getattr(torch.Tensor, name, None))


def is_readable_attribute(name: Any) -> bool:
    """Say whether a text may read this attribute through ``getattr(value, name)``."""
    return isinstance(name, str) and name in _READABLE_ATTRIBUTES


def check_method(name: str, line: int | None) -> str:
    """Return ``name`` if a text may call it as a method; raises UnknownTargetError otherwise."""
    if not is_allowed_method(name):
        raise UnknownTargetError(f"expected a method of torch.Tensor; got .{name}()", line)
    return name
