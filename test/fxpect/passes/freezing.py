"""Passes on an inference graph whose parameters are constants."""

from __future__ import annotations

import torch

from fxpect.passes.catalogue import CataloguedPass, Innocent, recipe
from fxpect.passes.modules import (
    BiasedProduct,
    ConstantArithmetic,
    ConstantPieces,
    ConvNorm,
    ConvPool,
    DoubledConv,
    DoubledTransposedConv,
    Recurrent,
    SameConversion,
    ScaledConv,
    ScaledConv1d,
    ScaledLinear,
    ScaledLinear3d,
    SharedLinear,
    ShiftedConv,
    ThreeHeads,
    TransposedConv,
    TwoHeads,
    TwoLayers,
    seeded,
)
from fxpect.specs import T

FREEZING = "freezing = True"
PREPARED = ("post_grad.view_to_reshape", "freezing.constant_fold")
SHARED = "a folded constant is the module's, and may be returned or shared"
PACKED = ("packed weights have no fake kernel, so a second run cannot propagate types through them; "
          "the lowering restores the strides of outputs")


def freeze(gm: torch.fx.GraphModule):
    """Run what Inductor runs on a graph whose parameters are constants, up to the packing of weights.

    What comes after would store oneDNN's packed tensors in the module, which no copy or text can hold.
    """
    from torch._functorch.compile_utils import fx_graph_cse
    from torch._inductor import config
    from torch._inductor.fx_passes.freezing_patterns import freezing_passes
    from torch._inductor.fx_passes.post_grad import view_to_reshape

    inputs = [node.meta["val"] for node in gm.graph.find_nodes(op="placeholder")]
    with torch.no_grad(), config.patch(freezing=True):
        view_to_reshape(gm)
        gm.graph = fx_graph_cse(gm.graph)
        gm.recompile()
        freezing_passes(gm, inputs)


def fold_constants(gm: torch.fx.GraphModule):
    """Compute what depends on constants alone."""
    from torch._inductor.constant_folding import constant_fold

    with torch.no_grad():
        constant_fold(gm)


def fold_binary(gm: torch.fx.GraphModule):
    """Fold constant arithmetic into the convolution or linear before it, as ``freezing_passes`` does."""
    from torch._inductor import config
    from torch._inductor.compile_fx import fake_tensor_prop
    from torch._inductor.constant_folding import constant_fold
    from torch._inductor.fx_passes import binary_folding, freezing_patterns
    from torch._inductor.fx_passes.post_grad import view_to_reshape

    inputs = [node.meta["val"] for node in gm.graph.find_nodes(op="placeholder")]
    with torch.no_grad(), config.patch(freezing=True, enable_linear_binary_folding=True):
        freezing_patterns.lazy_init()
        view_to_reshape(gm)
        fake_tensor_prop(gm, inputs, True)
        binary_folding.mark_mixed_dtype_allowed_computation_ops(gm)
        for _ in range(4):
            constant_fold(gm)
            fake_tensor_prop(gm, inputs, True)
            if not freezing_patterns.binary_folding_pass.apply(gm.graph):
                break
        binary_folding.recover_original_precision_folded_computation_ops(gm)
        constant_fold(gm)
        fake_tensor_prop(gm, inputs, True)
    gm.graph.lint()
    gm.recompile()


def frozen_patterns(gm: torch.fx.GraphModule, *, handlers: list, settings: dict, fold_after: bool = False):
    """Apply, of the freezing patterns, those with these handlers, constants folded first (and after)."""
    import inspect

    from torch._inductor import config
    from torch._inductor.compile_fx import fake_tensor_prop
    from torch._inductor.constant_folding import constant_fold
    from torch._inductor.fx_passes import freezing_patterns
    from torch._inductor.fx_passes.post_grad import view_to_reshape
    from torch._inductor.pattern_matcher import PatternMatcherPass, stable_topological_sort

    def chosen(entry):
        function = getattr(entry, "handler", None)
        if function is None:
            function = inspect.getclosurevars(entry.extra_check).nonlocals.get("search_fn")
        return getattr(function, "__name__", "") in handlers

    inputs = [node.meta["val"] for node in gm.graph.find_nodes(op="placeholder")]
    with torch.no_grad(), config.patch(freezing=True, **settings):
        freezing_patterns.lazy_init()
        view_to_reshape(gm)
        constant_fold(gm)
        fake_tensor_prop(gm, inputs, True)
        # Hundreds of patterns are looked through once, not for every graph.
        made = vars(frozen_patterns).setdefault(str(handlers), [])
        for everything in freezing_patterns.pass_patterns[len(made):]:
            some = PatternMatcherPass(pass_name=handlers[0])
            for key, entries in everything.patterns.items():
                kept = [entry for entry in entries if chosen(entry)]
                if kept:
                    some.patterns[key] = kept
            made.append(some)
        for some in made:
            some.apply(gm.graph)
        stable_topological_sort(gm.graph)
        if fold_after:
            constant_fold(gm)
    gm.graph.lint()
    gm.recompile()


def passes() -> list[CataloguedPass]:
    """Return the entries of this stage."""
    image = (T(2, 3, 6, 6),)
    arithmetic = (
        Innocent("conv_mul", seeded(ScaledConv), image), Innocent("conv_sub_div", seeded(ShiftedConv), image),
        Innocent("conv_double", seeded(DoubledConv), image),
        Innocent("linear", seeded(ScaledLinear), (T(3, 4),)),
        Innocent("linear_3d", seeded(ScaledLinear3d), (T(2, 3, 4),)))
    pack = ["convolution", "linear", "mkldnn_rnn_layer", "reshape_linear_reshape_pattern",
            "linear_bias_pattern"]
    concat = ["matmul_fuse_pattern", "matmul_fuse_pattern_two", "addmm_fuse_pattern_second"]
    return [
        _entry("binary_folding", "folds constant arithmetic into the convolution or linear before it",
               recipe(fold_binary, "binary_folding"), *arithmetic,
               Innocent("norm", seeded(ConvNorm), image),
               Innocent("one_dim", seeded(ScaledConv1d), (T(2, 3, 4),)),
               Innocent("transposed", seeded(DoubledTransposedConv), (T(2, 4, 5, 5),)),
               Innocent("addmm", seeded(BiasedProduct), (T(3, 4),)),
               options=FREEZING + ", enable_linear_binary_folding = True", after=PREPARED, examples=2000),
        _entry("constant_fold", "computes what depends on constants alone",
               recipe(fold_constants, "_inductor.constant_folding"),
               Innocent("arithmetic", seeded(ConstantArithmetic), (T(3, 4),)),
               Innocent("pieces", seeded(ConstantPieces), (T(2, 3),)),
               Innocent("linear", seeded(TwoLayers), (T(3, 4),))),
        _entry("weight_packing", "lays weights out for oneDNN and calls it",
               recipe(frozen_patterns, "mkldnn_fusion", handlers=pack, settings={}),
               Innocent("conv", seeded(ConvPool), image), Innocent("linear", seeded(TwoLayers), (T(3, 4),)),
               Innocent("linear_3d", seeded(ScaledLinear3d), (T(2, 3, 4),)),
               Innocent("lstm", seeded(Recurrent), (T(2, 3, 4),)),
               Innocent("transposed", seeded(TransposedConv), image), options=FREEZING, after=PREPARED,
               idempotent=False, off=("metadata", "numerics:stride", "numerics:random-values"), why=PACKED),
        _entry("concat_linear", "joins the weights of products that share their input",
               recipe(frozen_patterns, "freezing_patterns", handlers=concat,
                      settings={"cpp.enable_concat_linear": True}, fold_after=True),
               Innocent("two", seeded(TwoHeads), (T(3, 4),)),
               Innocent("three", seeded(ThreeHeads, False), (T(3, 4),)),
               Innocent("bias", seeded(ThreeHeads, True), (T(3, 4),)),
               options=FREEZING + ", cpp.enable_concat_linear = True", after=PREPARED, examples=1200),
        _entry("unnecessary_dtype_convert", "removes a conversion to the dtype there is",
               recipe(frozen_patterns, "freezing_patterns", handlers=["unnecessary_dtype_convert"],
                      settings={}),
               Innocent("convert", seeded(SameConversion), (T(2, 3),)), options=FREEZING, after=PREPARED),
        _entry("freezing_passes", "everything that runs on a frozen graph",
               recipe(freeze, "freezing_patterns"), *arithmetic[:2],
               Innocent("norm", seeded(ConvNorm), image),
               Innocent("layers", seeded(TwoLayers), (T(3, 4),)),
               Innocent("shared", seeded(SharedLinear), (T(3, 4),)), options=FREEZING,
               idempotent=False, off=("metadata", "numerics:stride", "numerics:random-values"), why=PACKED,
               examples=1800),
    ]


def _entry(name: str, does: str, make, *models: Innocent, **fields) -> CataloguedPass:
    # What is folded is a constant of the module, which outputs and other constants may share.
    off = ("effects:output-aliases-state", "effects:inputs-alias", *fields.pop("off", ()))
    return CataloguedPass(f"freezing.{name}", "freezing", "aten", does, make, models, frozen=True, functional=True,
                          inference=True, dead_nodes_ok=True, off=off, why=fields.pop("why", SHARED), **fields)
