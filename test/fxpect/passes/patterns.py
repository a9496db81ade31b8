"""The patterns registered with Inductor's pattern matcher, each offered as a model of its own.

A pattern that torch wrote as a function is offered as that function, on the inputs that torch traced it
with. One that it wrote as an expression is offered as a graph that the expression matches.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from fxpect.capture import capture
from fxpect.examples import copy_graph_module
from fxpect.execution.fingerprint import structure
from fxpect.passes.catalogue import Innocent, find
from fxpect.passes.pattern_graphs import TURNS, Unbuildable, build
from fxpect.specs import T
from fxpect.text.propagation import fake_mode_of

DECLINED = "the pass declines it"
LARGEST = 16  # torch traces one pattern with 1024 x 128 x 128, but any size matches
HOME = "torch._inductor.fx_passes"
# Name of the catalogue -> the module, the expression that gives matchers, and which handlers are its own.
MATCHERS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "joint.early_patterns": ("joint_graph", "early_patterns", ()),
    "joint.pointless_convert": ("joint_graph", "pass_patterns", ("pointless_convert",)),
    "joint.scatter_upon_const_tensor": ("joint_graph", "pass_patterns", ("scatter_upon_const_tensor",)),
    "joint.mul_softmax_pattern": ("joint_graph", "pass_patterns", ("mul_softmax_pattern",)),
    "joint.div_softmax_pattern": ("joint_graph", "pass_patterns", ("div_softmax_pattern",)),
    "joint.fuse_attention": ("joint_graph", "pass_patterns", ("_sfdp_pattern_",)),
    "joint.randperm_index": ("joint_graph", "pass_patterns", ("randperm_index_",)),
    "joint.replace_random_passes": ("replace_random", "patterns", ()),
    "post_grad.pointless_cumsum": ("post_grad", "pass_patterns", ("pointless_cumsum_replacement",)),
    "post_grad.addmm": ("post_grad", "pass_patterns", ("addmm",)),
    "post_grad.reciprocal_sqrt_to_rsqrt": ("post_grad", "pass_patterns", ("reciprocal_sqrt_to_rsqrt",)),
    "post_grad.merge_std_var": ("post_grad", "pass_patterns", ("merge_std_var",)),
    "post_grad.partial_reduction_reuse": ("post_grad", "pass_patterns", ("reuse_partial",)),
    "pre_grad.apply_gumbel_max_trick_pass": ("pre_grad", "apply_gumbel_max_trick_pass", ()),
    "pre_grad.efficient_conv_bn_eval_pass": ("pre_grad", "efficient_conv_bn_eval_pass", ()),
}


@dataclasses.dataclass(frozen=True)
class Pattern:
    """One entry of a pattern matcher: the name of what it calls on a match, and a model that it matches.

    ``innocent`` is None where none could be made; ``reason`` says why, or that the pass declines the model.
    """

    handler: str
    entry: Any
    innocent: Innocent | None
    reason: str = ""


def models_of(name: str) -> tuple[Innocent, ...]:
    """Return the models of a catalogued pass that are its own patterns, one for each that could be made."""
    return tuple(pattern.innocent for pattern in patterns_of(name) if pattern.innocent and not pattern.reason)


def patterns_of(name: str) -> tuple[Pattern, ...]:
    """Return the patterns of a catalogued pass, none where it is no pattern matcher pass."""
    stage, _, option = name.partition(".")
    handlers: tuple[str, ...] = ()
    if name in MATCHERS:
        module, attribute, handlers = MATCHERS[name]
        found = getattr(_ready(module), attribute)
        matchers = found if isinstance(found, list) else [found]
    else:
        table = {"pre_grad": "PRE_GRAD_PATTERNS", "post_grad": "POST_GRAD_PATTERNS"}.get(stage)
        options = getattr(_ready("split_cat", stage), table) if table else {}
        matchers = [options[option]] if option in options else []
    if not matchers:
        return ()
    entry = find(name)
    before = [find(each).make() for each in entry.after]
    return tuple(pattern for matcher in matchers
                 for pattern in describe(matcher, torch_level=stage == "pre_grad", handlers=handlers,
                                         run=entry.make(), before=before))


def describe(matcher: Any, *, torch_level: bool = False, handlers: Iterable[str] = (),
             run: Callable | None = None, before: Sequence[Callable] = ()) -> list[Pattern]:
    """Return the patterns of a ``PatternMatcherPass``, of all handlers or of those with such a beginning.

    ``torch_level`` says that it works on dynamo's graphs. ``run`` applies it to a graph module (default:
    ``matcher.apply``) after the passes ``before``. Patterns that leave ATen (lowerings) are left out.
    """
    from torch._inductor.pattern_matcher import LoweringPatternEntry

    entries = {id(entry): entry for found in matcher.patterns.values() for entry in found
               if not isinstance(entry, LoweringPatternEntry)}
    result: list[Pattern] = []
    for entry in entries.values():
        handler = handler_name(entry)
        if handlers and not any(handler.startswith(prefix) for prefix in handlers):
            continue
        count = 1 + sum(pattern.handler.rpartition("#")[0] == handler for pattern in result)
        label = f"{handler}#{count}"
        if _search_function(entry) is not None:
            result.append(_from_function(entry, label, run or matcher.apply, before))
        else:
            result.append(_from_expression(entry, label, torch_level, run or matcher.apply, before))
    return result


def handler_name(entry: Any) -> str:
    """Return the name of what a pattern calls on a match, or of the function that was traced into it."""
    function = getattr(entry, "handler", None) or _search_function(entry)
    return getattr(function, "__name__", "") or type(entry).__name__


def _from_function(entry: Any, label: str, run: Callable, before: Sequence[Callable]) -> Pattern:
    """Return the function that torch traced, on the inputs that it used, or inputs of ours that fire."""
    search = _search_function(entry)
    kept = _precompiled().get(id(entry.pattern))
    known = kept or (search and _traced(search))
    if search is None or known is None:
        return Pattern(label, entry, None, "the inputs that it was traced with are not kept")
    inputs, how, fixed = known
    name = getattr(entry, "pattern_name", None) or label
    innocent = Innocent(name, _with_scalars(search, fixed), inputs, capture=how)
    if kept is None and not _fires(capture(innocent.model, inputs, capture=how).graph_module, run, before):
        return Pattern(label, entry, innocent, DECLINED)
    return Pattern(label, entry, innocent)


def _from_expression(entry: Any, label: str, torch_level: bool, run: Callable,
                     before: Sequence[Callable]) -> Pattern:
    """Return the first graph on which the pass does something, else the first that the pattern matches."""
    key, how = ("example_value", "dynamo") if torch_level else ("val", "aten")
    declined, reason = None, "no graph that was made matches"
    for turn in range(len(TURNS)):
        try:
            gm = build(entry.pattern, key, turn)
        except Unbuildable as error:
            reason = str(error)[:200]
            continue
        if not _matches(entry, gm):
            continue
        specs = tuple(T(*node.meta[key].shape) for node in gm.graph.find_nodes(op="placeholder"))
        innocent = Innocent(label, gm, specs, capture=how)
        if _fires(gm, run, before):
            return Pattern(label, entry, innocent)
        declined = declined or innocent
    return Pattern(label, entry, declined, DECLINED if declined else reason)


def _fires(gm: torch.fx.GraphModule, run: Callable, before: Sequence[Callable]) -> bool:
    from torch._inductor.virtualized import V

    results = []
    for passes in (before, [*before, run]):
        changed = copy_graph_module(gm)
        try:
            with V.set_fake_mode(fake_mode_of(gm)):
                for each in passes:
                    answer = each(changed)
                    changed = answer if isinstance(answer, torch.fx.GraphModule) else changed
        except Exception:  # a pass that fails on a model is no use with it
            return False
        results.append(structure(changed))
    return results[0] != results[1]


def _matches(entry: Any, gm: torch.fx.GraphModule) -> bool:
    for node in reversed(gm.graph.nodes):
        try:
            match = entry.pattern.match(node) if node.op in ("call_function", "call_method") else None
        except Exception:  # a pattern asks about metadata that such a node cannot have
            match = None
        if match:
            return True
    return False


def _search_function(entry: Any) -> Callable | None:
    return inspect.getclosurevars(entry.extra_check).nonlocals.get("search_fn") \
        if hasattr(entry, "normalize_args") else None


def _precompiled() -> dict[int, tuple[tuple, str, dict[str, Any]]]:
    """By the identity of the pattern: inputs, capture and constants of what torch keeps traced on disk."""
    from torch._inductor import pattern_matcher

    found = {}
    for kept in pattern_matcher._known_precompiled_patterns:
        _, inputs, trace, scalars, pattern = kept if isinstance(kept, tuple) else vars(kept).values()
        how = _capture(trace)
        found[id(pattern)] = _specs(inputs, how), how, dict(scalars or {})
    return found


def _traced(search: Callable) -> tuple[tuple, str, dict[str, Any]] | None:
    """Inputs of the patterns that torch traces when it starts, by the names of their parameters."""
    shapes = {"x": (4, 8), "y": (2, 8) if "full" not in search.__name__ else (4, 8)}
    names = list(inspect.signature(search).parameters)
    fixed = {"slice_shape": 2} if "slice_shape" in names else {}
    names = [name for name in names if name not in fixed]
    if not all(name in shapes for name in names):
        return None
    return tuple(T(*shapes[name]) for name in names), "aten", fixed


def _specs(inputs: Iterable[Any], how: str) -> tuple:
    """Specs of the fake tensors that torch traced a pattern with; a scalar tensor stands for a number."""
    return tuple(_spec(value, value.requires_grad and how == "joint")
                 if isinstance(value, torch.Tensor) and value.dim() else 2.0 for value in inputs)


def _spec(value: torch.Tensor, requires_grad: bool) -> Any:
    small = all(size <= LARGEST for size in value.shape)
    shape = tuple(min(size, LARGEST) for size in value.shape)
    layout = tuple(value.stride()) if small and not value.is_contiguous() else None
    return T(*shape, dtype=value.dtype, requires_grad=requires_grad, layout=layout)


def _capture(trace: Any) -> str:
    return "joint" if "joint" in getattr(getattr(trace, "func", trace), "__name__", "") else "aten"


def _with_scalars(search: Callable, fixed: dict[str, Any]) -> Callable:
    """Return the function with its constants bound, its other parameters by position."""
    if not fixed:
        return search

    names = [name for name in inspect.signature(search).parameters if name not in fixed]

    def model(*args: Any) -> Any:
        return search(**dict(zip(names, args, strict=True)), **fixed)

    model.__name__ = model.__qualname__ = search.__name__
    vars(model)["__signature__"] = inspect.Signature(
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names])
    return model


def _ready(module: str, initialised: str = "") -> Any:
    """Import a module of Inductor's passes, its patterns registered."""
    found = importlib.import_module(f"{HOME}.{module}")
    getattr(importlib.import_module(f"{HOME}.{initialised or module}"), "lazy_init", lambda: None)()
    return found
