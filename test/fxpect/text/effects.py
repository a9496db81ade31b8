"""Say which nodes must keep their place: those that mutate, draw random numbers, assert, or change a global mode.

The answer errs on the safe side: an operator that is not known to be pure stays where it is.
"""

from __future__ import annotations

import functools
import inspect
import operator
from typing import Any

import torch
from torch._ops import HigherOrderOperator, OpOverload, OpOverloadPacket
from torch.fx import GraphModule, Node

from fxpect.text.targets import target_name

PURE, EFFECT, DEPENDS = 0, 1, 2

_EFFECT_NAMESPACES = frozenset({"_c10d_functional", "c10d_functional", "c10d", "_dtensor", "profiler", "streams", "mylib_io"})
_PURE_HIGHER_ORDER = frozenset(
    "auto_functionalized auto_functionalized_v2 triton_kernel_wrapper_functional out_dtype strict_mode "
    "associative_scan scan cond map map_impl while_loop while_loop_stack_output wrap wrap_with_autocast wrap_with_set_grad_enabled "
    "hints_wrapper wrap_activation_checkpoint tag_activation_checkpoint checkpoint invoke_subgraph flex_attention "
    "flex_attention_backward autograd_function_apply dynamo_bypassing_wrapper foreach_map inline_asm_elementwise "
    "local_map_hop invoke_quant invoke_quant_packed custom_function_call flat_apply".split())
_RANDOM_WORDS = frozenset(
    "dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout feature_alpha_dropout rand randn randint randperm "
    "rand_like randn_like randint_like normal bernoulli multinomial poisson binomial gumbel_softmax rrelu "
    "fractional_max_pool2d fractional_max_pool3d fractional_max_pool2d_with_indices fractional_max_pool3d_with_indices "
    "multi_head_attention_forward native_dropout lstm gru rnn_tanh rnn_relu manual_seed seed get_rng_state set_rng_state "
    "standard_gamma sample_dirichlet".split())
_STATE_WORDS = frozenset(  # batch norms write running statistics though their schemas do not say so
    "batch_norm native_batch_norm cudnn_batch_norm miopen_batch_norm instance_norm _batch_norm_impl_index "
    "fused_moving_avg_obs_fake_quant backward register_hook retain_grad set_grad_enabled "
    "lazy_load_decompositions grad apply_ map_ map2_".split())
_PURE_TORCH_NAMES = frozenset({
    "torch.functional", "torch.nn.functional", "torch", "torch.linalg", "torch.fft", "torch.special", "torch._C._nn",
    "torch._C._linalg", "torch._C._fft", "torch._C._special", "torch.sparse", "torch._C._sparse", "torch.nested",
    "torch._C._nested", "torch.signal.windows", "torch.Tensor", "torch._C._VariableFunctions"})
_EFFECT_TORCH = frozenset(
    "torch." + word for word in "_check _check_is_size _check_value _check_index _check_type _check_tensor_all _check_with "
    "_assert _assert_async sym_constrain_range sym_constrain_range_for_size sym_fresh_size set_grad_enabled".split())
_PURE_BUILTINS = frozenset(
    "abs bool complex divmod float getattr int isinstance len max min pow range round slice sum tuple list".split())
_STATEFUL_MODULES = ("BatchNorm", "InstanceNorm", "Dropout", "RReLU", "FractionalMaxPool")


def has_effect(node: Node) -> bool:
    """Say whether nothing may move across ``node``."""
    op = node.op
    if op in ("placeholder", "get_attr", "output"):
        return False
    if op == "call_function":
        kind = function_kind(node.target)
        return kind == EFFECT or kind == DEPENDS and _depends(node)
    if op == "call_method":
        return method_kind(node.target) == EFFECT
    return _module_has_effect(node)


@functools.lru_cache(maxsize=None)
def method_kind(name: str) -> int:
    """Return PURE or EFFECT for a method of a value, told by its name."""
    if name.startswith("__"):
        writes = name == "__setitem__" or name == "__delitem__" or name.startswith("__i") and name not in (
            "__invert__", "__index__", "__int__")
        return EFFECT if writes else PURE
    return EFFECT if name.endswith("_") or name in _RANDOM_WORDS or name in _STATE_WORDS or name == "append" else PURE


@functools.lru_cache(maxsize=None)
def function_kind(target: Any) -> int:
    """Return PURE, EFFECT, or DEPENDS when the arguments of the call decide."""
    if isinstance(target, OpOverload):
        return _overload_kind(target)
    if isinstance(target, OpOverloadPacket):
        return max((_overload_kind(getattr(target, name)) for name in target.overloads()), default=EFFECT)
    if isinstance(target, HigherOrderOperator):
        return DEPENDS if target.name() in _PURE_HIGHER_ORDER else EFFECT
    name = target_name(target)
    place, _, last = name.rpartition(".")
    if place == "operator":
        changes = last in ("setitem", "delitem") or last.startswith("i") and callable(getattr(operator, last[1:], None))
        return EFFECT if changes or last in ("iconcat", "iadd") else PURE
    if place == "math" or not place and last in _PURE_BUILTINS:
        return PURE
    if name in _EFFECT_TORCH or place not in _PURE_TORCH_NAMES:
        return PURE if last in ("cast_symbool_to_symint_guardless", "pad_sequence") else EFFECT
    if last.endswith("_") or last in _RANDOM_WORDS or last in _STATE_WORDS or _draws(last):
        return EFFECT
    return DEPENDS if last in ("scaled_dot_product_attention", "embedding", "embedding_bag") or _may_write(target, last) else PURE


def _overload_kind(target: OpOverload) -> int:
    schema = target._schema
    name = schema.name.partition("::")[2]
    if target.namespace in _EFFECT_NAMESPACES or schema.is_mutable or not schema.returns or name in _STATE_WORDS:
        return EFFECT
    if "scaled_dot_product" in name or name.startswith("_efficient_attention") or name.startswith("_flash_attention"):
        return DEPENDS
    if torch.Tag.nondeterministic_seeded in target.tags or name in _RANDOM_WORDS:
        return EFFECT
    known = target.namespace in ("aten", "prims", "quantized", "quantized_decomposed", "torchvision")
    return PURE if known or _declared_pure(schema) else EFFECT


def _declared_pure(schema: Any) -> bool:
    """Custom operators promise in their schema what they write; returning something is then their only effect."""
    return bool(schema.returns)


def _draws(name: str) -> bool:
    """Say whether the operator behind a torch function draws random numbers."""
    packet = getattr(torch.ops.aten, name, None) if torch._C._jit_get_schemas_for_operator(f"aten::{name}") else None
    if packet is None:
        return False
    return any(torch.Tag.nondeterministic_seeded in getattr(packet, overload).tags for overload in packet.overloads())


@functools.lru_cache(maxsize=None)
def _inplace_position(target: Any) -> int | None:
    """Return where a torch function takes ``inplace``, None when it does not."""
    try:
        names = list(inspect.signature(target).parameters)
    except (TypeError, ValueError):
        return None
    return names.index("inplace") if "inplace" in names else None


def _may_write(target: Any, name: str) -> bool:
    if _inplace_position(target) is not None:
        return True
    if torch._C._jit_get_schemas_for_operator(f"aten::{name}"):
        return any(argument.name == "out" or argument.is_out
                   for schema in torch._C._jit_get_schemas_for_operator(f"aten::{name}") for argument in schema.arguments)
    return True


def _depends(node: Node) -> bool:
    """Decide for a call whose arguments say whether it has an effect."""
    target, kwargs = node.target, node.kwargs
    if isinstance(target, HigherOrderOperator):
        return _bodies_have_effects(node)
    if isinstance(target, OpOverload):
        return _dropout_of(node) != 0
    name = getattr(target, "__name__", "")
    if name == "scaled_dot_product_attention":
        return _dropout_of(node) != 0
    if name in ("embedding", "embedding_bag"):
        return kwargs.get("max_norm") is not None or len(node.args) > 3
    if kwargs.get("out") is not None:
        return True
    position = _inplace_position(target)
    if position is None:
        return False
    flag = kwargs.get("inplace", node.args[position] if len(node.args) > position else False)
    return flag is not False


def _dropout_of(node: Node) -> Any:
    value = node.kwargs.get("dropout_p")
    if value is not None:
        return value
    if isinstance(node.target, OpOverload):
        names = [argument.name for argument in node.target._schema.arguments]
        position = names.index("dropout_p") if "dropout_p" in names else None
    else:
        position = 4
    return node.args[position] if position is not None and len(node.args) > position else 0.0


def _bodies_have_effects(node: Node) -> bool:
    """Look into the graphs that a higher-order operator calls; a callee that is not a graph counts as an effect."""
    found = False
    module = node.graph.owning_module
    for argument in node.all_input_nodes:
        if argument.op == "get_attr" and module is not None:
            body = attribute_of(module, argument.target)
            if isinstance(body, GraphModule):
                found = True
                if graph_has_effects(body):
                    return True
            elif isinstance(body, torch.nn.Module):
                return True
    return not found and target_name(node.target).rpartition(".")[2] not in (
        "auto_functionalized", "auto_functionalized_v2", "triton_kernel_wrapper_functional", "out_dtype",
        "inline_asm_elementwise", "flat_apply")


def graph_has_effects(module: GraphModule) -> bool:
    """Say whether any node of a nested graph has an effect."""
    return any(has_effect(node) for node in module.graph.nodes)


def attribute_of(module: Any, path: str) -> Any:
    """Return the attribute at a dotted path, None where a part is missing."""
    for part in path.split("."):
        module = getattr(module, part, None)
    return module


def _module_has_effect(node: Node) -> bool:
    owner = node.graph.owning_module
    module = attribute_of(owner, node.target) if owner is not None else None
    if isinstance(module, GraphModule):
        return graph_has_effects(module)
    if not isinstance(module, torch.nn.Module) or not type(module).__module__.startswith("torch.nn."):
        return True
    return any(_leaf_has_effect(part) for part in module.modules())


def _leaf_has_effect(module: torch.nn.Module) -> bool:
    if getattr(module, "inplace", False) or getattr(module, "max_norm", None) is not None:
        return True
    if not module.training:
        return False
    random = any(word in type(module).__name__ for word in _STATEFUL_MODULES)
    return random or bool(getattr(module, "dropout", 0.0)) and not isinstance(module.dropout, torch.nn.Module)
