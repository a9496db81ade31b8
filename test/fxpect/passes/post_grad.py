"""Passes on the functional ATen graph, once forward and backward are apart."""

from __future__ import annotations

import torch

from fxpect.passes import post_grad_models as m
from fxpect.passes.catalogue import CataloguedPass, Innocent, recipe
from fxpect.passes.joint import some_patterns
from fxpect.specs import Dim, T

NORMALIZATION = "post_grad.normalization_aten_pass"


def post_grad_whole(gm: torch.fx.GraphModule):
    """Run ``post_grad_passes`` for inference, without the patterns that leave ATen.

    Lowering patterns put functions of Inductor's code generation into the graph, which no other
    program can run.
    """
    from torch._inductor.fx_passes import post_grad
    from torch._inductor.pattern_matcher import LoweringPatternEntry

    post_grad.lazy_init()
    kept = [dict(each.patterns) for each in post_grad.pass_patterns]
    try:
        for each in post_grad.pass_patterns:
            for key, entries in list(each.patterns.items()):
                each.patterns[key] = [e for e in entries if not isinstance(e, LoweringPatternEntry)]
        post_grad.post_grad_passes(gm, True)
    finally:
        for each, patterns in zip(post_grad.pass_patterns, kept, strict=True):
            each.patterns.update(patterns)


def post_grad_options(gm: torch.fx.GraphModule, *, options: dict):
    """Run pattern passes of ``post_grad_fusion_options`` in the order given."""
    from torch._inductor import config
    from torch._inductor.fx_passes import post_grad
    from torch._inductor.fx_passes.split_cat import POST_GRAD_PATTERNS
    from torch._inductor.pattern_matcher import stable_topological_sort

    post_grad.lazy_init()
    if "move_view_after_cat_aten_pass" in options:
        post_grad.view_to_reshape(gm)
    with config.patch(post_grad_fusion_options=options):
        for name in options:
            POST_GRAD_PATTERNS[name].apply(gm.graph)
    stable_topological_sort(gm.graph)
    gm.graph.lint()
    gm.recompile()


def post_grad_fusion(gm: torch.fx.GraphModule, *, options: dict, then: str = ""):
    """Run group or batch fusions of ``post_grad_fusion_options``, and one pattern pass after them."""
    from torch._inductor import config
    from torch._inductor.fx_passes.group_batch_fusion import group_batch_fusion_passes
    from torch._inductor.fx_passes.split_cat import POST_GRAD_PATTERNS
    from torch._inductor.pattern_matcher import stable_topological_sort

    with config.patch(post_grad_fusion_options=options):
        group_batch_fusion_passes(gm.graph, pre_grad=False)
        if then:
            POST_GRAD_PATTERNS[then].apply(gm.graph)
    stable_topological_sort(gm.graph)
    gm.graph.lint()
    gm.recompile()


def post_grad_function(gm: torch.fx.GraphModule, *, attribute: str, takes: str, settings: dict):
    """Call one function of ``post_grad.py`` with the graph or the module, under these Inductor settings."""
    from torch._inductor import config
    from torch._inductor.fx_passes import post_grad

    with config.patch(**settings):
        getattr(post_grad, attribute)(gm.graph if takes == "graph" else gm)
    gm.graph.lint()
    gm.recompile()


def partition_scatters(gm: torch.fx.GraphModule):
    """Scatter into several buffers and add them up, for an index of any size: by default one of 4096 at least."""
    import types
    from unittest import mock

    from torch._inductor import config
    from torch._inductor.fx_passes import reduced_atomic_contention as home

    settings = {"partitioned_scatter_enabled": True, "partitioned_scatter_min_index_size": 2}
    with mock.patch.object(home, "config", types.SimpleNamespace(**{**config.get_config_copy(), **settings})):
        home.partitioned_scatter_optimization_pass(gm.graph)
    gm.graph.lint()
    gm.recompile()


def reinplace_inplaceable(gm: torch.fx.GraphModule, *, decompose: bool = False):
    """Turn functional writes into in-place ones where nothing can see the difference; wrappers too, on demand.

    A foreach operator that writes in place has no results: Inductor lowers what reads them to what was written.
    """
    import inspect

    from torch._inductor.fx_passes.post_grad import decompose_auto_functionalized
    from torch._inductor.fx_passes.reinplace import inplaceable_foreach_ops, reinplace_inplaceable_ops
    from torch._inductor.fx_utils import FakeTensorUpdater

    takes_graph = "graph" in inspect.signature(FakeTensorUpdater).parameters  # until torch 2.12 or so
    reinplace_inplaceable_ops(FakeTensorUpdater(gm.graph if takes_graph else gm), gm.graph)
    written = {each.inplace_op: each.mutated_arg for each in inplaceable_foreach_ops.values()}
    for node in list(gm.graph.nodes):
        for reader in list(node.users) if node.target in written else ():
            reader.replace_all_uses_with(node.args[written[node.target]][reader.args[1]])
            gm.graph.erase_node(reader)
    if decompose:
        decompose_auto_functionalized(gm.graph)
    gm.graph.lint()
    gm.recompile()


def dedupe_sizes(gm: torch.fx.GraphModule):
    """Let each symbolic size that inputs give be computed once."""
    from torch._inductor.fx_passes.dedupe_symint_uses import dedupe_symints

    dedupe_symints(gm.graph)
    gm.graph.lint()
    gm.recompile()


def passes() -> list[CataloguedPass]:
    """Return the entries of this stage."""
    return [*_options(), *_fusions(), *_patterns(), *_functions(), *_whole()]


def _entry(name: str, does: str, make, *models: Innocent, capture: str = "aten", **fields) -> CataloguedPass:
    return CataloguedPass(f"post_grad.{name}", "post_grad", capture, does, make, models,
                          functional=True, dead_nodes_ok=True, **fields)


def _options() -> list[CataloguedPass]:
    def option(name: str, does: str, *models: Innocent, normalized: bool = True, home: str = "split_cat",
               **settings) -> CataloguedPass:
        options = {**({"normalization_aten_pass": {}} if normalized else {}), name: settings}
        return _entry(name, does, recipe(post_grad_options, home, options=options), *models,
                      options=f"post_grad_fusion_options = {options}",
                      after=(NORMALIZATION,) if normalized else ())

    return [
        option("normalization_aten_pass", "spells split and cat one way",
               Innocent("split", m.split_by_size, (T(3, 6),)),
               Innocent("sections", m.split_by_sections, (T(3, 6),)),
               Innocent("cat", m.cat_last, (T(2, 3), T(2, 5))), normalized=False),
        option("split_cat_aten_pass", "replaces the join of sections by a slice or the input",
               Innocent("some", m.cat_of_some_sections, (T(3, 4),)),
               Innocent("all", m.cat_of_all_sections, (T(3, 6),)), threshold_to_cat=2),
        option("select_cat_aten_pass", "replaces the join of selected slices by a view",
               Innocent("all", m.cat_of_selected, (T(2, 3, 4),))),
        option("move_view_after_cat_aten_pass", "views once, after the sections are joined",
               Innocent("views", m.cat_of_viewed_sections, (T(8, 3, 2),)),
               Innocent("images", m.cat_of_viewed_image_sections, (T(2, 4, 3, 2),))),
        option("decompose_mm_pass", "writes a small product as products and a sum",
               Innocent("mm", m.row_times_matrix, (T(1, 4), T(4, 5))),
               Innocent("addmm", m.bias_and_row_times_matrix, (T(5), T(1, 4), T(4, 5)), capture="make_fx"),
               Innocent("bmm", m.batch_of_one, (T(1, 3, 4), T(1, 4, 5))), normalized=False,
               home="decompose_mem_bound_mm"),
    ]


def _fusions() -> list[CataloguedPass]:
    def fusion(name: str, does: str, *models: Innocent) -> CataloguedPass:
        options = {name: {"min_fuse_set_size": 2}}
        return _entry(name, does, recipe(post_grad_fusion, "group_batch_fusion", options=options), *models,
                      options=f"post_grad_fusion_options = {options}")

    two, four = (T(3, 4),) * 2, (T(3, 4),) * 4
    divisors = (T(3, 4), T(3, 4, values="positive")) * 2
    options = {"batch_aten_tanh": {"min_fuse_set_size": 2}, "batch_aten_sigmoid": {"min_fuse_set_size": 2}}
    return [
        fusion("batch_linear_post_grad", "stacks products of one shape",
               Innocent("mm", m.two_products, (*two, T(4, 5), T(4, 5))),
               Innocent("addmm", m.two_biased_products, (T(5), T(5), *two, T(4, 5), T(4, 5)))),
        fusion("batch_aten_tanh", "stacks tanh of one shape", Innocent("two", m.two_tanh, two)),
        fusion("batch_aten_sigmoid", "stacks sigmoids of one shape", Innocent("two", m.two_sigmoid, two)),
        fusion("batch_aten_relu", "stacks relus of one shape", Innocent("two", m.two_relu, two)),
        fusion("batch_aten_add", "stacks sums of one shape", Innocent("two", m.two_adds, four)),
        fusion("batch_aten_sub", "stacks differences of one shape", Innocent("two", m.two_subs, four)),
        fusion("batch_aten_mul", "stacks products of one shape", Innocent("two", m.two_muls, four)),
        fusion("batch_aten_div", "stacks quotients of one shape", Innocent("two", m.two_divs, divisors)),
        _entry("unbind_stack_aten_pass", "drops the stacking of slices that a fusion took apart",
               recipe(post_grad_fusion, "group_batch_fusion", options=options, then="unbind_stack_aten_pass"),
               Innocent("gates", m.two_gates, two),
               options=f"post_grad_fusion_options = {options}, then unbind_stack_aten_pass",
               after=("post_grad.batch_aten_tanh", "post_grad.batch_aten_sigmoid")),
    ]


def _patterns() -> list[CataloguedPass]:
    def named(name: str, does: str, handler: str, *models: Innocent, settings: dict | None = None,
              **fields) -> CataloguedPass:
        make = recipe(some_patterns, "post_grad", module="post_grad", handlers=[handler],
                      settings=settings or {})
        return _entry(name, does, make, *models, **fields)

    return [
        named("pointless_cumsum", "replaces the running sum of a constant by a range",
              "pointless_cumsum_replacement",
              Innocent("integers", m.count_ones, (T(3, 4),)),
              Innocent("floats", m.running_sum_of_constant, (T(3, 4),)),
              Innocent("places", m.count_places, (T(3),))),
        named("addmm", "fuses a product and a sum", "addmm",
              Innocent("matrix", m.product_plus, (T(3, 4), T(4, 5), T(3, 5))),
              Innocent("bias", m.plus_product, (T(3, 4), T(4, 5), T(5)))),
        named("splitwithsizes_cat", "replaces the join of all pieces of a split by what was split",
              "splitwithsizes_cat_replace", Innocent("pieces", m.joined_pieces, (T(2, 5),))),
        named("cat_splitwithsizes", "replaces the pieces of a join by what was joined",
              "cat_splitwithsizes_replace", Innocent("joined", m.pieces_of_join, (T(2, 2), T(2, 3))),
              off=("metadata:stride", "metadata:stride-stale"),
              why="it is a lowering, which finds the strides anew"),
        named("reciprocal_sqrt_to_rsqrt", "fuses a reciprocal and a square root", "reciprocal_sqrt_to_rsqrt",
              Innocent("root", m.inverse_root, (T(2, 3, values="positive"),)), torch=">=2.15"),
        named("merge_std_var", "computes a variance once for two dtypes", "merge_std_var",
              Innocent("variances", m.variance_and_half_deviation, (T(3, 4),)), torch=">=2.15",
              settings={"var_std_reduction_dedup": True}, options="var_std_reduction_dedup = True"),
        named("partial_reduction_reuse", "takes a total maximum from partial ones", "reuse_partial",
              Innocent("maxima", m.row_and_total_maximum, (T(64, 64),))),
    ]


def _functions() -> list[CataloguedPass]:
    def function(attribute: str, does: str, *models: Innocent, name: str = "", takes: str = "graph",
                 settings: dict | None = None, **fields) -> CataloguedPass:
        make = recipe(post_grad_function, "post_grad", attribute=attribute, takes=takes,
                      settings=settings or {})
        return _entry(name or attribute, does, make, *models, **fields)

    return [
        function("reorder_for_locality", "moves each node to just before its first use",
                 Innocent("far", m.far_apart, (T(3), T(3))),
                 Innocent("places", m.places_far_apart, (T(3), T(3)))),
        function("view_to_reshape", "makes every view a reshape",
                 Innocent("view", m.view_between, (T(2, 3),)),
                 Innocent("places", m.view_of_places, (T(4),)),
                 takes="module"),
        function("_remove_profiler_ops", "removes record_function", Innocent("region", m.profiled, (T(3),)),
                 Innocent("handle", m.profiled_by_handle, (T(3),)),
                 name="remove_profiler_ops"),
        function("remove_assert_ops", "removes checks of metadata",
                 Innocent("check", m.asserted, (T(2, 3),))),
        function("decompose_scan_to_while_loop", "writes a scan as a while loop",
                 Innocent("scan", m.running_total, (T(3, 4),), capture="export"), takes="module", examples=1200),
        function("decompose_map_to_while_loop", "writes a map as a while loop",
                 Innocent("map", m.double_rows, (T(3, 4), T(4)), capture="export"), takes="module",
                 examples=1500),
        function("slice_scatter_chunking_pass", "fills a fresh tensor by a join or bounded copies",
                 Innocent("halves", m.scatter_slices, (T(2, 3), T(2, 3))), torch=">=2.15"),
        function("_chain_random_ops_for_ordering", "ties random operators to the order they were written in",
                 Innocent("draws", m.draw_twice, (T(3, 4),)), name="chain_random_ops",
                 settings={"fallback_random": True}, options="fallback_random = True", torch=">=2.13"),
        function("decompose_auto_functionalized",
                 "writes a functional wrapper as clones and the operator that mutates",
                 Innocent("chunks", m.gather_chunks, (T(4, 3), T(2, 3))),
                 Innocent("row", m.fill_row, (T(4, 3), T(2, 3))),
                 Innocent("pieces", m.copy_pieces, (T(2, 4), T(2, 1), T(2, 3)))),
        _entry("reinplace_inplaceable_ops", "writes in place where nobody can tell",
               recipe(reinplace_inplaceable, "reinplace"),
               Innocent("fresh", m.write_rows, _rows()), Innocent("input", m.write_input_rows, _rows()),
               Innocent("half", m.COPY_HALF, (T(4, 3),), torch="<2.15"),
               Innocent("viewed", m.write_viewed_rows, (T(6, 3), T(2, dtype=torch.int64, values=[0, 2]), T(3))),
               Innocent("computed", m.write_computed_places,
                        (T(4, dtype=torch.int64, values=[0, 1, 2, -1]), T(4, dtype=torch.int64))),
               Innocent("views", m.write_through_views, (T(4, 3), T(3), T(2))),
               Innocent("parts", m.write_row_of_part, (T(4, 3), T(3))),
               Innocent("input_parts", m.write_input_parts, (T(4, 4), T(4))),
               Innocent("input_viewed", m.write_viewed_input,
                        (T(4, 3), T(2, dtype=torch.int64, values=[0, 5]), T(2))),
               Innocent("base", m.write_one_base_twice, (*_rows(), T(2, 3))),
               Innocent("places", m.write_places, (T(4, 3), T(4, values=[0.0, 1.0, 0.0, 2.0]))),
               Innocent("foreach", m.step_parameters, (T(2, 3), T(4), T(2, 3), T(4)))),
        _entry("reinplace_auto_functionalized", "calls operators that mutate, on copies where somebody can tell",
               recipe(reinplace_inplaceable, "reinplace", decompose=True),
               Innocent("fresh", m.gather_chunks, (T(4, 3), T(2, 3))),
               Innocent("given", m.fill_given, (T(4, 3), T(2, 3), T(2, 9))),
               Innocent("row", m.fill_row, (T(4, 3), T(2, 3))),
               Innocent("pieces", m.copy_pieces, (T(2, 4), T(2, 1), T(2, 3))),
               options="reinplace_inplaceable_ops, then decompose_auto_functionalized",
               after=("post_grad.decompose_auto_functionalized",)),
        _entry("partitioned_scatter_optimization_pass", "adds at equal places by way of several buffers",
               recipe(partition_scatters, "reduced_atomic_contention"),
               Innocent("rows", m.add_to_rows, _rows()),
               Innocent("columns", m.add_to_columns,
                        (T(3, 4), T(2, dtype=torch.int64, values=[0, 2]), T(3, 2))),
               options="partitioned_scatter_enabled", torch="<2.15", idempotent=False,
               why="2.15 asks for a GPU; the buffers are added to in the same way, and a second run splits those"),
        _entry("dedupe_symints", "computes each symbolic size once",
               recipe(dedupe_sizes, "dedupe_symint_uses"),
               Innocent("sizes", m.SAME_SIZE_TWICE, (Dim("s0", min=2), T("s0", 4), T("s0", 4)))),
    ]


def _whole() -> list[CataloguedPass]:
    return [_entry(
        "post_grad_passes", "everything that runs after autograd by default, for inference",
        recipe(post_grad_whole, "post_grad"),
        Innocent("mlp", m.mlp, (T(3, 4), T(4, 5), T(5), T(5, 2))),
        Innocent("constant", m.count_ones, (T(3, 4),)), Innocent("far", m.far_apart, (T(3), T(3))),
        Innocent("write", m.write_rows, _rows()))]


def _rows() -> tuple:
    """Specs of a tensor, row numbers without repeats, and new rows."""
    return T(4, 3), T(2, dtype=torch.int64, values=[0, 2]), T(2, 3)
