"""Passes of torch.fx and functorch."""

from __future__ import annotations

from typing import Any

import torch

from fxpect.passes import fx_models as m
from fxpect.passes.catalogue import CataloguedPass, Innocent, Recipe, recipe
from fxpect.passes.modules import ConvNorm, ConvNorm1d, LinearNorm, PaddedConvNorm1d, TransposedConvNorm, seeded
from fxpect.specs import T


def rewrite_module(gm: torch.fx.GraphModule, *, function: str):
    """Call ``module:function``, which takes a module and returns another."""
    import importlib

    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)(gm)


def transform(gm: torch.fx.GraphModule, *, transformer: str):
    """Run the transformer class ``module:Class`` over the graph."""
    import importlib

    module, _, name = transformer.partition(":")
    return getattr(importlib.import_module(module), name)(gm).transform()


def fold_subgraph(gm: torch.fx.GraphModule):
    """Move what depends on constants alone into a subgraph, and compute it as the first call would."""
    from torch.fx.experimental.const_fold import split_const_subgraphs

    folded = split_const_subgraphs(gm)
    folded.run_folding()
    return folded


def fuse_for_quantization(gm: torch.fx.GraphModule):
    """Fuse sequences of modules into those that quantization knows."""
    from torch.ao.quantization.quantize_fx import fuse_fx

    return fuse_fx(gm)


def remove_dead_code(gm: torch.fx.GraphModule):
    """Remove nodes that nobody uses."""
    gm.graph.eliminate_dead_code()
    gm.recompile()


def annotate_pieces(gm: torch.fx.GraphModule):
    """Note the type of what is taken out of a list, where the list's type is noted."""
    from torch.fx.experimental.schema_type_annotation import AnnotateTypesWithSchema
    from torch.fx.passes.annotate_getitem_nodes import annotate_getitem_nodes

    typed = AnnotateTypesWithSchema(gm).transform()
    annotate_getitem_nodes(typed.graph)
    return typed


def replace_by_pattern(gm: torch.fx.GraphModule, *, ignore_literals: bool):
    """Give ``y + (-x)`` another spelling, equal for every dtype, as a caller of ``replace_pattern`` might."""
    from torch.fx.subgraph_rewriter import replace_pattern, replace_pattern_with_filters

    def pattern(x, y):
        return torch.add(y, torch.neg(x))

    def replacement(x, y):
        return torch.add(y, torch.negative(x))

    if ignore_literals:
        replace_pattern_with_filters(gm, pattern, replacement, ignore_literals=True)
    else:
        replace_pattern(gm, pattern, replacement)


def replace_by_modules(gm: torch.fx.GraphModule):
    """Call the module of a backend for ``sigmoid(x) * y``: pattern and replacement are modules themselves."""
    from torch.fx.subgraph_rewriter import replace_pattern

    class Pattern(torch.nn.Module):
        def forward(self, x, y):
            return torch.sigmoid(x) * y

    class Replacement(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fused_0 = torch.nn.Sigmoid()

        def forward(self, x, y):
            return self.fused_0(x) * y

    replace_pattern(gm, Pattern(), Replacement())


def replace_targets(gm: torch.fx.GraphModule):
    """Replace torch.sigmoid by its other name."""
    from torch.fx.passes.graph_manipulation import replace_target_nodes_with

    replace_target_nodes_with(gm, "call_function", torch.sigmoid, "call_function", torch.special.expit)
    gm.recompile()


def reinplace_all(gm: torch.fx.GraphModule, inputs: list):
    """Write in place where no one can tell."""
    from torch.fx.passes.reinplace import reinplace

    return reinplace(gm, *inputs)


def split_by_turns(gm: torch.fx.GraphModule, *, options: dict):
    """Split into submodules, two nodes to each."""
    from torch.fx.passes.split_module import split_module

    calls = [n for n in gm.graph.nodes if n.op in ("call_function", "call_method", "call_module")]
    part = {node: i // 2 for i, node in enumerate(calls)}
    return split_module(gm, gm, lambda node: part.get(node, 0), **options)


def split_by_tag(gm: torch.fx.GraphModule):
    """Split into a first and a second half by tags."""
    from torch.fx.passes.split_utils import split_by_tags

    calls = [n for n in gm.graph.nodes if n.op in ("call_function", "call_method", "call_module")]
    for i, node in enumerate(calls):
        node.tag = "first" if i < len(calls) // 2 else "second"
    return split_by_tags(gm, ["first", "second"])


def partition_supported(gm: torch.fx.GraphModule):
    """Fuse what a backend that knows pointwise operators would take into submodules."""
    from torch.fx.passes.infra.partitioner import CapabilityBasedPartitioner
    from torch.fx.passes.operator_support import OperatorSupportBase

    class Pointwise(OperatorSupportBase):
        def is_node_supported(self, submodules, node):
            return node.op == "call_function" and torch.Tag.pointwise in getattr(node.target, "tags", ())

    partitioner = CapabilityBasedPartitioner(gm, Pointwise(), allows_single_node_partition=True)
    return partitioner.partition_and_fuse()


def split_for_accelerator(gm: torch.fx.GraphModule, inputs: list):
    """Split into what an accelerator that knows two operators takes, and the rest."""
    import contextlib
    import io

    from torch.fx.passes.operator_support import OperatorSupportBase
    from torch.fx.passes.splitter_base import _SplitterBase, _SplitterSettingBase

    class Some(OperatorSupportBase):
        def is_node_supported(self, submodules, node):
            return getattr(node.target, "__name__", "") in ("add", "sigmoid", "relu")

    with contextlib.redirect_stdout(io.StringIO()):  # it prints how many parts it made
        return _SplitterBase(gm, inputs, Some(), _SplitterSettingBase(min_acc_module_size=1))()


def partition_by_size(gm: torch.fx.GraphModule, inputs: list):
    """Spread over devices by the memory that each node needs."""
    from torch.fx.experimental.accelerator_partitioner import Partitioner
    from torch.fx.experimental.partitioner_utils import Device, PartitionerConfig
    from torch.fx.passes.graph_manipulation import get_size_of_all_nodes

    get_size_of_all_nodes(gm, inputs)
    sizes = [node.size_bytes.total_size for node in gm.graph.nodes if node.op != "output"]
    devices = [Device(f"device_{i}", max(4 * max(sizes), sum(sizes)), i) for i in range(len(sizes))]
    return Partitioner().partition_graph(gm, gm, PartitionerConfig(devices)).module_with_submodules


def share_subexpressions(gm: torch.fx.GraphModule):
    """Compute equal values once, by the dialect-agnostic pass."""
    from torch.fx.passes.dialect.common.cse_pass import CSEPass, get_CSE_banned_ops

    return CSEPass(banned_ops=get_CSE_banned_ops())(gm)


def share_aten_subexpressions(gm: torch.fx.GraphModule):
    """Compute equal values once, by functorch's pass."""
    from torch._functorch.compile_utils import fx_graph_cse

    return torch.fx.GraphModule(gm, fx_graph_cse(gm.graph))


def sort_shuffled(gm: torch.fx.GraphModule, *, function: str):
    """Sort a graph whose calls were put in reverse, as a pass that inserts at the end leaves it."""
    from torch.fx.passes import tools_common

    calls = [node for node in gm.graph.nodes if node.op not in ("placeholder", "output")]
    for node in calls[:-1]:
        calls[-1].append(node)
    return getattr(tools_common, function)(gm)


def canonicalize(gm: torch.fx.GraphModule):
    """Put independent nodes in one order and name all by their targets."""
    import itertools

    from torch.fx.passes.canonicalize import _canonical_node_key, _is_safe_to_reorder, canonicalize_graph

    places = itertools.count()

    def key(node, order):
        return (0, next(places)) if node.op == "placeholder" else _canonical_node_key(node, order)

    canonicalize_graph(gm.graph, key, _is_safe_to_reorder)
    gm.recompile()


def rename_all(gm: torch.fx.GraphModule):
    """Name all nodes by their targets."""
    from torch.fx.passes.canonicalize import rename_nodes_to_canonical

    rename_nodes_to_canonical(gm.graph, skip_ops=frozenset({"placeholder"}))
    gm.recompile()


def functorch_function(gm: torch.fx.GraphModule, *, module: str, names: list):
    """Call functions of a functorch module one after the other, each on what the last returned."""
    import importlib

    for name in names:
        gm = getattr(importlib.import_module(f"torch._functorch.{module}"), name)(gm) or gm
    return gm


def partition(gm: torch.fx.GraphModule, *, function: str, settings: dict):
    """Cut a joint graph into forward and backward, and call the two one after the other."""
    from torch._functorch import config, partitioners

    inputs, kind = gm.graph.find_nodes(op="placeholder"), type(gm.graph.output_node().args[0])
    tangents = [node for node in inputs if "tangents" in str(node.target)]
    count = len(gm.graph.output_node().args[0]) - (len(inputs) - len(tangents))
    names = [node.name for node in inputs]
    with config.patch(settings):
        forward, backward = getattr(partitioners, function)(gm, [], num_fwd_outputs=count,
                                                            static_lifetime_input_indices=[])
    whole = torch.fx.Graph()
    values = {name: whole.placeholder(name) for name in names}
    for part, root in (("forward", forward), ("backward", backward)):
        given = [values[node.name] for node in root.graph.find_nodes(op="placeholder")]
        called = whole.call_module(f"{part}_part", tuple(given))
        results = [whole.call_function(__import__("operator").getitem, (called, i))
                   for i in range(len(root.graph.output_node().args[0]))]
        for made, result in zip(root.graph.output_node().args[0], results):
            if isinstance(made, torch.fx.Node):
                values.setdefault(made.name, result)
        if part == "forward":
            outputs = results[:count]
    whole.output(kind([*outputs, *results]))
    for node, old in zip(whole.find_nodes(op="placeholder"), inputs):
        node.meta = dict(old.meta)
    return torch.fx.GraphModule({"forward_part": forward, "backward_part": backward}, whole)


def passes() -> list[CataloguedPass]:
    """Return the entries of this stage."""
    return [*_inference(), *_normalise(), *_rewrite(), *_share(), *_split(), *_order(), *_functorch()]


def _entry(name: str, does: str, make, *models: Innocent, capture: str = "symbolic",
           **fields) -> CataloguedPass:
    name = name if "." in name else f"fx.{name}"
    return CataloguedPass(name, "fx", capture, does, make, models, **fields)


def _call(module: str, function: str) -> Recipe:
    return recipe(rewrite_module, module, function=f"torch.{module}:{function}")


def _transform(module: str, transformer: str) -> Recipe:
    return recipe(transform, module, transformer=f"torch.{module}:{transformer}")


def _functorch_call(module: str, names: list[str]) -> Recipe:
    return recipe(functorch_function, f"_functorch.{module}", module=module, names=names)


def _inference() -> list[CataloguedPass]:
    image = (T(2, 3, 6, 6),)
    return [
        _entry("fuse_conv_bn", "folds batch norms into convolutions and linears (optimization.fuse)",
               _call("fx.experimental.optimization", "fuse"), Innocent("conv", seeded(m.ConvStack), image),
               Innocent("conv_norm", seeded(ConvNorm), image),
               Innocent("one_dim", seeded(ConvNorm1d), (T(2, 3, 6),)),
               Innocent("padded", seeded(PaddedConvNorm1d), (T(2, 3, 4),)),
               Innocent("transposed", seeded(TransposedConvNorm), image),
               Innocent("linear", seeded(LinearNorm), (T(4, 3),)), inference=True),
        _entry("remove_dropout", "removes dropout modules",
               _call("fx.experimental.optimization", "remove_dropout"),
               Innocent("dropout", seeded(m.Dropped), (T(2, 3),)), inference=True),
        _entry("fuse_fx", "fuses convolutions, batch norms and relus into the modules of quantization",
               recipe(fuse_for_quantization, "ao.quantization.fx.fuse"),
               Innocent("conv", seeded(m.ConvReLU), image),
               Innocent("linear", seeded(m.LinearReLU), (T(2, 3),)),
               inference=True, idempotent=False,
               why="a second trace looks inside the modules that were made"),
        _entry("optimize_for_inference", "fuses batch norms, drops dropouts, computes in oneDNN's layout",
               _call("fx.experimental.optimization", "optimize_for_inference"),
               Innocent("stack", seeded(m.ConvStack), image),
               Innocent("average", seeded(m.ConvAverage), image),
               Innocent("sum", seeded(m.SumOfConvs), image), inference=True, idempotent=False,
               why="a second run puts layout changes around those of the first", examples=800),
    ]


def _normalise() -> list[CataloguedPass]:
    return [
        _entry("normalize_args", "passes every argument by its name (NormalizeArgs)",
               _transform("fx.experimental.normalize", "NormalizeArgs"),
               Innocent("functions", m.positional_calls, (T(2, 3, 4), T(4))),
               Innocent("modules", seeded(m.PositionalModules), (T(2, 3),))),
        _entry("normalize_operators", "spells torch.add and its like as operators (NormalizeOperators)",
               _transform("fx.experimental.normalize", "NormalizeOperators"),
               Innocent("arithmetic", m.torch_arithmetic, (T(2, 3), T(2, 3)))),
        _entry("annotate_types_with_schema", "notes types from schemas",
               _transform("fx.experimental.schema_type_annotation", "AnnotateTypesWithSchema"),
               Innocent("pool", m.pool_with_places, (T(2, 3, 6),)), writes="types"),
        _entry("annotate_getitem_nodes", "notes the types of pieces, from the type of the whole",
               recipe(annotate_pieces, "fx.passes.annotate_getitem_nodes"),
               Innocent("pool", m.pool_with_places, (T(2, 3, 6),)),
               Innocent("indexed", m.pool_indexed, (T(2, 3, 6),)), writes="types",
               after=("fx.annotate_types_with_schema",)),
    ]


def _rewrite() -> list[CataloguedPass]:
    pair = (T(2, 3), T(2, 3))
    return [
        _entry("eliminate_dead_code", "removes nodes that nobody uses", recipe(remove_dead_code, "fx.graph"),
               Innocent("unused", m.unused_value, (T(2, 3),)), functional=True),
        _entry("merge_matmul", "joins products that share their right operand",
               _call("fx.experimental.merge_matmul", "merge_matmul"),
               Innocent("two", m.two_matmuls, (T(2, 3), T(4, 3), T(3, 5)))),
        _entry("split_const_subgraphs", "computes what depends on constants alone, once",
               recipe(fold_subgraph, "fx.experimental.const_fold"),
               Innocent("weights", seeded(m.FoldableWeight), (T(3, 4),)),
               Innocent("returned", seeded(m.FoldedAndReturned), (T(3, 4),)), inference=True, idempotent=False,
               why="a second run stores what it folded under another name"),
        _entry("replace_pattern", "replaces y + neg(x) by y + negative(x) with the subgraph rewriter",
               recipe(replace_by_pattern, "fx.subgraph_rewriter", ignore_literals=False),
               Innocent("negated", m.negated_sum, pair)),
        _entry("replace_pattern_with_filters", "the same with filters, literals ignored",
               recipe(replace_by_pattern, "fx.subgraph_rewriter", ignore_literals=True),
               Innocent("negated", m.negated_sum, pair)),
        _entry("replace_pattern_by_modules", "replaces sigmoid(x) * y by the call of a module that comes with it",
               recipe(replace_by_modules, "fx.subgraph_rewriter"), Innocent("gate", m.chain, pair),
               Innocent("modules", seeded(m.GatedModules), (T(2, 3),))),
        _entry("replace_target_nodes_with", "replaces one target by another",
               recipe(replace_targets, "fx.passes.graph_manipulation"),
               Innocent("sigmoid", m.chain, pair)),
        _entry("reinplace", "writes in place where nobody can tell",
               recipe(reinplace_all, "fx.passes.reinplace"),
               Innocent("intermediate", m.overwrite_intermediate, (T(3, 4),)),
               Innocent("constant", m.add_constant, (T(3, 4),)),
               Innocent("size", m.scale_by_size, (T(3, 4),)),
               Innocent("scatter", m.write_through_view, (T(4, 3),)), capture="make_fx", kind="module-inputs",
               functional=True),
    ]


def _share() -> list[CataloguedPass]:
    twins = (Innocent("twice", m.same_twice, (T(2, 3),)),
             Innocent("chain", m.same_chain_twice, (T(2, 3), T(2, 3))),
             Innocent("pair", m.same_pair_twice, (T(2, 3),)))
    return [
        _entry("cse_pass", "computes equal values once (CSEPass)",
               recipe(share_subexpressions, "fx.passes.dialect.common.cse_pass"), *twins,
               capture="make_fx", functional=True),
        _entry("functorch.fx_graph_cse", "computes equal values once, outputs and mutation regions apart",
               recipe(share_aten_subexpressions, "_functorch.compile_utils"), *twins, capture="aten",
               functional=True),
    ]


def _split() -> list[CataloguedPass]:
    pair = (T(2, 3), T(2, 3))
    chained = Innocent("chain", m.chain, pair)
    regions = Innocent("dynamo", m.chain, pair, capture="dynamo")  # as DDP's optimizer splits them, regions included
    nested: dict[str, Any] = {
        "idempotent": False, "off": ("effects:state-not-mutated", "effects:hooks"),
        "why": "a second run splits the submodules' calls once more; a module, written to or hooked, has another path"}
    return [
        _entry("split_module", "moves nodes into submodules by a callback",
               recipe(split_by_turns, "fx.passes.split_module", options={}), chained, regions,
               Innocent("modules", seeded(m.ConvStack), (T(2, 3, 6, 6),)), **nested),
        _entry("split_module_in_order", "the same, with the order kept and a name for the parts",
               recipe(split_by_turns, "fx.passes.split_module",
                      options={"keep_original_order": True, "partition_affix": "part"}), chained, regions,
               Innocent("modules", seeded(m.ConvStack), (T(2, 3, 6, 6),)),
               Innocent("weights", seeded(m.FoldableWeight), (T(3, 4),)), **nested),
        _entry("split_by_tags", "moves nodes into submodules by tag",
               recipe(split_by_tag, "fx.passes.split_utils"), chained,
               Innocent("modules", seeded(m.ConvStack), (T(2, 3, 6, 6),)), **nested),
        _entry("capability_based_partitioner", "moves what a backend supports into submodules",
               recipe(partition_supported, "fx.passes.utils.fuser_utils"), chained,
               Innocent("aten", m.same_chain_twice, (T(2, 3), T(2, 3))),
               capture="aten", functional=True),
        _entry("splitter_base", "splits what an accelerator supports from the rest (_SplitterBase)",
               recipe(split_for_accelerator, "fx.passes.splitter_base"), chained, kind="module-inputs",
               functional=True, **nested),
        _entry("accelerator_partitioner", "spreads nodes over devices by size (Partitioner)",
               recipe(partition_by_size, "fx.experimental.accelerator_partitioner"), chained,
               kind="module-inputs", functional=True, idempotent=False, off=("generality:new-specialization",),
               why=f"{nested['why']}, and it weighs nodes by their bytes, which takes sizes as numbers"),
    ]


def _order() -> list[CataloguedPass]:
    chained = Innocent("branches", m.branches, (T(2, 3), T(2, 3)))
    shuffled: dict[str, Any] = {
        "writes": "order", "functional": True, "off": ("effects:rng", "numerics:random-values", "gradients:values"),
        "why": "it is given the calls in another order, draws included"}
    return [
        _entry("legalize_graph", "sorts a graph that was built out of order",
               recipe(sort_shuffled, "fx.passes.tools_common", function="legalize_graph"), chained, **shuffled),
        _entry("stable_topological_sort", "the same, keeping the order where it can",
               recipe(sort_shuffled, "fx.passes.tools_common", function="stable_topological_sort"), chained,
               **shuffled),
        _entry("canonicalize_graph", "puts independent nodes in one order and names them by target",
               recipe(canonicalize, "fx.passes.canonicalize"), chained, writes="order", torch=">=2.15"),
        _entry("rename_nodes_to_canonical", "names nodes by their targets",
               recipe(rename_all, "fx.passes.canonicalize"), chained, capture="dynamo", writes="names",
               torch=">=2.15"),
    ]


def _functorch() -> list[CataloguedPass]:
    needs_grad = T(3, 4, requires_grad=True), T(4, 5, requires_grad=True)
    losses = (Innocent("loss", m.loss, needs_grad),
              Innocent("partly", m.partly_trained, (T(3, 4), needs_grad[1])))
    again: dict[str, Any] = {
        "idempotent": False, "off": ("effects:rng", "numerics:random-values"),
        "why": "its result calls the two parts, which is no joint graph, and each draws for itself"}
    return [
        _entry("functorch.raise_getitems", "takes pieces out where they are made",
               _functorch_call("compile_utils", ["raise_getitems"]),
               Innocent("late", m.late_getitem, (T(3, 4),)),
               Innocent("rows", m.late_rows, (T(3, 4), T(3, 4))), writes="order"),
        _entry("functorch.strip_overloads", "calls packets instead of overloads",
               _functorch_call("compile_utils", ["strip_overloads"]),
               Innocent("chain", m.same_chain_twice, (T(2, 3), T(2, 3))), capture="make_fx"),
        _entry("functorch.canonicalize", "calls to instead of _to_copy, overloads stripped first",
               _functorch_call("compilers", ["strip_overloads", "_canonicalize"]),
               Innocent("convert", m.convert, (T(2, 3),)), capture="make_fx",
               after=("functorch.strip_overloads",)),
        _entry("functorch.default_partition", "cuts a joint graph, every value that backward needs saved",
               recipe(partition, "_functorch.partitioners", function="default_partition", settings={}), *losses,
               capture="joint", functional=True, **again),
        _entry("functorch.min_cut_rematerialization_partition",
               "cuts a joint graph, some values computed again instead of saved",
               recipe(partition, "_functorch.partitioners", function="min_cut_rematerialization_partition",
                      settings={}), *losses, capture="joint", functional=True, **again),
        _entry("functorch.min_cut_rematerialization_partition_without_memory",
               "the same, with no memory for what could be computed again",
               recipe(partition, "_functorch.partitioners", function="min_cut_rematerialization_partition",
                      settings={"activation_memory_budget": 0.0}), *losses, capture="joint", functional=True, **again),
        _entry("functorch.reordering_to_mimic_autograd_engine",
               "computes forward values where backward needs them",
               _functorch_call("partitioners", ["reordering_to_mimic_autograd_engine"]),
               losses[0], capture="joint", writes="order", functional=True),
    ]
