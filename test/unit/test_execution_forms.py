"""Tests of the calling conventions: every form is told, called, and its answer read."""

from __future__ import annotations

import functools
import unittest
from typing import Optional

import torch
import torch.export
import torch.fx
from torch import fx
from torch.fx import GraphModule
from torch.fx.passes.infra.pass_base import PassBase, PassResult
from torch.fx.passes.infra.pass_manager import PassManager, pass_result_wrapper
from torch.fx.passes.pass_manager import PassManager as PlainManager

from fxpect import Example, T
from fxpect.errors import FxpectError, PassCrash, PassFormError
from fxpect.execution import KINDS, Pass, as_pass, run_pass, run_pipeline

RELU, TANH = torch.ops.aten.relu.default, torch.ops.aten.tanh.default
TEXT = '''
def forward(self, x: "f32[2, 3]", y: "f32[2, 3]"):
    add: "f32[2, 3]" = torch.ops.aten.add.Tensor(x, y)
    relu: "f32[2, 3]" = torch.ops.aten.relu.default(add)
    return (relu,)
'''
WITHOUT = TEXT.replace("relu", "sigmoid")
G = fx.Graph


def example(text=TEXT):
    return Example.from_text(text, T(2, 3), T(2, 3))


def swap(graph):
    """Replace relu by tanh and return how many."""
    nodes = graph.find_nodes(op="call_function", target=RELU)
    for node in nodes:
        node.target = TANH
    return len(nodes)


def on_graph(graph):
    swap(graph)


def on_annotated_graph(anything: torch.fx.Graph) -> None:
    swap(anything)


def on_alias(anything: G):
    swap(anything)


def on_graph_shortly_named(g):
    for node in g.nodes:
        if node.target is RELU:
            node.target = TANH


def on_module(gm):
    swap(gm.graph)


def on_unknown_name(thing):
    swap(thing.graph)


def on_module_returning(gm: GraphModule) -> GraphModule:
    swap(gm.graph)
    return GraphModule(gm, gm.graph)


def on_module_pass_result(gm):
    return PassResult(gm, swap(gm.graph) > 0)


def on_module_pair(gm):
    return gm, bool(swap(gm.graph))


def on_module_flag(gm):
    return bool(swap(gm.graph))


def on_module_count(gm):
    return swap(gm.graph)


def on_module_none_or_not(gm):
    return None if swap(gm.graph) else NotImplemented


def new_graph(graph):
    copied = fx.Graph()
    values = {}
    result = copied.graph_copy(graph, values)
    copied.output(result)
    swap(copied)
    return copied


def with_inputs(gm, example_inputs):
    assert len(example_inputs) == 2 and all(isinstance(t, torch.Tensor) for t in example_inputs)
    swap(gm.graph)


def with_spread_inputs(gm, *sample_args):
    assert len(sample_args) == 2
    swap(gm.graph)


def with_optional_inputs(gm, example_inputs=()):
    assert len(example_inputs) == 2
    swap(gm.graph)


def with_settings(gm, settings):
    if settings["on"]:
        swap(gm.graph)


def replace_pattern(gm):
    return torch.fx.replace_pattern(gm, lambda x: torch.ops.aten.relu.default(x),
                                    lambda x: torch.ops.aten.tanh.default(x))


class CallPass(PassBase):
    def call(self, graph_module):
        return PassResult(graph_module, swap(graph_module.graph) > 0)


class Base:
    def __call__(self, graph: fx.Graph) -> None:
        raise NotImplementedError


class InheritsAnnotation(Base):
    def __call__(self, anything):
        swap(anything)


class Swapper(fx.Transformer):
    def call_function(self, target, args, kwargs):
        return super().call_function(TANH if target is RELU else target, args, kwargs)


class Methods:
    def run(self, gm: fx.GraphModule):
        swap(gm.graph)


def in_program(ep):
    swap(ep.graph)
    return ep


def program_in_place(exported_program: torch.export.ExportedProgram) -> None:
    swap(exported_program.graph)


def decorated(fn):
    @functools.wraps(fn)
    def inner(*args, **kwargs):
        return fn(*args, **kwargs)
    return inner


# form, kind told, claimed where it rewrites, claimed where there is nothing to rewrite
FORMS = [
    (on_graph, "graph", None, None),
    (on_annotated_graph, "graph", None, None),
    (on_alias, "graph", None, None),
    (on_graph_shortly_named, "graph", None, None),
    (decorated(on_graph), "graph", None, None),
    (swap, "graph", True, False),
    (new_graph, "graph", None, None),
    (lambda g: swap(g.owning_module.graph), "graph", True, False),
    (InheritsAnnotation(), "graph", None, None),
    (InheritsAnnotation, "graph", None, None),
    (on_module, "module", None, None),
    (on_unknown_name, "module", None, None),
    (on_module_returning, "module", None, None),
    (on_module_pass_result, "module", True, False),
    (on_module_pair, "module", True, False),
    (on_module_flag, "module", True, False),
    (on_module_count, "module", True, False),
    (on_module_none_or_not, "module", None, False),
    (replace_pattern, "module", True, False),
    (CallPass(), "module", True, False),
    (CallPass, "module", True, False),
    (Methods().run, "module", None, None),
    (functools.partial(with_settings, settings={"on": True}), "module", None, None),
    (with_inputs, "module-inputs", None, None),
    (with_spread_inputs, "module-inputs", None, None),
    (with_optional_inputs, "module-inputs", None, None),
    (functools.partial(with_inputs), "module-inputs", None, None),
    (PassManager([CallPass()]), "manager", True, False),
    (PassManager([pass_result_wrapper(on_module)]), "manager", None, None),
    (PlainManager([on_module_returning]), "manager", None, None),
    (Swapper, "transformer", None, None),
    ([on_graph, CallPass()], "list", None, None),
    ((on_module_flag, swap), "list", True, False),
]


class FormTests(unittest.TestCase):
    """Each form is run both ways: on a graph that it rewrites and on one with nothing to rewrite."""

    def setUp(self):
        torch.set_num_threads(1)

    def test_every_form_rewrites(self):
        """The kind is told, the graph is changed, and the answer is read."""
        for fn, kind, claimed, _ in FORMS:
            with self.subTest(as_pass(fn).name):
                done = run_pass(fn, example())
                self.assertEqual(done.kind, kind)
                self.assertEqual((done.changed, done.claimed), (True, claimed))
                self.assertTrue(done.after.graph.find_nodes(op="call_function", target=TANH))

    def test_every_form_leaves_alone(self):
        """A graph without the operator is unchanged, and a pass that answers says so."""
        for fn, _, _, claimed in FORMS:
            if fn is Swapper:
                continue
            with self.subTest(as_pass(fn).name):
                done = run_pass(fn, example(WITHOUT))
                self.assertEqual((done.changed, done.claimed), (False, claimed))
                self.assertEqual(done.after_text, done.before_text)

    def test_transformer_drops_types(self):
        """torch's Transformer leaves the types of the values behind, and that counts as a change."""
        done = run_pass(Swapper, example(WITHOUT))
        self.assertTrue(done.changed)
        self.assertNotIn("f32", done.after_text)
        self.assertFalse(run_pass(Swapper, example(done.after_text)).changed)

    def test_pattern_pass(self):
        """A PatternMatcherPass and its bound apply are called with the module and give a match count."""
        from torch._inductor import pattern_matcher

        patterns = pattern_matcher.PatternMatcherPass(pass_name="relu_to_tanh")

        @pattern_matcher.register_graph_pattern(pattern_matcher.CallFunctionVarArgs(RELU), pass_dict=patterns)
        def replace(match, x):
            match.replace_by_example(lambda x: TANH(x), [x])

        for form in (patterns, patterns.apply):
            told = as_pass(form)
            self.assertEqual((told.kind, told.name), ("pattern", "relu_to_tanh"))
            done = run_pass(form, example())
            self.assertEqual((done.changed, done.claimed), (True, True))
            done = run_pass(form, example(WITHOUT))
            self.assertEqual((done.changed, done.claimed), (False, False))

    def test_program(self):
        """A pass over an ExportedProgram gets its own, told by name, annotation or what it asks for."""
        class Relu(torch.nn.Module):
            def forward(self, x):
                return torch.relu(x)

        program = torch.export.export(Relu(), (torch.randn(2, 3),))
        text = str(program.graph)
        given = Example(program.graph_module, (T(2, 3),), "export", exported=program)
        for fn in (in_program, program_in_place, lambda e: swap(e.graph_signature and e.graph) > 5):
            done = run_pass(fn, given)
            self.assertEqual((done.kind, done.changed), ("program", True))
            self.assertIs(done.exported_after.graph_module, done.after)
            self.assertEqual(str(program.graph), text)
        done = run_pass(lambda ep: ep.run_decompositions({}), given)
        self.assertEqual(done.changed, False)
        with self.assertRaisesRegex(PassFormError, "use capture='export'|Use capture='export'"):
            run_pass(in_program, given.replace(exported=None, capture="make_fx"))

    def test_program_of_an_edited_graph(self):
        """A graph that was edited since its export is given as a program of its own, state as inputs."""
        text = TEXT.replace("y: \"f32[2, 3]\"", "y: \"f32[s0, 3]\"").replace("(x, y)", "(y, y)").replace(
            "\"f32[2, 3]\" =", "\"f32[s0, 3]\" =")
        done = run_pass(in_program, Example.from_text(text, T(2, 3), T("B", 3), sizes={"B": 4}))
        self.assertTrue(done.changed)
        self.assertEqual(done.exported_after.graph_signature.user_inputs, ("x", "y"))
        self.assertEqual(len(done.exported_after.range_constraints), 1)
        x, y = torch.ones(2, 3), torch.ones(5, 3)
        self.assertTrue(torch.equal(done.exported_after.module()(x, y)[0], torch.tanh(y + y)))

    def test_program_after_a_graph_pass(self):
        """In a pipeline a pass over the program follows one over the graph."""
        steps = run_pipeline({"graph": on_graph, "program": in_program, "rest": on_module}, example())
        self.assertEqual([(step.kind, step.changed) for step in steps],
                         [("graph", True), ("program", False), ("module", False)])

    def test_class_made_from_program(self):
        """A class that is made from the ExportedProgram is made anew for each run."""
        class FromProgram:
            def __init__(self, exported_program):
                self.inputs = exported_program.graph_signature.user_inputs

            def __call__(self, gm):
                assert self.inputs == ("x",)
                return PassResult(gm, swap(gm.graph) > 0)

        class Relu(torch.nn.Module):
            def forward(self, x):
                return torch.relu(x)

        program = torch.export.export(Relu(), (torch.randn(2, 3),))
        done = run_pass(FromProgram, Example(program.graph_module, (T(2, 3),), "export", exported=program))
        self.assertEqual((done.kind, done.changed, done.claimed), ("module", True, True))

    def test_methods_of_torch(self):
        """A method of Graph or GraphModule, unbound, takes that object."""
        self.assertEqual(as_pass(fx.Graph.eliminate_dead_code).kind, "graph")
        self.assertEqual(as_pass(GraphModule.delete_all_unused_submodules).kind, "module")
        self.assertEqual(run_pass(fx.Graph.eliminate_dead_code, example()).claimed, False)

    def test_annotations(self):
        """Annotations decide, as classes, as strings, as strings in quotes, inside unions and through aliases."""
        def by_string(x: torch.fx.Graph): ...
        def by_union(x: fx.GraphModule | fx.Graph): ...
        def by_result(x) -> PassResult: ...
        def by_module(graph: torch.nn.Module): ...
        def by_program(graph: torch.export.ExportedProgram): ...
        def by_parameter_alias(x: G): ...
        def by_class(x): ...
        def by_quotes(x): ...

        by_class.__annotations__["x"] = fx.Graph
        by_quotes.__annotations__["x"] = "'torch.fx.Graph'"
        kinds = [as_pass(fn).kind for fn in (by_string, by_union, by_result, by_module, by_program,
                                             by_parameter_alias, by_class, by_quotes)]
        self.assertEqual(kinds, ["graph", "module", "module", "module", "program", "graph", "graph", "graph"])

    def test_kind_overrides(self):
        """kind= wins over name and annotation; an annotation that lies is reported with the fix."""
        def lies(gm: GraphModule):
            swap(gm.owning_module.graph)

        with self.assertRaisesRegex(PassCrash, r"fxpect.as_pass\(fn, kind='graph'\)"):
            run_pass(lies, example())
        done = run_pass(as_pass(lies, kind="graph", name="honest"), example())
        self.assertEqual((done.pass_name, done.kind, done.changed), ("honest", "graph", True))

    def test_as_pass_keeps_a_pass(self):
        """A Pass is returned as it is; a new name or kind gives a new Pass of the same source."""
        first = as_pass(on_graph)
        self.assertIs(as_pass(first), first)
        self.assertEqual((as_pass(first, name="n").name, first.name), ("n", "on_graph"))
        self.assertEqual(as_pass(first, kind="module").kind, "module")
        self.assertIsInstance(first, Pass)

    def test_names(self):
        """The name is that of the function, of what a partial wraps, of the class, or of the members."""
        self.assertEqual(as_pass(functools.partial(with_settings, settings={})).name, "with_settings")
        self.assertEqual(as_pass(CallPass()).name, "CallPass")
        self.assertEqual(as_pass(Methods().run).name, "Methods.run")
        self.assertEqual(as_pass([on_graph, CallPass()]).name, "[on_graph, CallPass]")


class RefusalTests(unittest.TestCase):
    """What cannot be called is refused at once, with the way out."""

    def assertRefused(self, fn, regex, **kwargs):
        with self.assertRaisesRegex(PassFormError, regex):
            as_pass(fn, **kwargs)

    def test_things_that_are_no_pass(self):
        """A number, a model, a graph, an empty list and a program are refused by name."""
        self.assertRefused(3, "int is not callable")
        self.assertRefused(torch.nn.ReLU(), "got a ReLU, which is a model")
        self.assertRefused(example().build(), "which is a model")
        self.assertRefused(fx.Graph(), "got a Graph")
        self.assertRefused([], "one or more passes")
        self.assertRefused(PassBase, "is abstract: call must be written")
        self.assertRefused(Swapper(example().build()), "bound to one module already")

    def test_functions_that_would_not_run(self):
        """Generator functions and coroutines run nothing when called."""
        def generates(graph):
            yield graph

        async def waits(graph):
            swap(graph)

        self.assertRefused(generates, "calling it runs nothing")
        self.assertRefused(waits, "calling it runs nothing")

    def test_missing_values(self):
        """A second parameter that is no list of inputs must be bound first; the message shows how."""
        def keyword_only(gm, *, level): ...
        def three(gm, a, b): ...
        def second_typed(gm, count: int): ...
        def second_union(gm, signature: Optional[int]): ...  # noqa: UP045
        def graph_and_more(graph, example_inputs): ...
        def nothing(): ...

        self.assertRefused(with_settings, r"functools.partial\(with_settings, settings=...\)")
        self.assertRefused(keyword_only, "a value for level")
        self.assertRefused(three, "a value for a, b")
        self.assertRefused(second_typed, "count: int is not a sequence")
        self.assertRefused(second_union, r"signature: Opt\w*\[int\] is not a sequence")
        self.assertRefused(graph_and_more, "a value for example_inputs")
        self.assertRefused(nothing, "takes no argument")

    def test_kinds(self):
        """An unknown kind, and a kind that the object cannot have, are refused."""
        self.assertRefused(on_graph, "expected kind= one of " + ", ".join(KINDS), kind="grpah")
        self.assertRefused(3, "callable", kind="graph")
        self.assertRefused(on_graph, "list of one or more", kind="list")
        self.assertRefused([in_program, on_graph], "do not mix")

    def test_neither_form_fits(self):
        """A guessed pass that fits no form reports what it raised under the first guess, and keeps it."""
        def confused(thing):
            thing.graph.nodes  # noqa: B018
            thing.erase_node(None)

        told = as_pass(confused)
        for _ in range(2):
            with self.assertRaisesRegex(PassCrash, "has no attribute 'erase_node'"):
                run_pass(told, example())
            self.assertEqual(told.kind, "module")

    def test_other_attribute_errors_are_no_hint(self):
        """An AttributeError about another object is a crash of the pass, not another form."""
        def broken(gm):
            None.nodes  # noqa: B018

        told = as_pass(broken)
        with self.assertRaisesRegex(PassCrash, "'NoneType' object has no attribute 'nodes'"):
            run_pass(told, example())
        self.assertEqual(told.kind, "module")

    def test_errors_are_misuse(self):
        """A form error is an FxpectError, never a finding."""
        self.assertTrue(issubclass(PassFormError, FxpectError))
        self.assertFalse(issubclass(PassFormError, AssertionError))


if __name__ == "__main__":
    unittest.main()
