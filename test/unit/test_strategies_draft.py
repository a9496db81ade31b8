"""An example on the workbench: private copies, inputs and outputs added, dead calls dropped, types made anew."""

from __future__ import annotations

import operator
import unittest
from collections.abc import Callable

import torch

from fxpect.capture import capture
from fxpect.examples import Example
from fxpect.specs import Same, T, View
from fxpect.strategies.directions.attributes import own_attribute
from fxpect.strategies.draft import Draft, Edit, Inapplicable, is_effect
from fxpect.strategies.near import edits
from fxpect.text.printer import graph_text

TEXT = """
def forward(self, x, y):
    cat = torch.cat([x, y], dim=-1)
    relu = torch.relu(cat)
    return (relu,)
"""


def base(text: str = TEXT, *specs: object, stage: str = "dynamo") -> Example:
    return capture(text, specs or (T(2, 3), T(2, 3)), capture=stage)


def changed(example: Example, change: Callable[[Draft], object]) -> Example:
    """Return the example after ``change``, as an edit makes it."""
    draft = Draft(example)
    change(draft)
    return draft.finish(Edit("test", "changed", "changed", lambda draft: None), example)


def lines(example: Example) -> list[str]:
    return [line.strip() for line in example.text.splitlines()[1:] if line.strip()]


class LookingTests(unittest.TestCase):

    def test_nodes_are_found_by_the_names_of_the_example(self):
        """A name of the example finds its node; another raises Inapplicable."""
        draft = Draft(base())
        self.assertIs(draft.node("cat").target, torch.cat)
        with self.assertRaisesRegex(Inapplicable, "no node dog"):
            draft.node("dog")

    def test_arithmetic_of_sizes_is_a_number(self):
        """A product of symbolic sizes is a number, which has no other spelling and no relative; a tensor is none."""
        example = capture(lambda x: x.view(x.shape[0] * x.shape[1]).relu(), (T(2, 3),), capture="aten", dynamic=True)
        draft = Draft(example.portable())
        numbers = [node.name for node in draft.calls() if draft.is_number(node)]

        self.assertEqual(numbers, ["mul"])
        for direction, offered in edits(example.portable(), ("spellings", "exchanged")).items():
            self.assertTrue(offered, direction)
            self.assertFalse([edit for edit in offered if edit.what.startswith("mul")])

    def test_calls_tensors_and_placeholders(self):
        """Each view of the graph is in program order; a list of pieces is no tensor."""
        draft = Draft(base("""
def forward(self, x):
    split = torch.split(x, 2)
    a = operator.getitem(split, 0)
    return (a,)
""", T(4, 3)))
        self.assertEqual([n.name for n in draft.placeholders], ["x"])
        self.assertEqual([n.name for n in draft.calls()], ["split", "a"])
        self.assertEqual([n.name for n in draft.tensors()], ["x", "a"])
        self.assertEqual([n.name for n in draft.returned()], ["a"])
        self.assertIsNone(draft.tensor(draft.node("split")))
        self.assertIsNone(draft.tensor(3))
        self.assertEqual(draft.tensor(draft.node("a")).shape, (2, 3))

    def test_the_dialect_follows_the_capture(self):
        """A torch function before functionalization, an ATen overload after it."""
        pair = (torch.neg, torch.ops.aten.neg.default)
        self.assertEqual(Draft(base()).method(*pair), ("call_function", torch.neg))
        aten = Draft(base(stage="make_fx"))
        self.assertEqual(aten.method(*pair), ("call_function", torch.ops.aten.neg.default))


class ChangingTests(unittest.TestCase):

    def test_the_example_stays_as_it_was(self):
        """Whatever a draft does to nodes and inputs, the example it came from keeps its text and inputs."""
        example = base()
        text, inputs = example.text, example.inputs

        def wreck(draft: Draft) -> None:
            draft.set_args(draft.node("cat"), ([draft.node("y")],), {"dim": 0})
            draft.inputs[0] = T(5, 3)
            draft.add_output(draft.node("x"))
            draft.touch_inputs()

        changed(example, wreck)
        self.assertEqual((graph_text(example.graph_module), example.inputs), (text, inputs))

    def test_what_follows_a_change_is_typed_again(self):
        """A changed argument shows in the types of the call and of all that reads it."""
        edited = changed(base(), lambda d: d.set_args(d.node("cat"), d.node("cat").args, {"dim": 0}))
        self.assertEqual(lines(edited), ['cat: "f32[4, 3]" = torch.cat([x, y], dim=0)',
                                         'relu: "f32[4, 3]" = torch.relu(cat)', "return (relu,)"])

    def test_only_what_reads_a_change_is_typed_again(self):
        """Values that the change does not reach keep their types as they are; where one is written to, none does."""
        example = base("def forward(self, x, y):\n    neg = torch.neg(x)\n    tanh = torch.tanh(y)\n"
                       "    relu = torch.relu(neg)\n    return (tanh, relu)\n")

        def kept(edited: Example) -> list[str]:
            values = {node.name: node.meta.get("example_value") for node in example.graph_module.graph.nodes}
            return [node.name for node in edited.graph_module.graph.nodes
                    if node.name in ("neg", "tanh", "relu") and node.meta["example_value"] is values.get(node.name)]

        def write(draft: Draft) -> None:
            draft.insert(draft.node("tanh"), "call_method", "add_", (draft.node("tanh"), 1))

        self.assertEqual(kept(changed(example, lambda d: d.set_args(d.node("neg"), (d.node("y"),)))), ["tanh"])
        self.assertEqual(kept(changed(example, lambda d: d.add_output(d.node("neg")))), ["neg", "tanh", "relu"])
        self.assertEqual(kept(changed(example, write)), [])

    def test_a_changed_input_types_everything_again(self):
        """A new spec gives its placeholder, and what is computed, another type."""
        def double(draft: Draft) -> None:
            draft.inputs = [T(2, 3, dtype="f64", layout="transposed"), T(2, 3, dtype="f64")]
            draft.touch_inputs()

        edited = changed(base(), double)
        self.assertIn('x: "f64[2, 3](stride=(1, 2))"', edited.text)
        self.assertIn('relu: "f64[2, 6]"', edited.text)
        edited.build()(*edited.realize())

    def test_a_tangent_of_another_dtype_stays_in_the_backward(self):
        """What reads a changed tangent is computed by the backward, so that a partitioner does not save it."""
        example = capture(lambda x: (x * 2).relu(), (T(2, 3, requires_grad=True),), capture="joint").portable()

        def change(draft: Draft) -> None:
            at = next(i for i, node in enumerate(draft.placeholders) if node.name.startswith("tangents"))
            draft.inputs[at] = T(2, 3, dtype="f16")
            draft.touch_inputs()
            draft.insert(draft.placeholders[at], "call_function", torch.ops.aten.neg.default, (draft.placeholders[at],))
            draft.keep_dead(draft.placeholders[-1].next)

        gm = changed(example, change).graph_module
        neg = next(iter(gm.graph.find_nodes(op="call_function", target=torch.ops.aten.neg.default)))
        self.assertEqual(neg.meta["partitioner_tag"], "is_backward")

    def test_inputs_are_added_after_the_others(self):
        """A new placeholder comes last, with a free name and its spec."""
        def add(draft: Draft) -> None:
            new = draft.add_input(T(2, 1), "x")
            draft.set_args(draft.node("cat"), ([draft.node("x"), new],))

        edited = changed(base(), add)
        self.assertEqual([n.target for n in edited.placeholders], ["x", "y", "x_1"])
        self.assertEqual(edited.inputs, (T(2, 3), T(2, 3), T(2, 1)))
        self.assertIn('cat: "f32[2, 4]" = torch.cat([x, x_1], dim=-1)', lines(edited))

    def test_arguments_are_of_the_draft(self):
        """A node of the example, as an edit may remember it, stands for that of the draft, and keeps its own users."""
        example = base()
        y = example.graph_module.graph.find_nodes(op="placeholder")[1]

        edited = changed(example, lambda d: d.set_args(d.node("cat"), ([y, y],), {"dim": 0}))
        self.assertIn('cat: "f32[4, 3]" = torch.cat([y, y], dim=0)', lines(edited))
        self.assertEqual([node.name for node in y.users], ["cat"])
        self.assertIs(next(iter(y.users)).graph, example.graph_module.graph)

    def test_inputs_are_dropped(self):
        """An input that nothing reads goes; those after it keep what they are of; one that is needed stays."""
        text = "def forward(self, x, y, z, w):\n    add = torch.add(y, w)\n    return (add,)\n"
        example = base(text, T(2), T(3), Same(1), View(1, start=0))

        edited = changed(example, lambda d: d.drop_input(d.node("x")))
        self.assertEqual([n.target for n in edited.placeholders], ["y", "z", "w"])
        self.assertEqual(edited.inputs, (T(3), Same(0), View(0)))
        self.assertEqual(changed(edited, lambda d: d.drop_input(d.node("z"))).inputs, (T(3), View(0)))
        for needed in ("y", "w"):
            with self.assertRaisesRegex(Inapplicable, "is needed"):
                changed(example, lambda d, name=needed: d.drop_input(d.node(name)))
        of_view = base("def forward(self, x, y):\n    neg = torch.neg(y)\n    return (neg,)\n", T(3), Same(0))
        with self.assertRaisesRegex(Inapplicable, "input 0 is needed"):
            changed(of_view, lambda d: d.drop_input(d.node("x")))
        joint = capture(lambda x, y: x.relu(), (T(2, requires_grad=True), T(2)), capture="joint")
        with self.assertRaisesRegex(Inapplicable, "is needed"):
            changed(joint, lambda d: d.drop_input(d.placeholders[1]))

    def test_the_first_input_of_a_graph_without_any(self):
        """A placeholder stands before all calls also where there was none."""
        example = capture("def forward(self):\n    ones = torch.ones([2])\n    return (ones,)\n", capture="dynamo")
        edited = changed(example, lambda d: d.add_output(d.add_input(T(3))))
        self.assertEqual([n.op for n in edited.graph_module.graph.nodes], ["placeholder", "call_function", "output"])

    def test_calls_are_inserted_before_and_after(self):
        """After a placeholder means after the last one; ``before`` names the place itself."""
        def insert(draft: Draft) -> None:
            early = draft.insert(draft.node("x"), "call_function", torch.neg, (draft.node("x"),))
            late = draft.insert(None, "call_method", "tanh", (draft.node("cat"),), before=draft.output)
            draft.add_output(early)
            draft.add_output(late)

        edited = changed(base(), insert)
        self.assertEqual([n.name for n in edited.graph_module.graph.nodes][:4], ["x", "y", "neg", "cat"])
        self.assertEqual(lines(edited)[-1], "return (relu, neg, tanh)")

    def test_dead_calls_go_and_effects_stay(self):
        """What nobody reads is dropped, unless it writes or draws random numbers."""
        def change(draft: Draft) -> None:
            draft.node("relu").replace_all_uses_with(draft.node("x"))
            draft.insert(draft.node("cat"), "call_method", "add_", (draft.node("y"), 1))

        edited = changed(base(), change)
        self.assertEqual(lines(edited), ['add_: "f32[2, 3]" = y.add_(1)', "return (x,)"])

    def test_dead_code_of_the_model_stays(self):
        """What nobody read before the step is there for a pass to remove."""
        dead = base("def forward(self, x):\n    a = torch.neg(x)\n    b = torch.neg(a)\n    c = torch.relu(x)\n"
                    "    return (c,)\n", T(2))

        edited = changed(dead, lambda draft: draft.node("c").replace_all_uses_with(draft.node("x")))
        self.assertEqual(lines(edited), ['neg: "f32[2]" = torch.neg(x)', 'neg_1: "f32[2]" = torch.neg(neg)',
                                         "return (x,)"])

    def test_a_nested_graph_is_given_what_it_was_typed_for(self):
        """Another operand of its type is taken, one of another type is refused."""
        example = capture(lambda x, y: torch.cond(x.sum() > 0, lambda v: v * 2, lambda v: v * 3, (x,)) * y,
                          (T(3), T(3)), capture="export").portable()

        def given(value: str) -> Example:
            def change(draft: Draft) -> None:
                node = draft.node("cond")
                other = draft.node("y") if value == "y" else draft.node("gt")
                draft.set_args(node, (*node.args[:3], (other,)))

            return changed(example, change)

        self.assertIn("cond(gt, true_graph, false_graph, (y,))", given("y").text)
        with self.assertRaisesRegex(Inapplicable, "the graph inside cond is of other types"):
            given("gt")

    def test_what_torch_does_not_check(self):
        """Other sizes for an operator that does not look at them are refused: they would corrupt this process."""
        torch.manual_seed(0)
        example = capture(torch.nn.LSTM(4, 4).eval(), (T(3, 2, 4),), capture="aten", frozen=True).portable()
        self.assertIn("mkldnn_rnn_layer", example.text)

        def change(draft: Draft) -> None:
            draft.inputs[0] = T(3, 2, 5)
            draft.touch_inputs()

        with self.assertRaisesRegex(Inapplicable, "does not check the sizes"):
            changed(example, change)

    def test_outputs_that_are_no_sequence(self):
        """A single output becomes a tuple; a dict of outputs is refused."""
        single = base("def forward(self, x):\n    neg = torch.neg(x)\n    return neg\n", T(2))
        self.assertEqual(lines(changed(single, lambda d: d.add_output(d.node("x"))))[-1], "return (neg, x)")
        for change in (lambda d: d.add_output(d.node("x")), lambda d: d.output_list()):
            mapping = Draft(single)
            mapping.output.args = ({"a": mapping.node("neg")},)
            with self.assertRaisesRegex(Inapplicable, "not a sequence"):
                change(mapping)

    def test_what_does_not_type_is_refused(self):
        """torch's own reason is given."""
        with self.assertRaisesRegex(Inapplicable, "Dimension out of range"):
            changed(base(), lambda d: d.set_args(d.node("cat"), d.node("cat").args, {"dim": 7}))

    def test_the_edit_is_noted(self):
        """The new example names the edit and its trigger, and keeps capture and sizes."""
        edited = changed(base(), lambda d: d.add_output(d.node("cat")))
        self.assertEqual((edited.edits, edited.triggers, edited.capture, len(edited.path)),
                         (("test: changed",), ("changed",), "dynamo", 1))

    def test_the_same_tensor_twice_is_typed_as_one(self):
        """An input that is another one again has the fake value of that one."""
        example = base(TEXT, T(2, 3), Same(0))

        def change(draft: Draft) -> None:
            draft.inputs[0] = T(4, 3)
            draft.touch_inputs()

        edited = changed(example, change)
        x, y = edited.placeholders
        self.assertIs(y.meta["example_value"], x.meta["example_value"])
        self.assertIn('relu: "f32[4, 6]"', edited.text)


class BaseTests(unittest.TestCase):
    """What typing a step does to the fake tensors that the step shares with its base."""

    def refused(self, example: Example, change: Callable[[Draft], object], why: str) -> None:
        before = graph_text(example.graph_module)
        with self.assertRaisesRegex(Inapplicable, why):
            changed(example, change)
        self.assertEqual(graph_text(example.graph_module), before)

    def test_a_write_that_spreads_gradients(self):
        """What is written to requires grad after the step, and in the base it still does not."""
        example = changed(base(), lambda d: d.add_output(d.add_input(T(2, 6, requires_grad=True), "w")))

        def write(draft: Draft) -> None:
            draft.insert(draft.node("cat"), "call_method", "add_", (draft.node("cat"), draft.node("w_1")))

        edited = changed(example, write)
        cats = [next(n for n in e.graph_module.graph.nodes if n.name == "cat") for e in (example, edited)]
        self.assertEqual([n.meta["example_value"].requires_grad for n in cats], [False, True])

    def test_a_write_that_reshapes(self):
        """An intermediate has its new shape after the step alone; the shape of an input is not changed in place."""
        example = base()

        def unsqueeze(name: str) -> Callable[[Draft], object]:
            return lambda d: d.insert(d.node(name), "call_method", "unsqueeze_", (d.node(name), 0))

        edited = changed(example, unsqueeze("cat"))
        self.assertIn('relu: "f32[1, 2, 6]"', edited.text)
        self.assertIn('relu: "f32[2, 6]"', graph_text(example.graph_module))
        for undo in (lambda d: setattr(d.node("unsqueeze_"), "target", "unsqueeze"),
                     lambda d: d.graph.erase_node(d.node("unsqueeze_"))):
            self.assertIn('relu: "f32[2, 6]"', changed(edited, undo).text)
        single = base("def forward(self, x, y):\n    neg = torch.neg(y)\n    return (neg,)\n")
        self.refused(single, unsqueeze("x"), "the shape of x is changed in place")

    def test_a_buffer_of_another_shape(self):
        """torch would resize it, with a warning; in the base it stays as it is."""
        example = changed(base(), lambda d: d.add_output(d.add_input(T(5), "out")))

        def write(draft: Draft) -> None:
            cat = draft.node("cat")
            draft.set_args(cat, cat.args, {"dim": 1, "out": draft.node("out_1")})

        self.refused(example, write, "cat resizes its out=")

    def test_attributes_are_not_run_on(self):
        """A step that writes to a buffer, by itself or in a module that trains, leaves the base's own as it was."""
        class Model(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.norm = torch.nn.BatchNorm1d(3)
                self.register_buffer("count", torch.zeros(3))

            def forward(self, x):
                return self.norm(x) + self.count

        example = capture(Model(), (T(2, 3),), capture="symbolic")

        def write(draft: Draft) -> None:
            draft.insert(draft.node("count"), "call_method", "add_", (draft.node("count"), 1))

        changed(example, write)
        changed(example, lambda d: d.add_output(d.node("norm")))
        gm = example.graph_module
        self.assertEqual((gm.count.tolist(), gm.norm.num_batches_tracked.item()), ([0, 0, 0], 0))

    def test_symbols_are_not_fixed(self):
        """A step that would make a named dim a number is refused, and later steps find it as it was."""
        example = capture(lambda x, y: torch.relu(x @ x.t()) + y, (T("B", 6), T("B", "B")), capture="make_fx",
                          dynamic=True)

        def mismatch(draft: Draft) -> None:
            node = next(n for n in draft.calls() if n.target is torch.ops.aten.mm.default)
            size = draft.tensor(draft.node("x")).shape[0]
            fixed = draft.insert(node, "call_function", torch.ops.aten.zeros.default, ([draft.sizes["B"], 2],))
            draft.add_output(draft.insert(fixed, "call_function", torch.ops.aten.mm.default, (node, fixed)))
            self.assertIsInstance(size, torch.SymInt)

        self.refused(example, mismatch, "it would fix a symbolic size")
        self.assertIn("s0", changed(example, lambda d: d.add_output(d.node("x"))).text)

    def test_another_size_beside_a_symbol(self):
        """A fixed size that changes is typed with the symbols as they are; a layout or an unknown symbol is refused."""
        example = capture(lambda x: torch.relu(x) + 1, (T("B", 6),), capture="dynamo", dynamic=True)

        def become(spec: object) -> Callable[[Draft], None]:
            def change(draft: Draft) -> None:
                draft.inputs[-1] = spec
                draft.touch_inputs()
            return change

        edited = changed(example, become(T("B", 5)))
        self.assertIn('relu: "f32[s0, 5]"', edited.text)
        self.assertEqual(edited.build()(*edited.realize())[0].shape[1], 5)
        self.refused(example, become(T("C", 5)), "C|size")
        self.refused(example, become(T("B", 5, layout="transposed")), "a layout of symbolic sizes")


class HelperTests(unittest.TestCase):

    def test_effects(self):
        """In-place methods and functions, ``out=``, item assignment, mutable overloads and asserts are effects."""
        draft = Draft(base())
        x = draft.node("x")

        def effect(op: str, target: object, *args: object, **kwargs: object) -> bool:
            return is_effect(draft.insert(x, op, target, (x, *args), kwargs))

        for found in (effect("call_method", "add_", 1), effect("call_function", torch.relu_),
                      effect("call_function", torch.neg, out=x), effect("call_function", operator.setitem, 0, 1),
                      effect("call_function", torch.ops.aten.copy_.default, x),
                      effect("call_function", torch.ops.aten._assert_tensor_metadata.default),
                      effect("call_function", torch.ops.profiler._record_function_exit._RecordFunction),
                      effect("call_function", torch.nn.functional.relu, inplace=True)):
            self.assertTrue(found)
        for found in (effect("call_method", "add", 1), effect("call_function", torch.neg),
                      effect("call_function", torch.ops.aten.neg.default), effect("call_method", "__add__", 1),
                      effect("call_function", torch.nn.functional.relu, inplace=False)):
            self.assertFalse(found)

    def test_attributes_get_a_free_name(self):
        """An own copy is stored beside the original, which stays."""
        draft = Draft(base())
        draft.gm.weight = torch.ones(2)
        names = [own_attribute(draft, "weight", draft.gm.weight) for _ in range(2)]
        self.assertEqual(names, ["weight_1", "weight_2"])
        self.assertIsNot(draft.gm.weight_1, draft.gm.weight)
        self.assertTrue(torch.equal(draft.gm.weight_2, draft.gm.weight))


if __name__ == "__main__":
    unittest.main()
