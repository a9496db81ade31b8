"""Graph texts are read back exactly, compute what the graph computes, and can do nothing else."""

import math
import random
import re
import textwrap
import unittest
import warnings
from pathlib import Path

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.fx import Graph

from fxpect.errors import GraphTextError, UnknownTargetError
from fxpect.fixtures.store import Store
from fxpect.text.parser import parse_graph
from fxpect.text.printer import graph_text
from test.unit import graphs, models

torch.set_num_threads(1)
FIXTURES = Path(__file__).parents[2] / "fixtures" / "graph_text"
# A stored graph that is not read back: one of its sizes is negative for those that are made up for its symbols.
NOT_READ_BACK = {("RewriteTests.test_pre_grad_efficient_conv_bn_eval_pass.fx", "affine, dynamic")}
# Where the functions live that passes, and one test, put into graphs; register_target allows them where such a text
# is to be read, and importing its module an operator of higher order.
HOMES_OF_TARGETS = {
    "torch._inductor.fx_passes.efficient_conv_bn_eval",
    "torch._inductor.fx_passes.post_grad",
    "torch._inductor.fx_passes.pre_grad",
    "torch.fx.experimental.merge_matmul",
    "torch.ops.higher_order.control_deps",
    "ruled_library",
}


def one_call(expression: str, name: str = "y") -> str:
    """Return a text with one call on two inputs."""
    return f'def forward(self, a: "f32[2, 3]", b: "f32[2, 3]"):\n    {name} = {expression}\n    return ({name},)\n'


class LawTests(unittest.TestCase):
    """What must hold for every graph."""

    maxDiff = None

    @settings(max_examples=40, deadline=None)
    @given(graphs.recipes, st.booleans())
    def test_text_of_parsed_text_is_the_text(self, recipe, typed):
        """graph_text(parse_graph(t)) == t, with types and without."""
        text = graph_text(graphs.build(recipe, typed=typed))

        self.assertEqual(graph_text(parse_graph(text)), text)

    @settings(max_examples=40, deadline=None)
    @given(graphs.recipes)
    def test_parsed_graph_computes_the_same(self, recipe):
        """The graph that is read back answers what the printed one answers."""
        module = graphs.build(recipe, typed=False)
        parsed = parse_graph(graph_text(module))
        parsed.load_state_dict(module.state_dict(), strict=False)
        inputs = tuple(torch.linspace(-2, 2, 6).reshape(2, 3) * scale for scale in (1.0, -0.7))

        self.assertTrue(graphs.same(models.run(parsed, inputs), models.run(module, inputs)))

    def test_stored_graphs_are_read_back(self):
        """Each stored graph prints as it is stored once it is read, but for the few that are named here."""
        failed, unknown = set(), set()
        self.enterContext(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # torch warns of a symbolic size among the arguments of a call
        for path, document in Store(FIXTURES.parent).documents():
            for case in document.cases:
                for text in filter(None, (case.before, case.expected(torch.__version__))):
                    if text.count("\ndef ") or not text.startswith("def ") or "opaque(" in text:
                        continue  # the graphs of a sequence, what is no graph, or holds what no text can
                    key = "example_value" if "capture=dynamo" in case.options else "val"
                    try:
                        graph = parse_graph(text, meta_key=key)
                        if text.strip() not in (graph_text(graph).strip(), graph_text(graph, order="program").strip()):
                            failed.add((path.rpartition('/')[2], case.title))
                    except UnknownTargetError as error:
                        unknown.add(str(error).partition("got ")[2].partition(". Only")[0])
                    except GraphTextError:
                        failed.add((path.rpartition('/')[2], case.title))

        self.assertEqual(failed, NOT_READ_BACK)
        homes = {name if name.startswith("torch.ops.") else name.rpartition(".")[0] for name in unknown}
        self.assertEqual(homes - HOMES_OF_TARGETS, set())

    def test_models_are_read_back(self):
        """The text of each capture of each model is what its parsed text prints."""
        for name, capture in models.names():
            with self.subTest(model=name, capture=capture):
                text = graph_text(models.captured(name, capture).graph)

                self.assertEqual(graph_text(parse_graph(text)), text)

    def test_models_compute_the_same(self):
        """The parsed graph of each capture answers what the captured one answers, and writes what it writes."""
        for name, capture in models.names():
            with self.subTest(model=name, capture=capture):
                found = models.captured(name, capture)
                parsed = parse_graph(graph_text(found.module))
                parsed.load_state_dict(found.module.state_dict(), strict=False)

                self.assertTrue(graphs.same(outcome(parsed, found.arguments), outcome(found.module, found.arguments)))

    def test_models_are_rebuilt_node_by_node(self):
        """In program order, each node comes back with its kind, target, arguments and type, tuple for tuple."""
        for name, capture in models.names():
            with self.subTest(model=name, capture=capture):
                module = models.captured(name, capture).module
                text = graph_text(module, order="program")
                parsed = parse_graph(text)

                self.assertEqual(graph_text(parsed, order="program"), text)
                self.assertEqual(skeleton(parsed), skeleton(module))

    def test_types_alone_are_left_out(self):
        """A text without types is read back without metadata, and prints the same."""
        for name in ("mlp", "branch", "dynamic"):
            text = graph_text(models.captured(name, "dynamo").graph, types=False)
            parsed = parse_graph(text)

            self.assertEqual(graph_text(parsed), text)
            self.assertFalse(any("val" in node.meta or "example_value" in node.meta for node in parsed.graph.nodes))


def outcome(module, arguments):
    """Return what a module answers, or the name of the error it raises, starting from its own state each time."""
    state = {key: value.detach().clone() for key, value in module.state_dict().items()}
    try:
        return models.run(module, arguments)
    except Exception as error:
        return type(error).__name__
    finally:
        module.load_state_dict(state)


def skeleton(module):
    """Return what each node is: nodes as numbers, attributes by what they hold, operands of cond as tuples."""
    numbers, found = {}, []
    for node in module.graph.nodes:
        numbers[node] = f"%{len(numbers)}"
        target = node.target
        if node.op in ("get_attr", "placeholder", "output"):
            target = None
        args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), numbers.__getitem__)
        if getattr(target, "__name__", "") in ("cond", "while_loop"):
            args = tuple(tuple(item) if isinstance(item, list) else item for item in args)
        attribute = module.get_submodule(node.target) if node.op == "call_module" else None
        if node.op == "get_attr":
            owner, _, last = node.target.rpartition(".")
            attribute = getattr(module.get_submodule(owner), last)
        inner = skeleton(attribute) if isinstance(attribute, torch.fx.GraphModule) else type(attribute)
        words = [word for word in map(repr, (args, dict(kwargs))) if "Runtime assertion" not in word]
        found.append((node.op, target if node.op != "call_module" else None, words, inner))
    return found


class ReadingTests(unittest.TestCase):
    """What a person may write."""

    maxDiff = None

    def test_types_are_filled_in_where_only_inputs_have_them(self):
        """A text with typed inputs alone gets the other types by propagation, under the key of its level."""
        text = one_call("torch.cat([a, b], dim=-1)")
        parsed = parse_graph(text)

        self.assertIn('y: "f32[2, 6]" = torch.cat([a, b], dim=-1)'.replace("y:", "cat:"), graph_text(parsed))
        self.assertIn("example_value", list(parsed.graph.nodes)[2].meta)
        aten = parse_graph(one_call("torch.ops.aten.mm.default(a, b)").replace('b: "f32[2, 3]"', 'b: "f32[3, 2]"'))
        self.assertEqual(tuple(list(aten.graph.nodes)[2].meta["val"].shape), (2, 2))

    def test_recorded_types_are_kept_as_written(self):
        """A type in the text is believed, even when the operator would give another one; "?" leaves it out."""
        text = one_call("torch.relu(a)", "relu").replace("relu =", 'relu: "f16[5]" =')
        parsed = parse_graph(text)
        self.assertEqual(list(parsed.graph.nodes)[2].meta["example_value"].dtype, torch.float16)
        self.assertEqual(graph_text(parsed), text)

        unknown = text.replace("f16[5]", "?")
        self.assertEqual(list(parse_graph(unknown).graph.nodes)[2].meta, {})
        self.assertEqual(graph_text(parse_graph(unknown)), unknown)

    def test_what_has_no_type_stays_without(self):
        """Among typed values one without a type is recorded as None, as torch does; a text of its own says no more."""
        text = ('def forward(self, a: "f32[2, 3]"):\n    relu: "f32[2, 3]" = torch.relu(a)\n'
                '    _vmap_increment_nesting = torch._functorch.predispatch._vmap_increment_nesting(3, \'error\')\n'
                "    return (relu,)\n")
        metas = [node.meta for node in parse_graph(text).graph.nodes]

        self.assertEqual(metas[2], {"example_value": None})
        self.assertEqual(graph_text(parse_graph(text)), text)
        switch = text.replace("torch._functorch.predispatch._vmap_increment_nesting(3, 'error')",
                              "torch._C._set_grad_enabled(False)").replace("_vmap_increment_nesting", "switch")
        self.assertEqual(list(parse_graph(switch).graph.nodes)[2].meta, {})

    def test_comparisons_are_kept_as_made(self):
        """A range that was learned later does not turn a comparison into a constant."""
        text = ('def forward(self, a: "i64[]"):\n    s0: "0 <= s0 <= 99"\n    item: "SymInt(s0)" = a.item()\n'
                '    ge: "SymBool(s0 >= 0)" = operator.ge(item, 0)\n'
                '    lt: "SymBool(s0 < 100)" = operator.lt(item, 100)\n    return (ge, lt)\n')

        self.assertEqual(graph_text(parse_graph(text)), text)

    def test_meta_key_can_be_chosen(self):
        """meta_key says where the types go."""
        text = one_call("torch.relu(a)")

        self.assertIn("val", list(parse_graph(text, meta_key="val").graph.nodes)[0].meta)
        with self.assertRaisesRegex(GraphTextError, "expected meta_key"):
            parse_graph(text, meta_key="other")

    def test_sizes_give_symbols_their_example(self):
        """A symbol gets the example size that is asked for, otherwise one inside its range."""
        text = 'def forward(self, x: "f32[s0, s1]"):\n    s0: "2 <= s0 <= 5"\n    return (x,)\n'
        value = list(parse_graph(text, sizes={"s1": 7}).graph.nodes)[0].meta["example_value"]

        self.assertEqual([size.node.hint for size in value.shape], [5, 7])

    def test_layout_of_the_text_is_free(self):
        """Indentation, single quotes, comments and line breaks are the writer's own."""
        text = """
            # a comment
            def forward(self,
                        x: 'f32[2, 8]',
                        y: 'f32[2, 2]'):
              joined = torch.cat([x,
                                  y], dim=-1)  # joined
              return (joined.relu(),) if False else None
        """
        with self.assertRaisesRegex(GraphTextError, "line 8: expected a constant or a value"):
            parse_graph(text)
        parsed = parse_graph(text.replace("(joined.relu(),) if False else None", "joined,"))

        self.assertEqual(graph_text(parsed), textwrap.dedent("""\
            def forward(self, x: "f32[2, 8]", y: "f32[2, 2]"):
                cat: "f32[2, 10]" = torch.cat([x, y], dim=-1)
                return (cat,)
            """))

    def test_constants_are_read_back_exactly(self):
        """Every kind of constant keeps its type and its bits."""
        constants = [1, -1, True, False, None, 0.0, -0.0, 1.5, -2.5e-30, math.inf, -math.inf, math.nan, "text'\"\n",
                     b"\x00b", complex(0.0, -0.0), complex(math.nan, math.inf), ..., torch.float32, torch.bool,
                     torch.quint8, torch.device("cpu"), torch.device("cuda", 1), torch.channels_last, torch.strided,
                     torch.sparse_coo, torch.per_tensor_affine, slice(None), slice(1, None, -2), range(1, 5, 2), (),
                     (1,), [1, [2, (3,)]], [], {"a": 1, 2: [None]}, torch.ops.aten.add.Tensor]
        graph = Graph()
        x = graph.placeholder("x")
        for constant in constants:
            graph.call_function(torch.relu, (x, constant), {"key": constant})
        graph.output(x)
        parsed = parse_graph(graph_text(graph, order="program"))

        for constant, node in zip(constants, [node for node in parsed.graph.nodes if node.op == "call_function"]):
            with self.subTest(constant=constant):
                for got in (node.args[1], node.kwargs["key"]):
                    self.assertEqual(repr(got), repr(torch.fx.node.map_arg(constant, lambda n: n)))
                    self.assertEqual(got == got, constant == constant)

    def test_attributes_are_declared(self):
        """A declared tensor has its type and the same numbers each time; a module is built as written."""
        text = textwrap.dedent("""\
            def forward(self, x: "f32[2, 4]"):
                self.weight: "f32[3, 4](parameter=True)"
                self.mask: "b8[3]" = [True, False, True]
                self.again = self.weight
                self["block.0"] = torch.nn.Linear(4, 3, bias=False).eval()
                weight: "f32[3, 4]" = self.weight
                mask: "b8[3]" = self.mask
                again: "f32[3, 4]" = self.again
                _block_0: "f32[2, 3]" = self["block.0"](x)
                return (weight, mask, again, _block_0)
            """).replace("_block_0", "block_0")
        parsed = parse_graph(text)

        self.assertEqual(graph_text(parsed), text)
        self.assertIsInstance(parsed.weight, torch.nn.Parameter)
        self.assertIs(parsed.weight, parsed.again)
        self.assertEqual(parsed.mask.tolist(), [True, False, True])
        self.assertFalse(parsed.get_submodule("block.0").training)
        self.assertTrue(torch.equal(parsed.weight, parse_graph(text).weight))
        before = torch.get_rng_state()
        parse_graph(text)
        self.assertTrue(torch.equal(before, torch.get_rng_state()), "the global random state moved")

    def test_missing_default_and_starred_inputs(self):
        """Defaults and starred inputs are kept."""
        text = "def forward(self, x, y=3, *rest, **more):\n    add = torch.add(x, y)\n    return (add, rest, more)\n"

        self.assertEqual(graph_text(parse_graph(text)), text)


class RefusalTests(unittest.TestCase):
    """A text that is wrong or hostile gives a GraphTextError with its line, and nothing happens."""

    def refuse(self, text, pattern, kind=GraphTextError):
        with self.assertRaisesRegex(kind, pattern):
            parse_graph(text)

    def test_forbidden_callables(self):
        """A callable that is no operator is refused with its name and line, called or passed on."""
        for name in ("os.system", "torch.load", "torch.save", "torch.compile", "torch.hub.load", "torch.jit.load",
                     "torch.ops.load_library", "torch.ops.import_module", "torch.classes.load_library", "eval", "exec",
                     "open", "__import__", "operator.attrgetter", "operator.methodcaller", "operator.itemgetter",
                     "operator.call", "torch.ops.aten.from_file.default", "torch.from_file",
                     "torch.ops.debugprims.load_tensor.default", "torch.ops.aten.add.__init__",
                     "torch.ops.aten.__class__", "torch.ops.__class__.x.y", "torch.Tensor.__reduce_ex__",
                     "torch.Tensor.__class__", "torch.Tensor.apply_", "torch._C._jit_get_schemas",
                     "torch.nn.functional.__builtins__", "torch.overrides.os.system", "torch.utils.cpp_extension.load",
                     "math.__loader__", "torch.autograd.Function", "torch.nn.Linear", "builtins.eval",
                     "torch.set_num_threads", "torch.functional.__loader__.load_module", "torch.serialization.load",
                     "torch.vmap", "torch.export.load"):
            for call in (f"{name}('x')", f"torch.add(a, {name})"):
                with self.subTest(call=call):
                    self.refuse(one_call(call), rf"line 2: .*{name.split('.')[-1]}", GraphTextError)
        self.refuse(one_call("os.system('true')"), "expected an operator; got os.system", UnknownTargetError)

    def test_forbidden_methods_and_attributes(self):
        """Methods that run code or touch files, dunder names, undeclared attributes and other syntax are refused."""
        for call in ("a.__reduce_ex__(2)", "a.__class__()", "a.apply_(b)", "a.register_hook(b)", "a.numpy()",
                     "a.tofile('x')", "a.storage()", "a.__init_subclass__()", "getattr(a, '__class__')",
                     "getattr(a, b)", "getattr(a)", "self.forward(a)", "self.__class__(a)", "self.graph",
                     "a.shape.__class__()", "(lambda: a)()", "a.relu().relu()", "[a for _ in b]", "f'{a}'",
                     "a if a else b", "a + b", "not a", "a[0]", "torch.add(*a)", "torch.add(a, **b)", "(y := a)",
                     "torch.add(a, (yield))"):
            with self.subTest(call=call):
                self.refuse(one_call(call), "line 2|line 1|Python")

    def test_forbidden_declarations(self):
        """Declarations that would replace what a module needs, or build anything but a torch.nn module, are refused."""
        for line in ("self.forward = 3", "self._parameters = 3", "self.__class__ = 3", "self.training = 3",
                     "self.graph = 3", "self.m = torch.nn.Sequential()", "self.m = torch.nn.Module()",
                     "self.m = os.system('x')", "self.m = torch.nn.Linear('x')",
                     "self.m = torch.nn.modules.Linear(2, 2)", 'self.m: "f99[2]"',
                     'self.m: "f32[2]" = [1.0, 2.0, 3.0]', 'self.m: "f32[2, __import__]"', 'self.m: "f32[2](cls=x)"',
                     "self.m = self.other", "self.m, self.n = 3", "del self", "import os", "x += 1", "global x",
                     "for i in self: pass", "class A: pass", "self['a']['b'] = 3", 'self.m = opaque("x.Y")'):
            with self.subTest(line=line):
                self.refuse(f"def forward(self, a):\n    {line}\n    return (a,)\n", "line [123]|Python")

    def test_forbidden_shapes_of_text(self):
        """Anything but one function of one kind is refused."""
        for text in ("", "x = 1", "def f(self):\n    return None\ndef g(self):\n    return None\n",
                     "def f(x):\n    return x\n", "def f(self, x, /):\n    return x\n",
                     "def f(self, *, x):\n    return x\n", "def f(self, x):\n    x = 3\n",
                     "def f(self, x):\n    return x\n    return x\n",
                     "def f(self, x):\n    x = torch.add(x, 1)\n    return x\n",
                     "def f(self, x):\n    y = torch.add(y, 1)\n    return x\n", "async def f(self):\n    return 1\n",
                     "@property\ndef f(self, x):\n    return x\n", "@a(b)\ndef f(self, x):\n    return x\n",
                     "@a.b(1)\ndef f(self, x):\n    return x\n", "@a(*b)\ndef f(self, x):\n    return x\n",
                     "def f(self, x: int):\n    return x\n",
                     "def f(self, x):\n    y: int = torch.relu(x)\n    return y\n",
                     "def f(self, x, x):\n    return x\n", "def f(self, x):\n    pass\n    y = 3\n    return y\n",
                     'def f(self, x: "f32[2"):\n    return x\n',
                     'def f(self, x: "f32[s0]"):\n    s0: "s0 <= s0"\n    return x\n',
                     'def f(self, x: "f32[a.b]"):\n    return x\n', "\x00",
                     "def f(self):\n\treturn None\n        return None\n"):
            with self.subTest(text=text):
                self.refuse(text, "")
        with self.assertRaises(GraphTextError):
            parse_graph(3)

    def test_deep_and_enormous_texts(self):
        """Nesting without end is a GraphTextError, not a RecursionError or a crash."""
        deep = 20_000
        levels = "".join(f"{' ' * level}def g(self):\n" for level in range(1, 120))
        nested = f"def f(self):\n{levels}{' ' * 120}pass\n"
        for text in (one_call("[" * deep + "]" * deep), one_call("(" * deep),
                     one_call("torch.add(" * deep + ")" * deep), one_call("-" * deep + "1"),
                     one_call("torch.add(a, " + "-" * deep + "1)"), one_call("not " * deep + "a"),
                     one_call("a" + ".b" * deep), one_call("a" + ".b()" * deep), one_call("a" + " + a" * deep),
                     one_call("torch.add(a, " + "[" * 100 + "]" * 100 + ")"), one_call("a" + "[0]" * deep), nested,
                     one_call("lambda: " * deep + "1"), one_call("1 if a else " * deep + "1"),
                     one_call("~" * deep + "a"), one_call("- " * deep + "1"), one_call("await " * deep + "1"),
                     one_call("torch.add(a, {1: " * 140),
                     'def f(self, x: "f32[' + "(" * deep + '2]"):\n    return x\n',
                     'def f(self, x: "f32[' + "-" * 5000 + '2]"):\n    return x\n',
                     'def f(self, x: "' + "(" * deep + '"):\n    return x\n',
                     'def f(self, x: "' + "[" * deep + "]" * deep + '"):\n    return x\n',
                     'def f(self, x: "f32[2**9**9**9]"):\n    return x\n',
                     'def f(self, x: "f32[LShift(1, 10000000000)]"):\n    return x\n',
                     'def f(self, x):\n    self.w: "f32[9999999, 9999999]"\n    return x\n',
                     "def f(self, x):\n    self.w = torch.nn.Linear(9999999, 9999999)\n    return x\n",
                     'def f(self, x: "f32[' + "9" * 5000 + ']"):\n    return x\n',
                     one_call("torch.add(a, " + "9" * 5000 + ")")):
            with self.subTest(text=text[:80]):
                self.refuse(text, "")

    def test_what_does_not_type_is_told_with_its_node(self):
        """Where types are filled in, an operator that does not take them is named."""
        self.refuse(one_call("torch.mm(a, b)"), r"does not fit the types of its inputs: .*while propagating through %y")

    def test_damaged_texts(self):
        """A stored text with one token exchanged is read or refused, and what is read prints the same again."""
        chooser, words = random.Random(0), re.compile(r"\w+|\s+|[^\w\s]")
        texts = [words.findall(path.read_text(encoding="utf-8")) for path in sorted(FIXTURES.glob("*.dynamo.txt"))]
        self.enterContext(warnings.catch_warnings())
        warnings.simplefilter("ignore", SyntaxWarning)  # of Python, about code that torch generates from odd graphs
        read = 0
        for _ in range(1500):
            tokens = list(chooser.choice(texts))
            tokens[chooser.randrange(len(tokens))] = chooser.choice(chooser.choice(texts))
            try:
                text = graph_text(parse_graph("".join(tokens)))
            except GraphTextError:
                continue
            read += 1
            self.assertEqual(graph_text(parse_graph(text)), text)
        self.assertGreater(read, 50)

    def test_long_texts_are_read(self):
        """Length alone is no fault: thousands of lines are read."""
        lines = ["def forward(self, a):", *[f"    relu_{n} = torch.relu(a)" for n in range(3000)], "    return (a,)"]

        self.assertEqual(len(parse_graph("\n".join(lines)).graph.nodes), 3002)


if __name__ == "__main__":
    unittest.main()
