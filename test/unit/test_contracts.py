"""Contracts: what each capture promises, what breaks it, and what an innocent graph takes out of it."""

from __future__ import annotations

import dataclasses
import pickle
import unittest

import torch
from torch import nn

from fxpect.capture import CAPTURES, capture
from fxpect.contracts import ATEN, BACKWARD, CONTRACTS, SIDE, Contract, contract_of, trains, writes
from fxpect.examples import Example
from fxpect.specs import Same, T
from fxpect.strategies.draft import Inapplicable
from fxpect.strategies.near import edits, step
from fxpect.text.parser import parse_graph

SPECS = (T(2, 3), T(2, 3))


def graph(body: str, parameters: str = "x, y") -> torch.fx.GraphModule:
    """Return the graph of a few statements; "aten." stands for torch.ops.aten."""
    lines = "".join(f"    {line}\n" for line in body.replace("aten.", "torch.ops.aten.").split("; "))
    return parse_graph(f"def forward(self, {parameters}):\n{lines}")


def captured(body: str, stage: str = "aten") -> Example:
    lines = "".join(f"    {line}\n" for line in body.replace("aten.", "torch.ops.aten.").split("; "))
    return capture(f"def forward(self, x, y):\n{lines}", SPECS, capture=stage)


class JointTests(unittest.TestCase):
    """What a joint graph's inputs and outputs are, by their order."""

    def joint(self, body: str, parameters: str = "primals_1, primals_2, tangents_1") -> str:
        return CONTRACTS["joint"].breach(graph(body, parameters))

    def test_forward_outputs_then_gradients(self):
        """Another output of the forward, and a gradient that is None, keep the contract."""
        add = "add = aten.add.Tensor(primals_1, primals_2)"
        for outputs in ("add, tangents_1, tangents_1", "add, primals_1, tangents_1, None"):
            with self.subTest(outputs):
                self.assertEqual(self.joint(f"{add}; return ({outputs})"), "")

    def test_what_breaks_it(self):
        """Each says what is out of order: an output too few, one that hangs on a tangent, an input after them."""
        add = "add = aten.add.Tensor(primals_1, primals_2)"
        for body, parameters, words in (
                (f"{add}; return (add, tangents_1)", "primals_1, primals_2, tangents_1", "outputs are missing"),
                (f"{add}; return (None, tangents_1, tangents_1)", "primals_1, primals_2, tangents_1",
                 "the forward returns what is no value of the graph"),
                (f"neg = aten.neg.default(tangents_1); {add}; return (neg, add, tangents_1, tangents_1)",
                 "primals_1, primals_2, tangents_1", "neg, an output of the forward, hangs on a tangent"),
                (f"{add}; return (add, tangents_1, tangents_1)", "primals_1, primals_2, tangents_1, x_1",
                 "an input follows the tangents")):
            with self.subTest(body):
                self.assertEqual(self.joint(body, parameters), words)

    def test_an_output_more_is_one_of_the_forward(self):
        """Edits of a captured joint graph put what they return before the gradients, and keep the contract."""
        example = capture(lambda x, y: (x * y).sum(), (T(2, 3, requires_grad=True), T(2, 3, requires_grad=True)),
                          capture="joint").portable()
        found = [step(example, edit) for edit in edits(example, ("extra_users",))["extra_users"][:4]]

        self.assertTrue(found)
        for more in found:
            self.assertEqual(len(more.graph_module.graph.output_node().args[0]), 4)
            self.assertEqual(more.promises.breach(more.graph_module), "")

    def test_forward_and_backward_stay_apart(self):
        """What an edit adds is marked as what it reads is; calls of the forward stand before those of the backward."""
        example = capture(lambda x, y: (x.tanh() * y).sum(), (T(2, 3, requires_grad=True), T(2, 3, requires_grad=True)),
                          capture="joint").portable()
        seen = set()
        for direction in ("extra_users", "inserted", "operands"):
            for edit in edits(example, (direction,))[direction]:
                try:
                    made = step(example, edit)
                except Inapplicable:
                    continue
                calls = [node for node in made.graph_module.graph.nodes if node.op == "call_function"]
                marks = [node.meta[SIDE] for node in calls]
                self.assertEqual(marks, sorted(marks, reverse=True), f"{edit!r}: is_forward comes first")
                for node in calls:
                    if any(operand.meta.get(SIDE) == BACKWARD for operand in node.all_input_nodes):
                        self.assertEqual(node.meta[SIDE], BACKWARD, edit)
                seen.add(marks.count(BACKWARD))

        self.assertGreater(len(seen), 1, "no edit added to the backward")

    def test_an_output_of_the_forward_that_the_backward_computes(self):
        """It is refused, though it hangs on no tangent."""
        gm = graph("neg = aten.neg.default(primals_1); return (neg, tangents_1, tangents_1)",
                   "primals_1, primals_2, tangents_1")
        self.assertEqual(CONTRACTS["joint"].breach(gm), "")
        next(iter(gm.graph.find_nodes(op="call_function", target=torch.ops.aten.neg.default))).meta[SIDE] = BACKWARD
        self.assertEqual(CONTRACTS["joint"].breach(gm), "neg, an output of the forward, is computed by the backward")


class SymbolicTests(unittest.TestCase):

    def test_no_assignment_to_items(self):
        """symbolic_trace refuses item assignment, dynamo writes it down."""
        body = "a = operator.setitem(x, 0, 1); return (x,)"

        self.assertEqual(CONTRACTS["symbolic"].breach(graph(body)), "a assigns to items")
        self.assertEqual(CONTRACTS["dynamo"].breach(graph(body)), "")


class EpilogueTests(unittest.TestCase):

    def test_what_functionalization_leaves_is_kept(self):
        """copy_ into inputs last, one returned; a view of a computed value after it; no write at all."""
        for body in ("add = aten.add.Tensor(x, y); return (add,)",
                     "add = aten.add.Tensor(x, 1); copy_ = aten.copy_.default(x, add); return (add,)",
                     "add = aten.add.Tensor(x, 1); copy_ = aten.copy_.default(x, add); return (copy_,)",
                     "add = aten.add.Tensor(x, 1); a = aten.copy_.default(x, add); "
                     "b = aten.copy_.default(y, add); view = aten.view.default(add, [6]); return (view,)",
                     "copy_ = aten.copy_.default(x, y); return (y,)"):
            with self.subTest(body):
                self.assertEqual(ATEN.breach(graph(body)), "")

    def test_other_writes_are_told(self):
        """Each says which node, and what is wrong with it."""
        add, copy = "add = aten.add.Tensor(x, 1)", "copy_ = aten.copy_.default(x, add)"
        for body, words in (
                ("add = aten.add_.Tensor(x, 1); return (add,)", "add writes"),
                (f"{add}; a = aten.copy_.default(add, y); return (a,)", "writes to no input"),
                (f"{add}; {copy}; b = aten.copy_.default(x, y); return (add,)", "writes to x again"),
                (f"{add}; {copy}; neg = aten.neg.default(add); return (neg,)", "computes after the write to an input"),
                (f"{add}; {copy}; neg = aten.neg.default(copy_); return (neg,)", "is read"),
                (f"{add}; {copy}; view = aten.view.default(x, [6]); return (view,)", "reads an input that is written"),
                (f"{add}; {copy}; return (x,)", "x is returned after it is written to"),
                (f"v = aten.view.default(x, [6]); {add}; {copy}; return (v,)", "is returned after it is written to"),
                (f"{add}; {copy}; b = aten.copy_.default(y, x); return (add,)", "reads an input that is written to"),
                ("copy_ = aten.copy_.default(x, x); return (y,)", "reads an input that is written to")):
            with self.subTest(body):
                self.assertIn(words, ATEN.breach(graph(body)))

    def test_a_copy_of_another_type_is_told(self):
        """Functionalization hands back a value of the input's own type; a converted one is no epilogue."""
        example = captured("add = aten.add.Tensor(x, 1); copy_ = aten.copy_.default(x, add); return (add,)")
        self.assertEqual(example.promises.breach(example.graph_module), "")
        x = example.placeholders[0]
        x.meta = {"val": x.meta["val"].double()}
        self.assertIn("copies a value of another type", ATEN.breach(example.graph_module))

    def test_no_writes_at_all(self):
        """ "never" refuses the epilogue as well, and an unknown word is misuse."""
        copy = "add = aten.add.Tensor(x, 1); copy_ = aten.copy_.default(x, add); return (add,)"
        self.assertIn("writes", dataclasses.replace(ATEN, writes="never").breach(graph(copy)))
        with self.assertRaisesRegex(ValueError, "writes='sometimes' is not one of anywhere, epilogue, never"):
            Contract(writes="sometimes")


class PromiseTests(unittest.TestCase):

    def test_every_capture_has_a_contract(self):
        """The table has a row for each capture, and every row is read back."""
        self.assertEqual(set(CONTRACTS), set(CAPTURES))
        for name, contract in CONTRACTS.items():
            self.assertIs(contract_of(name), contract)
            self.assertEqual(pickle.loads(pickle.dumps(contract)), contract)

    def test_dispatcher_calls(self):
        """A recorded graph calls overloads and arithmetic of sizes, not torch functions, methods or modules."""
        self.assertEqual(ATEN.breach(graph("s = operator.mul(2, 3); neg = aten.neg.default(x); return (neg, s)")), "")
        for call in ("torch.neg(x)", "x.neg()"):
            self.assertIn("neg calls no operator overload", ATEN.breach(graph(f"neg = {call}; return (neg,)")))
        self.assertEqual(contract_of("dynamo").breach(graph("neg = x.neg_(); return (neg,)")), "")

    def test_aliases_modules_and_training(self):
        """One tensor twice, a submodule, a module or a call in training mode: each where it is not promised."""
        plain = graph("neg = aten.neg.default(x); return (neg,)")
        self.assertIn("two inputs are one tensor", ATEN.breach(plain, (T(2), Same(0))))
        self.assertEqual(contract_of("dynamo").breach(plain, (T(2), Same(0))), "")

        class Model(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.drop = nn.Dropout(0.5)

            def forward(self, x):
                return self.drop(x)

        example = capture(Model(), (T(2, 3),), capture="symbolic")
        quiet = capture(Model().eval(), (T(2, 3),), capture="symbolic")
        inference = dataclasses.replace(contract_of("symbolic"), inference=True)
        self.assertIn("drop is in training mode", inference.breach(example.graph_module))
        self.assertEqual(inference.breach(quiet.graph_module), "")
        self.assertIn("drop calls a module", contract_of("dynamo").breach(example.graph_module))
        self.assertEqual(contract_of("symbolic").breach(example.graph_module), "")

    def test_what_the_innocent_does_is_allowed(self):
        """A graph that breaks its contract loses that promise and keeps the others; one that keeps it keeps all."""
        kept = captured("add = aten.add.Tensor(x, y); return (add,)")
        self.assertIs(kept.promises, contract_of("aten"))
        writing = captured("add = aten.add_.Tensor(x, 1); mul = aten.mul.Tensor(x, y); return (mul,)", "make_fx")
        self.assertEqual(writing.promises, dataclasses.replace(contract_of("make_fx"), writes="anywhere"))
        own = kept.replace(contract=dataclasses.replace(ATEN, writes="never"))
        self.assertEqual((own.promises.writes, own.key), ("never", kept.key))

    def test_captures_keep_the_models_writes(self):
        """What the contracts say of torch: AOT moves a write to the end, make_fx and export leave it where it is."""
        def model(x, y):
            x.add_(1)
            return x * y

        def order(stage: str) -> list[str]:
            nodes = capture(model, SPECS, capture=stage).graph_module.graph.nodes
            return [str(node.target) for node in nodes if node.op == "call_function"]

        self.assertEqual(order("aten"), ["aten.add.Tensor", "aten.mul.Tensor", "aten.copy_.default"])
        for stage in ("make_fx", "export", "export-nonstrict"):
            self.assertEqual(order(stage), ["aten.add_.Tensor", "aten.mul.Tensor"])


class CallTests(unittest.TestCase):

    def test_what_may_write(self):
        """In-place methods, functions, overloads, operators, out= and inplace=; not their plain forms."""
        for text, found in (("x.add_(1)", True), ("x.add(1)", False), ("x.__setitem__(0, 1)", True),
                            ("operator.setitem(x, 0, 1)", True), ("operator.iadd(x, 1)", True),
                            ("operator.invert(x)", False), ("operator.add(x, 1)", False), ("torch.relu_(x)", True),
                            ("torch.relu(x)", False), ("torch.neg(x, out=y)", True), ("aten.copy_.default(x, y)", True),
                            ("aten.neg.default(x)", False), ("torch.nn.functional.relu(x, inplace=True)", True),
                            ("torch.nn.functional.relu(x, inplace=False)", False)):
            with self.subTest(text):
                node = next(n for n in graph(f"a = {text}; return (a,)").graph.nodes if n.op.startswith("call"))
                self.assertIs(writes(node), found)

    def test_what_trains(self):
        """Dropout and batch norm by their flags, by keyword, position or default; an embedding's flag is none."""
        for text, found in (("torch.nn.functional.dropout(x)", True),
                            ("torch.nn.functional.dropout(x, 0.5, False)", False),
                            ("torch.nn.functional.dropout(x, training=True)", True),
                            ("aten.native_dropout.default(x, 0.5, True)", True),
                            ("torch.nn.functional.batch_norm(x, y, y)", False),
                            ("torch.nn.functional.batch_norm(x, y, y, training=True)", True),
                            ("torch.nn.functional.embedding(x, y, max_norm=1.0)", False), ("torch.relu(x)", False)):
            with self.subTest(text):
                node = next(n for n in graph(f"a = {text}; return (a,)").graph.nodes if n.op.startswith("call"))
                self.assertIs(trains(node), found)


if __name__ == "__main__":
    unittest.main()
