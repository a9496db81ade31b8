"""Passes on the torch-level graph that dynamo hands to Inductor."""

from __future__ import annotations

import torch

from fxpect.passes import pre_grad_models as m
from fxpect.passes.catalogue import CataloguedPass, Innocent, Recipe, recipe
from fxpect.passes.modules import (
    ConvNorm,
    ConvNorm1d,
    LinearNorm,
    NestedConvNorm,
    PaddedConvNorm1d,
    TransposedConvNorm,
    WithIdentity,
    conv_norm_positional,
    seeded,
)
from fxpect.specs import T

NORMALIZATION = "pre_grad.normalization_pass"


def pre_grad_option(gm: torch.fx.GraphModule, *, option: str, settings: dict):
    """Run one pattern pass of ``pre_grad_fusion_options``, the graph normalised first as in production."""
    from torch._inductor import config
    from torch._inductor.fx_passes import pre_grad
    from torch._inductor.fx_passes.split_cat import PRE_GRAD_PATTERNS
    from torch._inductor.pattern_matcher import stable_topological_sort

    pre_grad.lazy_init()
    with config.patch(pre_grad_fusion_options={"normalization_pass": {}, option: settings}):
        for name in dict.fromkeys(["normalization_pass", option]):
            PRE_GRAD_PATTERNS[name].apply(gm.graph)
    stable_topological_sort(gm.graph)
    gm.graph.lint()
    gm.recompile()


def pre_grad_fusion(gm: torch.fx.GraphModule, *, option: str, settings: dict):
    """Run one group or batch fusion of ``pre_grad_fusion_options``."""
    from torch._inductor import config
    from torch._inductor.fx_passes.group_batch_fusion import group_batch_fusion_passes
    from torch._inductor.pattern_matcher import stable_topological_sort

    with config.patch(pre_grad_fusion_options={option: settings}):
        group_batch_fusion_passes(gm.graph, pre_grad=True)
    stable_topological_sort(gm.graph)
    gm.graph.lint()
    gm.recompile()


def pre_grad_whole(gm: torch.fx.GraphModule, *, options: dict):
    """Run ``pre_grad_passes`` the way Inductor does, with these ``pre_grad_fusion_options``."""
    from torch._inductor import config
    from torch._inductor.fx_passes.pre_grad import pre_grad_passes

    inputs = [node.meta.get("example_value") for node in gm.graph.find_nodes(op="placeholder")]
    with config.patch(pre_grad_fusion_options=options):
        return pre_grad_passes(gm, inputs)


def pre_grad_matcher(gm: torch.fx.GraphModule, *, attribute: str, settings: dict):
    """Apply one pattern matcher pass of ``pre_grad.py`` with these Inductor settings.

    It does not recompile, as what Inductor is given there compiles its code no sooner than it is called.
    """
    from torch._inductor import config
    from torch._inductor.fx_passes import pre_grad
    from torch._inductor.pattern_matcher import stable_topological_sort

    pre_grad.lazy_init()
    with config.patch(**settings):
        getattr(pre_grad, attribute).apply(gm.graph)
    stable_topological_sort(gm.graph)
    gm.graph.lint()


def pre_grad_function(gm: torch.fx.GraphModule, *, attribute: str):
    """Call one function of ``pre_grad.py`` that takes and returns a graph module."""
    from torch._inductor.fx_passes import pre_grad

    return getattr(pre_grad, attribute)(gm)


def permute_fusion(gm: torch.fx.GraphModule, inputs: list, *, attribute: str):
    """Call a permute fusion, which reads the shapes that ``ShapeProp`` writes."""
    from torch._dynamo.utils import detect_fake_mode
    from torch._inductor.fx_passes import pre_grad
    from torch.fx.passes.shape_prop import ShapeProp

    fake = [node.meta.get("example_value") for node in gm.graph.find_nodes(op="placeholder")]
    inputs = inputs if None in fake else fake
    ShapeProp(gm, fake_mode=detect_fake_mode(inputs)).propagate(*inputs)
    return getattr(pre_grad, attribute)(gm)


def numpy_names(gm: torch.fx.GraphModule):
    """Rename numpy's keyword arguments to torch's."""
    from torch._inductor.fx_passes.misc_patterns import numpy_compat_normalization

    numpy_compat_normalization(gm.graph)
    gm.recompile()


def linear_of_cat(gm: torch.fx.GraphModule, *, floor: int):
    """Run the fusion cat_linear for joins of at least ``floor`` bytes and pieces of any width."""
    from unittest import mock

    from torch._inductor import config
    from torch._inductor.fx_passes import group_batch_fusion

    with (mock.patch.object(group_batch_fusion, "CAT_LINEAR_CAT_TRAFFIC_FLOOR_BYTES", floor),
          mock.patch.object(group_batch_fusion, "CAT_LINEAR_MIN_PIECE_WIDTH", 1),
          config.patch(pre_grad_fusion_options={"cat_linear": {}})):
        group_batch_fusion.group_batch_fusion_passes(gm.graph, pre_grad=True)
    gm.graph.lint()
    gm.recompile()


def lift_quantization(gm: torch.fx.GraphModule):
    """Move quantization above the views before it."""
    from torch._inductor.fx_passes.quantization import quant_lift_up

    quant_lift_up(gm)


def passes() -> list[CataloguedPass]:
    """Return the entries of this stage."""
    return [*_options(), *_fusions(), *_always_on(), *_conv_norm(), *_permutes(), *_whole()]


def _option(name: str, does: str, *models: Innocent, **settings) -> CataloguedPass:
    """An entry for a pattern pass of ``PRE_GRAD_PATTERNS``."""
    first = () if name == "normalization_pass" else (NORMALIZATION,)
    return CataloguedPass(
        f"pre_grad.{name}", "pre_grad", "dynamo", does,
        recipe(pre_grad_option, "split_cat", option=name, settings=settings),
        models, options=f"pre_grad_fusion_options[{name!r}] = {settings}", after=first)


def _options() -> list[CataloguedPass]:
    return [
        _option(
            "normalization_pass", "spells split, unbind, cat, stack, squeeze, reshape, clamp, detach one way",
            Innocent("split", m.split_chunks, (T(3, 6),)),
            Innocent("split_method", m.split_method, (T(3, 6),)),
            Innocent("unbind", m.unbind_rows, (T(3, 4),)),
            Innocent("concat", m.concat_last, (T(2, 3), T(2, 5))),
            Innocent("stack", m.stack_positional, (T(2, 3), T(2, 3))),
            Innocent("squeeze", m.squeeze_middle, (T(2, 1, 3),)),
            Innocent("reshape", m.reshape_method, (T(2, 3, 4),)),
            Innocent("clamp", m.clamp_bounds, (T(2, 3),)),
            Innocent("detach", m.detach_branch, (T(2, 3),))),
        _option("remove_split_with_size_one_pass", "drops a split that yields one piece",
                Innocent("one_piece", m.split_into_one, (T(4, 3),))),
        _option("merge_splits_pass", "turns the split of a piece into one split",
                Innocent("split_of_split", m.split_of_split, (T(6, 3),))),
        _option("split_cat_pass", "simplifies a split whose pieces are joined or squeezed",
                Innocent("stack", m.stack_of_split, (T(6, 3),)), Innocent("cat", m.cat_of_split, (T(3, 6),)),
                Innocent("squeeze", m.squeeze_of_split, (T(2, 3),)),
                Innocent("below", m.cat_of_split_below, (T(3, 6),))),
        _option("merge_getitem_cat_pass", "splits off a bigger piece where consecutive pieces are joined",
                Innocent("first_pieces", m.cat_of_some_pieces, (T(6, 3),)),
                Innocent("last_pieces", m.cat_of_last_pieces, (T(2, 6),))),
        _option("mutate_cat_pass", "replaces the join of pieces by the input or a slice of it",
                Innocent("all", m.cat_of_all_pieces, (T(6, 3),)),
                Innocent("some", m.cat_of_last_pieces, (T(2, 6),))),
        _option("unbind_stack_pass", "replaces unbind and stack or cat by a movement of dims",
                Innocent("stack", m.stack_of_unbind, (T(4, 3),)),
                Innocent("cat", m.cat_of_unbind, (T(4, 3),)),
                Innocent("in_place", m.stack_of_unbind_in_place, (T(4, 3),)),
                Innocent("with_more", m.cat_of_unbind_and_more, (T(3, 2, 4), T(2, 5)))),
        _option("split_cat_to_slices_pass", "replaces the join of many pieces by slices",
                Innocent("all", m.cat_of_all_pieces, (T(6, 3),)),
                Innocent("with_more", m.cat_of_split, (T(3, 6),)), threshold_to_cat=2),
        _option("unbind_cat_to_view_pass", "replaces unbind and cat by a slice and a reshape",
                Innocent("all", m.cat_of_unbind, (T(4, 3),)),
                Innocent("some", m.cat_of_some_rows, (T(4, 2, 3),)),
                Innocent("images", m.cat_of_unbind_along_last, (T(2, 3, 4, 2),)), threshold_to_cat=2),
        _option("split_stack_to_cats_pass", "replaces split and stack by a reshape",
                Innocent("all", m.stack_of_split, (T(6, 3),)),
                Innocent("some", m.stack_of_some_pieces, (T(3, 8),)), threshold_to_cat=2),
        _option("unbind_stack_to_slices_pass", "replaces unbind and stack by a slice and a reshape",
                Innocent("some", m.stack_of_some_rows, (T(4, 3),)), threshold_to_cat=2),
        _option("move_reshape_out_of_split_stack_pass", "reshapes once, after the pieces are stacked",
                Innocent("reshaped", m.reshaped_pieces, (T(3, 12),)), threshold_to_cat=2),
        _option("einsum_to_pointwise_pass", "replaces a small einsum that feeds an add by products and a sum",
                Innocent("batched", m.einsum_plus, (T(2, 3, 4), T(2, 3, 4, 5), T(2, 3, 5)))),
    ]


def _fusion(name: str, does: str, *models: Innocent, torch: str = "", why: str = "",
            **settings) -> CataloguedPass:
    """An entry for a fusion of ``PRE_GRAD_FUSIONS``, which here needs two members, not five."""
    settings = {"min_fuse_set_size": 2, **settings}
    return CataloguedPass(
        f"pre_grad.{name}", "pre_grad", "dynamo", does,
        recipe(pre_grad_fusion, "group_batch_fusion", option=name, settings=settings),
        models, options=f"pre_grad_fusion_options[{name!r}] = {settings}", torch=torch)


def _fusions() -> list[CataloguedPass]:
    pair = (T(3, 4), T(3, 4))
    return [
        _fusion("batch_linear", "stacks linears of one shape into a batched product",
                Innocent("plain", m.two_linears, (*pair, T(5, 4), T(5, 4))),
                Innocent("bias", m.two_linears_with_bias, (*pair, T(5, 4), T(5, 4), T(5), T(5)))),
        _fusion("batch_linear_lhs", "joins the weights of linears with one input",
                Innocent("plain", m.linears_of_one_input, (T(3, 4), T(5, 4), T(2, 4))),
                Innocent("bias", m.linears_of_one_input_with_bias, (T(3, 4), T(5, 4), T(5, 4), T(5), T(5)))),
        _fusion("batch_layernorm", "stacks layer norms of one shape",
                Innocent("weight", m.two_layer_norms, (*pair, T(4), T(4))),
                Innocent("bias", m.two_layer_norms_with_bias, (*pair, T(4), T(4), T(4), T(4))),
                Innocent("plain", m.two_plain_layer_norms, pair)),
        _fusion("batch_tanh", "stacks tanh of one shape", Innocent("two", m.two_tanh, pair)),
        _fusion("batch_sigmoid", "stacks sigmoids of one shape", Innocent("two", m.two_sigmoid, pair)),
        _fusion("batch_relu", "stacks relus of one shape", Innocent("two", m.two_relu, pair)),
        _fusion("batch_clamp", "stacks clamps with the same bounds", Innocent("two", m.two_clamps, pair)),
        _fusion("batch_nan_to_num", "stacks nan_to_num with the same replacement",
                Innocent("two", m.two_nan_to_num, pair)),
        _fusion("batch_detach", "stacks detached operands", Innocent("two", m.two_detach, pair)),
        CataloguedPass(
            "pre_grad.cat_linear", "pre_grad", "dynamo", "replaces the linear of a join by a sum of linears",
            recipe(linear_of_cat, "group_batch_fusion", floor=1),
            (Innocent("plain", m.linear_of_joined, (T(3, 2), T(3, 4), T(5, 6))),
             Innocent("bias", m.linear_of_joined_with_bias, (T(3, 2), T(3, 4), T(5, 6), T(5)))),
            options="pre_grad_fusion_options['cat_linear'] = {}", torch=">=2.15"),
        _fusion("batch_dropout", "stacks dropouts with the same settings",
                Innocent("evaluation", m.two_dropouts, pair)),
    ]


def _always_on() -> list[CataloguedPass]:
    return [
        CataloguedPass(
            "pre_grad.sink_cat_after_pointwise", "pre_grad", "dynamo",
            "moves a join below the relu or tanh after it",
            recipe(pre_grad_function, "pre_grad", attribute="sink_cat_after_pointwise"),
            (Innocent("relu", m.relu_of_cat, (T(2, 8), T(2, 2))),
             Innocent("view_tanh", m.tanh_of_viewed_cat, (T(4), T(2))))),
        CataloguedPass(
            "pre_grad.numpy_compat_normalization", "pre_grad", "dynamo",
            "renames axis, keepdims and their like",
            recipe(numpy_names, "misc_patterns"),
            (Innocent("sum", m.sum_over_axis, (T(3, 4),)),
             Innocent("mean", m.softmax_by_axis, (T(3, 4), T(3, 4)))), numpy_names=True),
        CataloguedPass(
            "pre_grad.quant_lift_up", "pre_grad", "make_fx", "moves quantization above the views before it",
            recipe(lift_quantization, "quantization"),
            (Innocent("views", m.quantized_heads, (T(2, 3, 8), T(8, 8))),
             Innocent("dynamo", m.quantized_heads, (T(2, 3, 8), T(8, 8)), capture="dynamo"))),
        CataloguedPass(
            "pre_grad.apply_gumbel_max_trick_pass", "pre_grad", "dynamo",
            "draws a category by adding noise to logits, not by dividing probabilities",
            recipe(pre_grad_matcher, "apply_gumbel_max_trick", attribute="apply_gumbel_max_trick_pass",
                   settings={}),
            (Innocent("sample", m.sample_by_division, (T(2, 5),)),)),
    ]


def _conv_norm() -> list[CataloguedPass]:
    statistics = (T(4), T(4, values="positive"))
    image = T(2, 3, 5, 5)
    return [
        CataloguedPass(
            "pre_grad.efficient_conv_bn_eval_pass", "pre_grad", "dynamo",
            "scales the weight of a convolution, not its result, when a batch norm in evaluation follows",
            recipe(pre_grad_matcher, "efficient_conv_bn_eval", attribute="efficient_conv_bn_eval_pass",
                   settings={"efficient_conv_bn_eval_fx_passes": True}),
            (Innocent("functional", m.conv_then_norm, (image, T(4, 3, 3, 3), T(4), *statistics), torch=">=2.13"),
             Innocent("affine", m.conv_then_affine_norm,
                      (image, T(4, 3, 3, 3), *statistics, T(4, values="positive"), T(4))),
             Innocent("one_dim", m.conv_in_one_dim_then_norm,
                      (T(2, 3, 4), T(4, 3, 3), *statistics, T(4, values="positive"), T(4))),
             Innocent("transposed", m.transposed_conv_then_norm,
                      (image, T(3, 4, 3, 3), T(4), *statistics), torch=">=2.13"),
             Innocent("linear", m.linear_then_norm, (T(4, 3), T(4, 3), T(4), *statistics), torch=">=2.13"),
             Innocent("module", seeded(ConvNorm), (image,)),
             Innocent("call_module", seeded(ConvNorm), (image,), capture="symbolic"),
             Innocent("call_linear", seeded(LinearNorm), (T(4, 3),), capture="symbolic"),
             Innocent("call_transposed", seeded(TransposedConvNorm), (image,), capture="symbolic")),
            options="efficient_conv_bn_eval_fx_passes = True"),
        CataloguedPass(
            "pre_grad.efficient_conv_bn_eval_pass_aten", "pre_grad", "export",
            "the same on an exported graph, by its ATen pattern",
            recipe(pre_grad_matcher, "efficient_conv_bn_eval", attribute="efficient_conv_bn_eval_pass",
                   settings={"efficient_conv_bn_eval_fx_passes": True}),
            (Innocent("module", seeded(ConvNorm), (image,)),
             Innocent("one_dim", seeded(PaddedConvNorm1d), (T(2, 3, 4),)),
             Innocent("transposed", seeded(TransposedConvNorm), (image,)),
             Innocent("linear", seeded(LinearNorm), (T(4, 3),))),
            options="efficient_conv_bn_eval_fx_passes = True"),
        CataloguedPass(
            "pre_grad.fuse_conv_bn", "pre_grad", "symbolic",
            "folds a batch norm into the convolution",
            recipe(pre_grad_function, "pre_grad", attribute="fuse_conv_bn"),
            (Innocent("module", seeded(ConvNorm), (image,)),
             Innocent("one_dim", seeded(ConvNorm1d), (T(2, 3, 6),)),
             Innocent("nested", seeded(NestedConvNorm), (image,)),
             Innocent("functional", conv_norm_positional(), (image,))),
            options="freezing = True, under no_grad", inference=True),
        CataloguedPass(
            "pre_grad.remove_identity", "pre_grad", "symbolic", "drops nn.Identity",
            recipe(pre_grad_function, "pre_grad", attribute="remove_identity"),
            (Innocent("identity", seeded(WithIdentity), (T(2, 3),)),),
            options="freezing = True, under no_grad"),
    ]


def _permutes() -> list[CataloguedPass]:
    def entry(name: str, does: str, *models: Innocent) -> CataloguedPass:
        return CataloguedPass(f"pre_grad.{name}", "pre_grad", "dynamo", does,
                              recipe(permute_fusion, "pre_grad", attribute=name),
                              models, options="permute_fusion = True (not for CPU inputs)",
                              kind="module-inputs")

    return [
        entry("linear_permute_fusion", "folds a permute after a linear into a transposed product",
              Innocent("plain", m.linear_then_permute, (T(2, 3, 4), T(5, 4))),
              Innocent("bias", m.linear_with_bias_then_permute, (T(2, 3, 4), T(5, 4), T(5)))),
        entry("permute_linear_fusion", "folds a permute before a linear into a transposed product",
              Innocent("bias", m.permute_then_linear, (T(2, 4, 3), T(5, 4), T(5)))),
        entry("permute_matmul_fusion", "folds a permute before a batched product into it",
              Innocent("bmm", m.permute_then_bmm, (T(2, 4, 3), T(2, 4, 5))),
              Innocent("matmul", m.permute_then_matmul, (T(2, 3, 4), T(2, 5, 4)))),
    ]


def _whole() -> list[CataloguedPass]:
    recipes = [entry.make for entry in [*_options(), *_fusions()] if isinstance(entry.make, Recipe)]
    everything = {made.settings["option"]: made.settings["settings"] for made in recipes if "option" in made.settings}
    sample = Innocent("cat_relu", m.relu_of_cat, (T(2, 8), T(2, 2)))
    return [
        CataloguedPass(
            "pre_grad.pre_grad_passes", "pre_grad", "dynamo",
            "everything that runs by default before autograd",
            recipe(pre_grad_whole, "pre_grad", options={}),
            (sample, Innocent("features", m.concatenate_features, (T(2, 3), T(2, 4))),
             Innocent("axis", m.sum_over_axis, (T(3, 4),)),
             Innocent("cell", m.split_of_tanh_of_cat, (T(3, 2), T(3, 2)))), numpy_names=True),
        CataloguedPass(
            "pre_grad.pre_grad_passes_with_options", "pre_grad", "dynamo",
            "the same with every option of pre_grad_fusion_options, thresholds lowered",
            recipe(pre_grad_whole, "pre_grad", options=everything),
            (Innocent("gated", m.gated, (T(2, 4), T(2, 4))),
             Innocent("split_cat", m.cat_of_split, (T(3, 6),)),
             Innocent("cell", m.split_of_tanh_of_cat, (T(3, 2), T(3, 2))),
             Innocent("linears", m.linears_of_one_input_with_bias, (T(3, 4), T(5, 4), T(5, 4), T(5), T(5)))),
            options="every entry of pre_grad_fusion_options", numpy_names=True),
    ]
