"""Passes on the ATen graph before it is cut into forward and backward."""

from __future__ import annotations

import torch

from fxpect.passes import joint_models as m
from fxpect.passes.catalogue import CataloguedPass, Innocent, recipe
from fxpect.specs import T

OTHER_DRAWS = "the draws come from another generator, so values differ by design"
MATCHES_ITSELF = "what it makes holds the pattern again; production applies it once"
GUARDS = "where it compares a symbolic size with a number it adds a guard, and the compiled code is for that size alone"
LATER_CONSTANTS = "later passes of the list make constants that the first ones would fold"


def joint_whole(gm: torch.fx.GraphModule):
    """Run everything that Inductor runs on the joint graph."""
    from torch._inductor.fx_passes.joint_graph import joint_graph_passes

    return joint_graph_passes(gm)


def joint_function(gm: torch.fx.GraphModule, *, attribute: str):
    """Call one function of ``joint_graph.py`` that changes a graph module in place."""
    from torch._inductor.fx_passes import joint_graph

    getattr(joint_graph, attribute)(gm)
    gm.graph.lint()
    gm.recompile()


def no_ops(gm: torch.fx.GraphModule):
    """Remove additions of zeros and products with ones, telling constants as constant folding does."""
    from torch._inductor.fx_passes.joint_graph import remove_no_ops
    from torch.utils._ordered_set import OrderedSet

    full = [(node, node.args[1] if len(node.args) > 1 else node.kwargs["fill_value"])
            for node in gm.graph.find_nodes(op="call_function", target=torch.ops.aten.full.default)]
    zeros, ones = (OrderedSet(node for node, fill in full if isinstance(fill, (int, float)) and fill == value)
                   for value in (0, 1))
    remove_no_ops(gm, zeros, ones)
    gm.graph.lint()
    gm.recompile()


def remove_noops(gm: torch.fx.GraphModule):
    """Remove operations that are a clone or an alias, as joint and post-grad passes both do."""
    from torch._inductor.fx_passes.post_grad import remove_noop_ops

    remove_noop_ops(gm.graph)
    gm.graph.lint()
    gm.recompile()


def early(gm: torch.fx.GraphModule):
    """Apply the patterns that run before constant folding."""
    from torch._inductor.fx_passes import joint_graph

    joint_graph.lazy_init()
    joint_graph.early_patterns.apply(gm.graph)
    gm.graph.lint()
    gm.recompile()


def some_patterns(gm: torch.fx.GraphModule, *, module: str, handlers: list, settings: dict,
                  no_ops_first: bool = False):
    """Apply, of a module's ``pass_patterns``, those whose handler or search function has one of these names.

    A name that ends in "*" stands for all that begin with it. ``settings`` are Inductor's. ``no_ops_first``
    removes operations that do nothing before, as the joint passes do.
    """
    import importlib
    import inspect

    from torch._inductor import config
    from torch._inductor.fx_passes.post_grad import remove_noop_ops
    from torch._inductor.pattern_matcher import PatternMatcherPass, stable_topological_sort

    def chosen(entry):
        function = getattr(entry, "handler", None)
        if function is None:
            function = inspect.getclosurevars(entry.extra_check).nonlocals.get("search_fn")
        name = getattr(function, "__name__", "")
        return any(name == h or h.endswith("*") and name.startswith(h[:-1]) for h in handlers)

    registry = importlib.import_module(f"torch._inductor.fx_passes.{module}")
    registry.lazy_init()
    if no_ops_first:
        remove_noop_ops(gm.graph)
        registry.early_patterns.apply(gm.graph)
    # Hundreds of patterns are looked through once, not for every graph.
    made = vars(some_patterns).setdefault(f"{module} {handlers}", [])
    for everything in registry.pass_patterns[len(made):]:
        some = PatternMatcherPass(pass_name=handlers[0])
        for key, entries in everything.patterns.items():
            kept = [entry for entry in entries if chosen(entry)]
            if kept:
                some.patterns[key] = kept
        made.append(some)
    for some in made:
        with config.patch(**settings):
            some.apply(gm.graph)
    stable_topological_sort(gm.graph)
    gm.graph.lint()
    gm.recompile()


def random_passes(gm: torch.fx.GraphModule):
    """Replace random operators by those of Inductor's own generator."""
    from torch._inductor.fx_passes.replace_random import replace_random_passes
    from torch._inductor.pattern_matcher import stable_topological_sort

    replace_random_passes(gm)
    stable_topological_sort(gm.graph)
    gm.graph.lint()
    gm.recompile()


def passes() -> list[CataloguedPass]:
    """Return the entries of this stage."""
    return [*_no_ops(), *_constants(), *_patterns(), *_random(), *_whole()]


def _entry(name: str, does: str, make, *models: Innocent, capture: str = "aten", **fields) -> CataloguedPass:
    return CataloguedPass(f"joint.{name}", "joint", capture, does, make, models,
                          functional=True, dead_nodes_ok=True, **fields)


def _no_ops() -> list[CataloguedPass]:
    x = T(2, 3)
    singles = [
        ("slice", m.slice_all, x), ("clone", m.clone_inside, x), ("alias", m.alias_inside, x),
        ("cat", m.cat_of_one, x), ("pow", m.power_of_one, x), ("pad", m.pad_nothing, x),
        ("repeat", m.repeat_once, x), ("convert", m.convert_to_itself, x), ("view", m.view_as_itself, x),
        ("view_dtype", m.view_dtype_as_itself, x), ("device_put", m.device_put_home, x),
        ("integers", m.round_integers, T(2, 3, dtype=torch.int64)),
    ]
    return [_entry(
        "remove_noop_ops", "removes operations that only copy, alias or convert to what already is",
        recipe(remove_noops, "post_grad"), *(Innocent(name, model, (spec,)) for name, model, spec in singles),
        Innocent("slice_scatter", m.scatter_all, (x, x)), Innocent("copy", m.copy_over, (x, x)))]


def _constants() -> list[CataloguedPass]:
    x = T(2, 3)
    neutral = (Innocent("add", m.add_zeros, (x,)), Innocent("sub", m.subtract_zeros, (x,)),
               Innocent("mul", m.times_ones, (x,)), Innocent("div", m.over_ones, (x,)))
    return [
        _entry("constant_fold_uniform_value", "folds constants of one value and what they leave neutral",
               recipe(joint_function, "joint_graph", attribute="constant_fold_uniform_value"), *neutral,
               Innocent("arithmetic", m.fold_constants, (x,)),
               Innocent("times_zero", m.times_zero, (T(2, 3, dtype=torch.int64),)),
               Innocent("returned", m.return_constants, (x,)),
               idempotent=False, why="a second run folds among the dead nodes that the first one leaves"),
        _entry("remove_no_ops", "removes + 0, - 0, * 1 and / 1 of constant tensors",
               recipe(no_ops, "joint_graph"), *neutral),
        _entry("remove_redundant_views", "reuses a dtype view that exists already",
               recipe(joint_function, "joint_graph", attribute="remove_redundant_views"),
               Innocent("back", m.VIEW_TWICE, (x,)),
               Innocent("twice", m.same_view_twice, (x,), capture="make_fx")),
    ]


def _patterns() -> list[CataloguedPass]:
    def named(name: str, does: str, handlers: list[str], *models: Innocent, home: str = "joint_graph",
              **fields) -> CataloguedPass:
        first = {"no_ops_first": True} if fields.get("after") else {}
        make = recipe(some_patterns, home, module="joint_graph", handlers=handlers, settings={}, **first)
        return _entry(name, does, make, *models, **fields)

    x, half = T(3, 4), T(3, 4, dtype=torch.float16)
    heads = (T(2, 4, 8, 16), T(2, 4, 8, 16), T(2, 4, 8, 16))
    return [
        _entry("early_patterns",
               "removes views to the same shape, and pairs of views or permutes that cancel",
               recipe(early, "joint_graph"), Innocent("view", m.view_as_itself, (T(2, 3),)),
               Innocent("view_pair", m.view_there_and_back, (T(2, 3),)),
               Innocent("permute_pair", m.permute_there_and_back, (T(2, 3, 4),)),
               off=("generality:new-specialization",), why=GUARDS),
        named("pointless_convert", "joins two conversions into one", ["pointless_convert"],
              Innocent("up_and_down", m.convert_twice, (x,)), Innocent("half", m.convert_half, (half,)),
              Innocent("between_halves", m.convert_between_halves, (x,))),
        named("scatter_upon_const_tensor", "replaces a scatter into a constant by a comparison",
              ["scatter_upon_const_tensor"],
              Innocent("one_hot", m.one_hot, (T(4, 1, dtype=torch.int64, values="index:5"),)),
              Innocent("vector", m.marked_place, (T(1, dtype=torch.int64, values="index:5"),)),
              Innocent("rows", m.marked_rows, (T(2, 3, 1, dtype=torch.int64, values="index:5"),)),
              off=("generality:new-specialization", "generality:at-size:crash:graph:RuntimeError:expand"), why=GUARDS),
        named("mul_softmax_pattern", "scales after the maximum is subtracted, below a softmax",
              ["mul_softmax_pattern"], Innocent("scalar", m.softmax_of_scaled, (x,)),
              Innocent("tensor", m.softmax_of_product, (x, T(3, 1))),
              Innocent("half", m.softmax_in_float, (half,)), idempotent=False, why=MATCHES_ITSELF),
        named("div_softmax_pattern", "the same for a quotient", ["div_softmax_pattern"],
              Innocent("scalar", m.softmax_of_quotient, (x,)),
              Innocent("tensor", m.log_softmax_of_quotient, (x, T(3, 1, values="positive"))),
              Innocent("half", m.softmax_of_half_quotient, (half,)), idempotent=False, why=MATCHES_ITSELF),
        named("fuse_attention", "replaces written-out attention by scaled_dot_product_attention",
              ["_sfdp_pattern_*"],
              Innocent("div", m.attention_div, heads), Innocent("mul", m.attention_mul, heads),
              Innocent("mask", m.attention_masked, (*heads, T(1, 1, 8, 8))),
              Innocent("plain_mask", m.attention_masked, (*heads, T(8, 8))), home="fuse_attention",
              after=("joint.remove_noop_ops", "joint.early_patterns"), examples=900),
        named("randperm_index", "indexes by a permutation without checks or atomic adds",
              ["randperm_index_pattern", "randperm_index_full_pattern", "randperm_index_add_pattern",
               "randperm_index_add_full_pattern"],
              Innocent("some", m.pick_rows, (T(4, 8),), torch=">=2.15"),
              Innocent("all", m.shuffle_rows, (T(4, 8),), torch=">=2.15"),
              Innocent("add_some", m.add_to_picked_rows, (T(4, 8), T(2, 8))),
              Innocent("add_all", m.add_to_shuffled_rows, (T(4, 8), T(4, 8)), torch=">=2.15"),
              home="misc_patterns"),
    ]


def _random() -> list[CataloguedPass]:
    return [_entry(
        "replace_random_passes", "draws from Inductor's generator, one seed for all",
        recipe(random_passes, "replace_random"),
        Innocent("uniform", m.draw_two, (T(3, 4),)), Innocent("normal", m.draw_normal, (T(3, 4),)),
        Innocent("integers", m.draw_integers, (T(3, 4),)),
        off=("numerics:random-values", "numerics:nan", "numerics:inf", "effects:rng", "effects:input-values"),
        why=OTHER_DRAWS)]


def _whole() -> list[CataloguedPass]:
    return [
        _entry("joint_graph_passes", "everything that runs on the joint graph, here for inference",
               recipe(joint_whole, "joint_graph"), Innocent("neutral", m.add_zeros, (T(2, 3),)),
               Innocent("softmax", m.softmax_of_scaled, (T(3, 4),)),
               Innocent("clone", m.clone_inside, (T(2, 3),)),
               Innocent("dead_view", m.times_zero_of_view, (T(2, 3), T(2, 3, dtype=torch.int32))),
               Innocent("one_hot", m.one_hot, (T(4, 1, dtype=torch.int64, values="index:5"),)),
               idempotent=False, why=LATER_CONSTANTS),
        _entry("joint_graph_passes_training", "the same on a forward and backward graph",
               recipe(joint_whole, "joint_graph"),
               Innocent("softmax", m.train_softmax,
                        (T(3, 4, requires_grad=True), T(4, 5, requires_grad=True))),
               Innocent("neutral", m.train_noop, (T(2, 3, requires_grad=True),)), capture="joint",
               idempotent=False, why=LATER_CONSTANTS),
    ]
