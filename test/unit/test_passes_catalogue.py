"""The catalogue of passes: names, conditions on torch, and recipes that are scripts too."""

import contextlib
import dataclasses
import unittest
from importlib import metadata
from unittest import mock

import torch
from torch._inductor.virtualized import V

from fxpect.campaign import plan
from fxpect.errors import FxpectError
from fxpect.passes import catalogue as module
from fxpect.passes.catalogue import STAGES, CataloguedPass, Innocent, applies, catalogue, find, recipe, register
from fxpect.passes.firing import fire, start
from fxpect.passes.not_on_cpu import NOT_ON_CPU
from fxpect.specs import T
from fxpect.text.propagation import fake_mode_of

torch.set_num_threads(1)


def double(x):
    """A model."""
    return x + x


def nothing(gm):
    """A pass that does nothing."""


def swap_add(gm: torch.fx.GraphModule, *, target: str):
    """Replace additions by another operator."""
    import torch

    for node in gm.graph.find_nodes(op="call_function", target=torch.ops.aten.add.Tensor):
        node.target = getattr(torch.ops.aten, target).Tensor
    gm.recompile()


def entry(name="mine.swap_add", **fields):
    """Return an entry of our own."""
    fields = {"stage": "fx", "capture": "make_fx", "does": "swaps",
              "make": recipe(swap_add, "fx.graph", target="mul"),
              "models": (Innocent("double", double, (T(2, 3),)),), **fields}
    return CataloguedPass(name, **fields)


class CatalogueTests(unittest.TestCase):
    """What is in the catalogue, and how it is looked up and added to."""

    def setUp(self):
        self.addCleanup(module._registered.clear)

    def test_every_stage_has_passes_in_order(self):
        """Entries come by stage, names are unique and begin with the library or stage they belong to."""
        stages = [each.stage for each in catalogue()]
        names = [each.name for each in catalogue()]
        self.assertEqual(sorted(stages, key=STAGES.index), stages)
        self.assertEqual(set(stages), set(STAGES))
        self.assertEqual(len(set(names)), len(names))
        for each in catalogue():
            self.assertIn(each.name.partition(".")[0], {each.stage, "functorch"})

    def test_models_have_names_of_their_own(self):
        """No two models of a pass share a name."""
        for each in catalogue():
            names = [model.name for model in each.models]
            self.assertEqual(len(set(names)), len(names), each.name)

    def test_what_runs_first_is_in_the_catalogue(self):
        """Every name in ``after`` can be looked up."""
        for each in catalogue():
            for name in each.after:
                self.assertEqual(find(name).name, name)

    def test_finds_by_name_and_by_unique_last_part(self):
        """A full name resolves, and its last part does when no other pass ends in it."""
        self.assertEqual(find("pre_grad.split_cat_pass").stage, "pre_grad")
        self.assertEqual(find("split_cat_pass").name, "pre_grad.split_cat_pass")
        self.assertEqual(find("fx_graph_cse").name, "functorch.fx_graph_cse")

    def test_an_ambiguous_last_part_names_both(self):
        """A last part that two passes share is refused with the full names."""
        with self.assertRaisesRegex(FxpectError, "pre_grad.fuse_conv_bn, fx.fuse_conv_bn"):
            find("fuse_conv_bn")

    def test_an_unknown_name_suggests_near_ones(self):
        """A typing error is answered with the name that was meant."""
        with self.assertRaisesRegex(FxpectError, "did you mean .*split_cat_pass"):
            find("splt_cat_pass")

    def test_register_adds_and_refuses_a_taken_name(self):
        """One call adds a pass; a second of that name is refused."""
        mine = register(entry())
        self.assertIs(find("swap_add"), mine)
        self.assertIn(mine, catalogue())
        with self.assertRaisesRegex(FxpectError, "already"):
            register(entry())

    def test_entry_points_add_passes(self):
        """An installed package adds passes through the entry point group, as a list or a function."""
        points = [mock.Mock(spec=metadata.EntryPoint, value="pkg:passes",
                            load=lambda: lambda: [entry("pkg.listed")]),
                  mock.Mock(spec=metadata.EntryPoint, value="pkg:single", load=lambda: entry("pkg.single"))]
        points[0].name, points[1].name = "b", "a"
        self.addCleanup(module._shipped.cache_clear)
        module._shipped.cache_clear()
        with mock.patch.object(metadata, "entry_points",
                               lambda group: points if group == "fxpect.passes" else []):
            names = [each.name for each in catalogue()]
        self.assertEqual(names[-2:], ["pkg.single", "pkg.listed"])

    def test_a_wrong_entry_point_is_named(self):
        """An entry point that gives something else is an error that names it."""
        point = mock.Mock(spec=metadata.EntryPoint, value="pkg:wrong", load=lambda: [nothing])
        point.name = "wrong"
        self.addCleanup(module._shipped.cache_clear)
        module._shipped.cache_clear()
        with (mock.patch.object(metadata, "entry_points", lambda group: [point]),
              self.assertRaisesRegex(FxpectError, "pkg:wrong: expected a CataloguedPass")):
            catalogue()

    def test_entries_are_checked(self):
        """An unknown stage, no model, an unknown ``writes`` and an excuse without a reason are refused."""
        for fields in ({"stage": "middle"}, {"models": ()}, {"writes": "nothing"}, {"idempotent": False},
                       {"off": ("numerics",)}):
            with self.subTest(fields=fields), self.assertRaises(FxpectError):
                entry(**fields)

    def test_conditions_on_torch(self):
        """A condition is met by this torch or not; entries and models that do not meet theirs are left out."""
        self.assertTrue(applies(""))
        self.assertTrue(applies(f"=={torch.__version__.partition('+')[0]}"))
        self.assertFalse(applies("<1.0"))
        found = {}
        models = (Innocent("old", double, (T(2, 3),), torch="<1.0"), Innocent("new", double, (T(2, 3),)))
        module._add(found, [entry("a", models=models), entry("b", torch="<1.0")], "test")
        self.assertEqual([(name, [m.name for m in each.models], [m.name for m in each.dormant])
                          for name, each in found.items()], [("a", ["new"], ["old"])])

    def test_searched_next_to_what_another_torch_rewrites(self):
        """A search starts from the models that the installed torch leaves alone too."""
        dormant = Innocent("old", double, (T(3),), torch="<1.0")
        with mock.patch.object(plan, "find", lambda name: dataclasses.replace(entry("a"), dormant=(dormant,))):
            _, starts, _ = plan._resolve("a", None, None, None)

        self.assertEqual([start.inputs for start in starts], [model.inputs for model in (*entry("a").models, dormant)])

    def test_severity_says_what_the_stage_forgives(self):
        """Excuses become causes that judge weighs as "off"."""
        self.assertEqual(entry().severity, {})
        excused = entry(off=("metadata",), dead_nodes_ok=True, idempotent=False, inference=True,
                        why="of course")
        self.assertEqual(set(excused.severity), {
            "metadata", "structure:dead-node", "stability:not-idempotent", "stability:second-run-crashes",
            "gradients", "crash:backward", "generality:at-size:metadata"})
        self.assertEqual(set(entry(off=("generality:new-guard",), why="of course").severity), {"generality:new-guard"})
        self.assertEqual(set(excused.severity.values()), {"off"})

    def test_what_is_left_out_has_a_reason_and_is_not_here(self):
        """The table of absent passes gives a reason each and names no pass that is present."""
        present = {each.name for each in catalogue()}
        for name, reason in NOT_ON_CPU.items():
            self.assertNotIn(name, present)
            self.assertIn(name.partition(".")[0], {*STAGES, "functorch"})
            self.assertGreater(len(reason), 8, name)


class RecipeTests(unittest.TestCase):
    """A recipe is a callable and, as text, a script that needs torch alone."""

    def test_script_of_an_own_pass_is_a_line_to_fill_in(self):
        """A pass that was registered as a plain callable has a marked line instead of a script."""
        self.assertIn("fill in", entry(make=lambda: nothing).script())

    def test_source_defines_the_pass(self):
        """The text of a recipe defines ``the_pass`` with its settings."""
        namespace = {}
        exec(entry().script(), namespace)
        gm = torch.fx.experimental.proxy_tensor.make_fx(double)(torch.ones(2))
        namespace["the_pass"](gm)
        self.assertEqual(gm(torch.full((2,), 3.0)).tolist(), [9.0, 9.0])

    def test_the_pass_unwraps_to_its_home(self):
        """What unwraps a pass to learn where it was written finds torch's file."""
        the_pass = find("pre_grad.batch_linear").make()
        self.assertIn("group_batch_fusion", the_pass.__wrapped__.__code__.co_filename)
        self.assertEqual(the_pass.__name__, "pre_grad_fusion")

    def test_every_home_exists(self):
        """The module that is said to hold a pass can be imported and holds functions."""
        for each in catalogue():
            self.assertIsNotNone(module._a_function_of(each.make.home), each.name)

    def test_scripts_do_what_the_passes_do(self):
        """For one pass of every recipe, the script gives the graph that the pass gives."""
        chosen = {each.make.function: each for each in catalogue() if each.kind != "program"}
        for each in chosen.values():
            with self.subTest(each.name):
                example = start(each, each.models[0])
                namespace = {}
                exec(each.script(), namespace)
                gm = example.build()
                mode = fake_mode_of(gm)
                arguments = [example.realize()] if each.kind == "module-inputs" else []
                with V.set_fake_mode(mode) if mode is not None else contextlib.nullcontext():
                    answer = namespace["the_pass"](gm, *arguments)
                answer = getattr(answer, "graph_module", answer)
                result = answer if isinstance(answer, torch.fx.GraphModule) else gm
                expected = fire(each, each.models[0], example).after
                self.assertEqual([str(node.target) for node in result.graph.nodes],
                                 [str(node.target) for node in expected.graph.nodes])


if __name__ == "__main__":
    unittest.main()
