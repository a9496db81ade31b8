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

from fxpect.text.targets import BUILTINS, target_name

PURE, EFFECT, DEPENDS = 0, 1, 2

_PURE_NAMESPACES = frozenset({"aten", "prims", "prim", "quantized", "quantized_decomposed", "torchvision"})
_EFFECT_NAMESPACES = frozenset({"_c10d_functional", "c10d_functional", "c10d", "_dtensor", "profiler", "streams"})
_BODY_CALLERS = frozenset(  # pure exactly when the graphs that they call are
    "associative_scan scan cond map map_impl while_loop while_loop_stack_output wrap wrap_with_autocast "
    "wrap_with_set_grad_enabled hints_wrapper strict_mode wrap_activation_checkpoint tag_activation_checkpoint "
    "checkpoint invoke_subgraph flex_attention flex_attention_backward autograd_function_apply foreach_map "
    "dynamo_bypassing_wrapper local_map_hop invoke_quant invoke_quant_packed".split())
_PURE_HIGHER_ORDER = frozenset(
    "auto_functionalized auto_functionalized_v2 triton_kernel_wrapper_functional out_dtype inline_asm_elementwise "
    "flat_apply".split())
_RANDOM = frozenset(
    "rand randn randint randperm rand_like randn_like randint_like normal bernoulli multinomial poisson binomial "
    "gumbel_softmax fractional_max_pool2d fractional_max_pool3d fractional_max_pool2d_with_indices "
    "fractional_max_pool3d_with_indices multi_head_attention_forward lstm gru rnn_tanh rnn_relu manual_seed seed "
    "get_rng_state set_rng_state".split())
_STATE = frozenset(
    "_batch_norm_impl_index fused_moving_avg_obs_fake_quant backward register_hook retain_grad set_grad_enabled "
    "lazy_load_decompositions grad apply_ map_ map2_ append".split())
_FLAGS = {  # calls with an effect only while this argument is on; batch norms also need statistics to write to
    "dropout": ("training", "train"), "dropout1d": ("training",), "dropout2d": ("training",),
    "dropout3d": ("training",),
    "alpha_dropout": ("training", "train"), "feature_alpha_dropout": ("training", "train"),
    "feature_dropout": ("train",), "native_dropout": ("train",), "rrelu": ("training",),
    "batch_norm": ("training",), "native_batch_norm": ("training",), "cudnn_batch_norm": ("training",),
    "miopen_batch_norm": ("training",), "instance_norm": ("use_input_stats",), "embedding": ("max_norm",),
    "embedding_bag": ("max_norm",), "scaled_dot_product_attention": ("dropout_p",),
    "_scaled_dot_product_efficient_attention": ("dropout_p",), "_scaled_dot_product_flash_attention": ("dropout_p",),
    "_scaled_dot_product_flash_attention_for_cpu": ("dropout_p",), "_efficient_attention_forward": ("dropout_p",),
    "_flash_attention_forward": ("dropout_p",), "_scaled_dot_product_cudnn_attention": ("dropout_p",)}
_DROPOUTS = frozenset({"dropout", "dropout1d", "dropout2d", "dropout3d"})  # which train unless told otherwise
_TRAINING_IS_USUAL = frozenset({"instance_norm", "embedding", "embedding_bag"})  # their flags say nothing of a mode
_NORMS = frozenset({"batch_norm", "native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm", "instance_norm"})
_TENSOR_PLACES = frozenset({
    "torch", "torch.functional", "torch.nn.functional", "torch.linalg", "torch.fft", "torch.special", "torch.sparse",
    "torch.foreach",
    "torch.nested", "torch.signal.windows", "torch.Tensor", "torch._C._nn", "torch._C._linalg", "torch._C._fft",
    "torch._C._special", "torch._C._sparse", "torch._C._nested", "torch._C._VariableFunctions"})
_EFFECT_TORCH = frozenset(
    "torch." + word for word in
    "_check _check_is_size _check_value _check_index _check_type _check_tensor_all _check_with _assert _assert_async "
    "sym_constrain_range sym_constrain_range_for_size sym_fresh_size set_grad_enabled".split())
_PURE_ELSEWHERE = frozenset({
    "torch.fx.experimental.symbolic_shapes.cast_symbool_to_symint_guardless", "torch.nn.utils.rnn.pad_sequence"})
_STATEFUL_MODULES = ("BatchNorm", "InstanceNorm", "Dropout", "RReLU", "FractionalMaxPool")


def has_effect(node: Node) -> bool:
    """Say whether nothing may move across ``node``."""
    op = node.op
    if op == "call_function":
        kind = function_kind(node.target)
        return kind == EFFECT or kind == DEPENDS and decide(node)
    if op == "call_method":
        return method_kind(node.target) == EFFECT
    return op == "call_module" and module_has_effect(node)


@functools.cache
def method_kind(name: str) -> int:
    """Return PURE or EFFECT for a method of a value, told by its name."""
    if name.startswith("__"):
        writes = name in ("__setitem__", "__delitem__") or name.startswith("__i") and name not in (
            "__invert__", "__index__", "__int__")
        return EFFECT if writes else PURE
    return EFFECT if name.endswith("_") or name in _RANDOM or name in _STATE else PURE


@functools.cache
def function_kind(target: Any) -> int:
    """Return PURE, EFFECT, or DEPENDS when the arguments of the call decide (see ``decide``)."""
    if isinstance(target, OpOverload):
        return _overload_kind(target)
    if isinstance(target, OpOverloadPacket):
        return max((_overload_kind(getattr(target, name)) for name in target.overloads()), default=EFFECT)
    if isinstance(target, HigherOrderOperator):
        name = target.name()
        return DEPENDS if name in _BODY_CALLERS else PURE if name in _PURE_HIGHER_ORDER else EFFECT
    name = target_name(target)
    place, _, last = name.rpartition(".")
    if place == "operator":
        inplace = last in ("setitem", "delitem", "iconcat") or last.startswith("i") and hasattr(operator, f"__{last}__")
        return EFFECT if inplace and last not in ("is_", "is_not", "invert", "index", "inv") else PURE
    if place == "math" or name in BUILTINS or name in _PURE_ELSEWHERE:
        return PURE
    if name in _EFFECT_TORCH or place not in _TENSOR_PLACES:
        return EFFECT
    return _torch_kind(target, last)


def _torch_kind(target: Any, name: str) -> int:
    if name in _FLAGS:
        return DEPENDS
    if name.endswith("_") or name in _RANDOM or name in _STATE:
        return EFFECT
    schemas = torch._C._jit_get_schemas_for_operator(f"aten::{name}")
    if schemas:
        packet = getattr(torch.ops.aten, name)
        if any(torch.Tag.nondeterministic_seeded in getattr(packet, key).tags for key in packet.overloads()):
            return EFFECT
        if any(argument.is_out for schema in schemas for argument in schema.arguments):
            return DEPENDS
    places = _positions(target)
    return DEPENDS if "inplace" in places or "out" in places else PURE


def _overload_kind(target: OpOverload) -> int:
    schema = target._schema
    name = schema.name.partition("::")[2]
    if target.namespace in _EFFECT_NAMESPACES or schema.is_mutable or not schema.returns or name in _STATE:
        return EFFECT
    if name in _FLAGS:
        return DEPENDS
    if torch.Tag.nondeterministic_seeded in target.tags or name in _RANDOM:
        return EFFECT
    return PURE  # an operator outside torch promises in its schema what it writes


@functools.cache
def _positions(target: Any) -> dict[str, int]:
    """Return the place of each parameter of a callable, {} where nothing tells."""
    if isinstance(target, OpOverload):
        return {argument.name: place for place, argument in enumerate(target._schema.arguments)}
    try:
        return {name: place for place, name in enumerate(inspect.signature(target).parameters)}
    except (TypeError, ValueError):
        schemas = torch._C._jit_get_schemas_for_operator(f"aten::{getattr(target, '__name__', '')}")
        return {argument.name: place for place, argument in enumerate(schemas[0].arguments)} if schemas else {}


def _argument(node: Node, name: str, default: Any = None) -> Any:
    """Return the argument that a call gives for a parameter, by keyword or by place."""
    if name in node.kwargs:
        return node.kwargs[name]
    place = _positions(node.target).get(name)
    return node.args[place] if place is not None and place < len(node.args) else default


def is_training(node: Node) -> bool:
    """Say whether a call of a function is told to train: to draw a mask, or to use statistics of the batch."""
    name = node.target._schema.name.partition("::")[2] if isinstance(node.target, OpOverload) else \
        getattr(node.target, "__name__", "")
    if node.op != "call_function" or name not in _FLAGS or name in _TRAINING_IS_USUAL:
        return False
    flags = [flag for flag in _FLAGS[name] if flag in _positions(node.target)]
    default = name in _DROPOUTS
    return bool(flags) and _argument(node, flags[0], default) not in (False, None, 0)


def decide(node: Node) -> bool:
    """Say whether a call whose kind is DEPENDS has an effect."""
    target = node.target
    if isinstance(target, HigherOrderOperator):
        return _bodies_have_effects(node)
    name = target._schema.name.partition("::")[2] if isinstance(target, OpOverload) else target.__name__
    if node.kwargs.get("out") is not None or _argument(node, "inplace", False) is not False:
        return True
    flags = _FLAGS.get(name)
    if flags is None:
        return False
    known = [flag for flag in flags if flag in _positions(target)]
    if not known:
        return True
    default = True if name in _DROPOUTS else None
    value = _argument(node, known[0], default)
    if name in _NORMS and _argument(node, "running_mean") is None:
        return False
    return value not in (False, None, 0)


def _bodies_have_effects(node: Node) -> bool:
    """Look into the graphs that a higher-order operator calls; a callee that is no graph counts as an effect."""
    module = node.graph.owning_module
    bodies = [attribute_of(module, source.target) for source in node.all_input_nodes if source.op == "get_attr"]
    graphs = [body for body in bodies if isinstance(body, GraphModule)]
    if not graphs or any(isinstance(body, torch.nn.Module) and not isinstance(body, GraphModule) for body in bodies):
        return True
    return any(has_effect(inner) for body in graphs for inner in body.graph.nodes)


def attribute_of(module: Any, path: str) -> Any:
    """Return the attribute at a dotted path, None where a part is missing."""
    for part in path.split("."):
        module = getattr(module, part, None)
    return module


def module_has_effect(node: Node) -> bool:
    """Say whether calling this submodule may write, or draw random numbers."""
    owner = node.graph.owning_module
    module = attribute_of(owner, node.target) if owner is not None else None
    if isinstance(module, GraphModule):
        return any(has_effect(inner) for inner in module.graph.nodes)
    if not isinstance(module, torch.nn.Module) or not type(module).__module__.startswith("torch.nn."):
        return True
    return any(_leaf_has_effect(part) for part in (module.modules() if module._modules else (module,)))


def _leaf_has_effect(module: torch.nn.Module) -> bool:
    held = vars(module)
    if held.get("inplace") or held.get("max_norm") is not None:
        return True
    if not module.training:
        return False
    dropout = held.get("dropout", 0.0)
    random = any(word in type(module).__name__ for word in _STATEFUL_MODULES)
    return random or isinstance(dropout, (int, float)) and dropout != 0
