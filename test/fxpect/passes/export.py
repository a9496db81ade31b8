"""Passes on exported programs."""

from __future__ import annotations

from typing import Any

import torch

from fxpect.passes import export_models as m
from fxpect.passes.catalogue import CataloguedPass, Innocent, recipe
from fxpect.passes.modules import ConvNorm, seeded
from fxpect.specs import T


def run_decompositions(program: torch.export.ExportedProgram, *, keep_composite: bool):
    """Decompose to core ATen, or only functionalise where composite operators are kept."""
    return program.run_decompositions({}) if keep_composite else program.run_decompositions()


def view_copies(gm: torch.fx.GraphModule):
    """Make every view a copy."""
    from torch._export.passes import replace_view_ops_with_view_copy_ops_pass as home

    return home.ReplaceViewOpsWithViewCopyOpsPass()(gm)


def remove_assertions(gm: torch.fx.GraphModule):
    """Remove the checks that export put in, and what only they used."""
    from torch._export.passes.remove_runtime_assertions import _RemoveRuntimeAssertionsPass

    result = _RemoveRuntimeAssertionsPass()(gm)
    result.graph_module.graph.eliminate_dead_code()
    result.graph_module.recompile()
    return result


def guard_operators(gm: torch.fx.GraphModule, *, operators: set):
    """Check the metadata of what these operators are given, as a draft export does for custom ones."""
    from torch._export.passes.insert_custom_op_guards import insert_custom_op_guards

    insert_custom_op_guards(gm, operators)


def move_to_device(program: torch.export.ExportedProgram, *, device: str):
    """Move parameters, constants, metadata and device arguments to another device."""
    from torch.export.passes import move_to_device_pass

    return move_to_device_pass(program, device)


def remove_functional_wrappers(program: torch.export.ExportedProgram):
    """Call the operators that mutate again, where functionalisation had wrapped them."""
    from torch.export._remove_auto_functionalized_pass import unsafe_remove_auto_functionalized_pass

    return unsafe_remove_auto_functionalized_pass(program.run_decompositions({}))


def promote_types(gm: torch.fx.GraphModule):
    """Write the promotion of dtypes as conversions, as the ONNX exporter does."""
    from torch.onnx._internal.fx.passes.type_promotion import InsertTypePromotion

    InsertTypePromotion(gm).run()
    gm.recompile()


def passes() -> list[CataloguedPass]:
    """Return the entries of this stage."""
    image = (T(2, 3, 6, 6),)
    trained = T(3, 4, requires_grad=True), T(5, 4, requires_grad=True)
    functional = ("export.functionalize",)
    written: dict[str, Any] = {
        "off": ("numerics:structure", "effects:input-not-mutated", "effects:output-no-longer-aliases-input",
                "effects:outputs-no-longer-alias", "effects:outputs-alias"),
        "why": "what it wrote is a new output, which the signature says to write back"}
    return [
        _entry("run_decompositions", "decomposes to core ATen",
               recipe(run_decompositions, "export.exported_program", keep_composite=False),
               Innocent("linear", m.linear_gelu, (T(3, 4), T(5, 4), T(5))),
               Innocent("attention", m.attention, (T(2, 4, 8), T(2, 4, 8), T(2, 4, 8))),
               Innocent("norm", seeded(ConvNorm), image), Innocent("partly", m.partly_without_gradients, trained),
               Innocent("autocast", m.under_autocast, trained), Innocent("evaluated", m.evaluated, trained),
               kind="program", functional=True, examples=400),
        _entry("functionalize", "makes every write functional and keeps composite operators",
               recipe(run_decompositions, "export.exported_program", keep_composite=True),
               Innocent("write", m.write_input, (T(3, 4),)), Innocent("view", m.write_view, (T(3, 4),)),
               Innocent("buffer", seeded(m.Counter), (T(3),)), kind="program",
               examples=600, **written),
        _entry("replace_view_ops_with_view_copy_ops", "makes every view a copy",
               recipe(view_copies, "_export.passes.replace_view_ops_with_view_copy_ops_pass"),
               Innocent("views", m.views, (T(2, 3, 4),)), functional=True,
               off=("numerics:stride", "numerics:random-values", "effects:output-no-longer-aliases-input",
                    "effects:outputs-no-longer-alias"),
               why="a copy is contiguous and aliases nothing, which is what it is for"),
        _entry("remove_runtime_assertions", "removes checks that export put in",
               recipe(remove_assertions, "_export.passes.remove_runtime_assertions"),
               Innocent("convert", m.convert, (T(2, 3),))),
        _entry("insert_custom_op_guards", "checks the metadata of what some operators are given",
               recipe(guard_operators, "_export.passes.insert_custom_op_guards",
                      operators={"aten.linear.default", "aten.sin.default"}),
               Innocent("linear", m.linear_sine, (T(3, 4), T(5, 4))), idempotent=False,
               why="a second run adds the checks once more"),
        _entry("unsafe_remove_auto_functionalized_pass",
               "calls operators that mutate instead of their wrappers",
               recipe(remove_functional_wrappers, "export._remove_auto_functionalized_pass"),
               Innocent("chunks", m.gather_chunks, (T(4, 3), T(2, 3))), kind="program", after=functional, examples=400,
               **written),
        _entry("insert_type_promotion", "writes the promotion of dtypes as conversions (the ONNX exporter's)",
               recipe(promote_types, "onnx._internal.fx.passes.type_promotion"),
               Innocent("mixed", m.mixed_dtypes, (T(2, 3), T(2, 3, dtype=torch.int32))),
               Innocent("scalar", m.integers_and_numbers, (T(2, 3, dtype=torch.int64),)),
               Innocent("reduced", m.sum_of_small,
                        (T(2, 3, dtype=torch.int32), T(2, 3, dtype=torch.float16)))),
        _entry("move_to_device_pass", "moves the program to another device, here to meta",
               recipe(move_to_device, "export.passes", device="meta"),
               Innocent("linear", m.linear_gelu, (T(3, 4), T(5, 4), T(5))),
               Innocent("constructor", m.constructor, (T(3, 4),)), kind="program",
               off=("numerics", "effects", "metadata", "gradients", "crash"),
               why="the result is for a device that holds no values"),
    ]


def _entry(name: str, does: str, make, *models: Innocent, **fields) -> CataloguedPass:
    return CataloguedPass(f"export.{name}", "export", "export", does, make, models, **fields)
