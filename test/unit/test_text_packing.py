"""Packing: outputs in a structure that the generated code makes, in texts, edits and stand-alone scripts."""

import unittest

import torch
from torch.fx import PH

from fxpect.capture import capture
from fxpect.errors import CheckFailure, GraphTextError
from fxpect.execution import as_pass
from fxpect.oracles.judge import judge
from fxpect.specs import T
from fxpect.standalone.running import run_script_apart
from fxpect.standalone.script import standalone_script
from fxpect.strategies.draft import Draft, Edit, Inapplicable
from fxpect.text.packing import pack, packing
from fxpect.text.parser import parse_graph
from fxpect.text.printer import graph_text

TEXT = '''def forward(self, x: "f32[2]", y: "f32[2]"):
    add: "f32[2]" = torch.add(x, y)
    relu: "f32[2]" = torch.relu(add)
    return pytree({'sum': add, 'rest': [relu, y]})
'''


def forgets(gm):
    """A pass that makes a new graph, of the nodes alone."""
    graph = torch.fx.Graph()
    graph.output(graph.graph_copy(gm.graph, {}))
    return torch.fx.GraphModule(gm, graph)


def example():
    return capture(TEXT, (T(2), T(2)), capture="symbolic")


def changed(given, change):
    draft = Draft(given)
    change(draft)
    return draft.finish(Edit("test", "changed", "changed", lambda draft: None), given)


class TextTests(unittest.TestCase):

    def test_there_and_back(self):
        """A text with packed outputs is read as such a graph, which prints the same and returns the structure."""
        gm = parse_graph(TEXT)
        self.assertEqual(graph_text(gm), TEXT)
        x, y = torch.tensor([-2.0, 1.0]), torch.tensor([1.0, 1.0])
        for run in (gm, torch.fx.Interpreter(gm).run):
            out = run(x, y)
            self.assertEqual((list(out), len(out["rest"])), (["sum", "rest"], 2))
            self.assertEqual(out["sum"].tolist(), [-1.0, 2.0])

    def test_what_torch_makes(self):
        """symbolic_trace packs where an input is a structure; what a tuple of outputs is needs no packing."""
        for model, text in ((lambda pair: {"y": pair[0].relu(), "n": None}, "pytree({'y': relu, 'n': None})"),
                            (lambda pair: (pair[0].relu(), pair[1]), "[relu, pair_2]")):
            gm = torch.fx.symbolic_trace(model, concrete_args={"pair": (PH, PH)})
            self.assertTrue(graph_text(gm).endswith(f"    return {text}\n"), graph_text(gm))
            self.assertEqual(packing(gm.graph) is not None, text.startswith("pytree"))

    def test_plain_graphs(self):
        """A dict of nodes is what the graph itself returns, and stays so."""
        gm = parse_graph(TEXT.replace("pytree(", "").replace("})", "}"))
        self.assertIsNone(packing(gm.graph))
        self.assertEqual(list(gm.graph.output_node().args[0]), ["sum", "rest"])

    def test_bad_texts(self):
        """Other arguments than one structure are refused with the line."""
        for call in ("pytree(add, y)", "pytree(a=add)", "pytree()"):
            with self.assertRaisesRegex(GraphTextError, "line 4"):
                parse_graph(TEXT.replace("pytree({'sum': add, 'rest': [relu, y]})", call))


class EditTests(unittest.TestCase):

    def test_edits_keep_the_packing(self):
        """A new input is known to the generated code; a structure takes no more outputs than it has."""
        edited = changed(example(), lambda d: d.set_args(d.node("relu"), (d.add_input(T(2)),)))
        out = edited.build()(*edited.realize())
        self.assertEqual((list(out), len(edited.inputs)), (["sum", "rest"], 3))

        with self.assertRaisesRegex(Inapplicable, "3 outputs are packed"):
            changed(example(), lambda d: d.add_output(d.node("x")))

    def test_pack(self):
        """A graph whose output was taken out gets a structure."""
        graph = torch.fx.Graph()
        pack(graph, {"x": graph.placeholder("x"), "none": None})
        self.assertEqual(torch.fx.GraphModule({}, graph)(3), {"x": 3, "none": None})


class ForgettingTests(unittest.TestCase):

    def test_found_and_shown_by_torch_alone(self):
        """A pass that forgets the packing is found; its script exits 1, and 0 for a pass that does not."""
        pass_ = as_pass(forgets)
        failures = judge(pass_, example()).failures
        self.assertIn("numerics:structure", [str(failure.cause) for failure in failures])
        self.assertEqual(judge(as_pass(lambda gm: gm, kind="module"), example()).failures, [])

        failure = CheckFailure("numerics", "another structure", cause="numerics:structure")
        source = ("def the_pass(gm):\n    graph = torch.fx.Graph()\n    graph.output(graph.graph_copy(gm.graph, {}))\n"
                  "    return torch.fx.GraphModule(gm, graph)\n")
        for text, code in ((source, 1), ("def the_pass(gm):\n    return gm\n", 0)):
            ended, printed = run_script_apart(standalone_script(pass_, example(), failure, pass_source=text))
            self.assertEqual(ended, code, printed)
            self.assertEqual("{'sum': '*', 'rest': ['*', '*']}" in printed, code == 1, printed)


if __name__ == "__main__":
    unittest.main()
