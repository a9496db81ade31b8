"""Functions with a backward of their own: their two bodies in the graph, what is saved, and the gradients.

Mirrors test/dynamo/test_autograd_function.py of PyTorch. Guards that a ``torch.autograd.Function`` becomes one
``autograd_function_apply`` whose bodies are what was written, that its gradients are those of eager whichever inputs
need them, and that passes over the forward and backward graphs keep both. Would have caught the derivative of the
forward in the place of the backward that was written (https://github.com/pytorch/pytorch/issues/193279, in 2.13), and
https://github.com/pytorch/pytorch/issues/184113, https://github.com/pytorch/pytorch/issues/180642 and
https://github.com/pytorch/pytorch/issues/133491. Functions that call Triton need a GPU.
"""

import contextlib
import enum
import functools
import io
import itertools
import operator

import torch
from hypothesis import strategies as st
from torch._dynamo.exc import Unsupported
from torch.fx.passes.dialect.common.cse_pass import CSEPass

import fxpect
from fxpect import T
from fxpect.compiling import RecordingBackend

explore = functools.partial(fxpect.explore, max_examples=5)
SIZES = st.integers(1, 4)
FACTORS = st.integers(1, 5)
TORCH = tuple(map(int, torch.__version__.split(".")[:2]))
APPLY = torch.ops.higher_order.autograd_function_apply


def leaf(*shape, **options):
    """Return the spec of an input that requires a gradient."""
    return T(*shape, requires_grad=True, **options)


def apply_node(sequence):
    """Return the one ``autograd_function_apply`` of the one graph."""
    (graph,) = sequence.graphs
    (node,) = graph.graph_module.graph.find_nodes(op="call_function", target=APPLY)
    return node


def scaled_square(factor, saved="input"):
    """Return the function x*x*factor; its backward is right where it saves the input, and of its own otherwise."""

    class ScaledSquare(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            square = x * x
            y = square * factor
            kept = {"input": (x,), "output": (y,), "intermediate": (square,), "none": (), "input and output": (x, y)}
            ctx.save_for_backward(*kept[saved])
            return y

        @staticmethod
        def backward(ctx, gradient):
            for tensor in ctx.saved_tensors:
                gradient = gradient * tensor
            return gradient * 2 * factor

    return ScaledSquare


class AutogradFunctionTests(fxpect.CompileTestCase):
    """A function is one operator with a forward and a backward body."""

    @explore(FACTORS, SIZES)
    def test_bodies(self, factor, size):
        """The graph has one apply, with both bodies as they were written, each under no_grad."""
        function = scaled_square(factor)

        parts = self.assertCompiles(lambda x: function.apply(x) + 1, leaf(size), graphs=1, fullgraph=True)

        self.assertOps(parts.graphs[0].example, {APPLY: 1, "operator.mul": 5, "operator.add": 1})
        self.assertGraph(parts.graphs[0].example)

    @explore(st.sampled_from(["input", "output", "intermediate", "none", "input and output"]), SIZES)
    def test_what_is_saved(self, saved, size):
        """The forward body gives what it saves, and no more; the backward body takes it."""
        function = scaled_square(3, saved)

        parts = self.assertCompiles(function.apply, leaf(size), graphs=1, fullgraph=True)

        node, count = apply_node(parts), {"none": 0, "input and output": 2}.get(saved, 1)
        self.assertEqual(node.kwargs["saved_for_backward_idx"], list(range(count)))
        forward, backward = (getattr(parts.graphs[0].graph_module, body.target) for body in node.args[:2])
        self.assertEqual(len(forward.graph.output_node().args[0][1]), count)
        self.assertEqual(len(backward.graph.find_nodes(op="placeholder")), 1 + count)

    @explore(st.integers(2, 4), SIZES)
    def test_called_more_than_once(self, count, size):
        """Each call has bodies of its own, and the gradients go through all of them."""
        functions = [scaled_square(factor) for factor in range(1, count + 1)]

        def model(x):
            return functools.reduce(lambda y, function: function.apply(y) * 0.5, functions, x)

        parts = self.assertCompiles(model, leaf(size, dtype="f64"), graphs=1, fullgraph=True)

        self.assertOps(parts.graphs[0].example, {APPLY: count})

    @explore(st.integers(0, 3), st.integers(0, 2), SIZES, max_examples=3)
    def test_dynamic_dims(self, before, after, size):
        """A symbol of the inputs is an operand of the apply, wherever the dynamic dim stands."""
        function = scaled_square(2)
        shape = (*range(2, 2 + before), "B", *range(2, 2 + after))

        parts = self.assertCompiles(function.apply, leaf(*shape), graphs=1, fullgraph=True)

        symbol, x = apply_node(parts).args[2:]
        self.assertEqual((symbol.meta["example_value"], x.meta["example_value"].shape[before]),
                         (x.meta["example_value"].shape[before], symbol.meta["example_value"]))  # fmt: skip
        self.assertText(parts.text)


class PassTests(fxpect.CompileTestCase):
    """Passes over the graphs that AOT autograd makes of a function."""

    @explore(st.integers(2, 3), SIZES, st.booleans())
    def test_common_subexpressions(self, copies, size, saves):
        """Equal products in the forward and backward bodies are merged in the ATen graphs; all gradients stay."""

        def repeated(x, y):
            return functools.reduce(operator.add, [x * y for _ in range(copies)])

        class Repeats(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return repeated(x, torch.full_like(x, 2)) if saves else x * 2

            @staticmethod
            def backward(ctx, gradient):
                (x,) = ctx.saved_tensors
                return repeated(gradient, x)

        backend = RecordingBackend(aot=True, aten_pass=CSEPass())

        with torch._functorch.config.patch(cse=False):  # else AOT does it itself
            self.assertCompiles(Repeats.apply, leaf(size), graphs=1, backend=backend)

        (forward,), (backward,) = backend.forward, backend.backward
        verb, ops = (self.assertRewrites, (copies, 1)) if saves else (self.assertUnchanged, (1, 1))
        verb(CSEPass(), forward.example, ops={"aten.mul.Tensor": ops}, label="forward")
        self.assertRewrites(CSEPass(), backward.example, ops={"aten.mul.Tensor": (copies, 1)}, label="backward")

    @explore(FACTORS, SIZES, st.booleans())
    def test_partition(self, factor, size, cut):
        """Forward and backward graph are the two bodies, under the default partition and the one that cuts least."""
        from functorch.compile import default_partition, min_cut_rematerialization_partition

        partition = min_cut_rematerialization_partition if cut else default_partition
        backend = RecordingBackend(aot={"partition_fn": partition})

        self.assertCompiles(scaled_square(factor).apply, leaf(size), graphs=1, backend=backend)

        (forward,), (backward,) = backend.forward, backend.backward
        self.assertOps(forward.example, {"aten.mul.Tensor": 2})
        self.assertOps(backward.example, {"aten.mul.Tensor": 3})
        self.assertText(f"{forward.text}\n{backward.text}")

    @explore(FACTORS, SIZES, max_examples=3)
    def test_pass_over_the_torch_level_graph(self, factor, size):
        """A pass before autograd sees the apply as one operator, and what is around it is rewritten."""
        function = scaled_square(factor)

        def model(x):
            return function.apply(torch.sin(x)) + function.apply(torch.sin(x))

        self.assertRewrites(CSEPass(), model, leaf(size), ops={"torch.sin": (2, 1), APPLY: (2, 2)})


class Color(enum.Enum):
    """A constant of a class of its own."""

    RED = 3


class ArgumentTests(fxpect.CompileTestCase):
    """Arguments that are no tensors, and tensors that need no gradient."""

    CONSTANTS = {"int": 3, "None": None, "bool": True, "tuple": (1, 3), "float": 1.5, "enum": Color.RED, "str": "x"}

    @explore(st.lists(st.sampled_from(sorted(CONSTANTS)), max_size=3), st.integers(0, 3))
    def test_constants(self, kinds, place):
        """Wherever constants stand, the gradients reach the tensors, and the constants are inputs of no body."""
        place = min(place, len(kinds))
        number = len(kinds) + 2

        class Mixed(torch.autograd.Function):
            @staticmethod
            def forward(ctx, *args):
                x, y = args[place], args[-1]
                ctx.save_for_backward(x, y)
                ctx.count = sum(1 for arg in args if not isinstance(arg, torch.Tensor))
                return x * y * (ctx.count + 1)

            @staticmethod
            def backward(ctx, gradient):
                x, y = ctx.saved_tensors
                found = [None] * number
                found[place], found[-1] = gradient * y * 2, gradient * x * 3 + ctx.count
                return tuple(found)

        constants = [self.CONSTANTS[kind] for kind in kinds]

        def model(x, y):
            return Mixed.apply(*constants[:place], x, *constants[place:], y)

        parts = self.assertCompiles(model, leaf(3), leaf(3), graphs=1, fullgraph=True)

        self.assertEqual(len(apply_node(parts).args), 4)

    @explore(st.integers(1, 3), SIZES, max_examples=3)
    def test_needs_input_grad(self, count, size):
        """For every choice of inputs, those alone that require a gradient get one, and the others None."""

        class Product(torch.autograd.Function):
            @staticmethod
            def forward(ctx, *factors):
                ctx.save_for_backward(*factors)
                return functools.reduce(torch.mul, factors)

            @staticmethod
            def backward(ctx, gradient):
                factors, found = ctx.saved_tensors, []
                for i, needed in enumerate(ctx.needs_input_grad):
                    rest = factors[:i] + factors[i + 1:]
                    found.append(functools.reduce(torch.mul, rest, gradient) * 2 if needed else None)
                return tuple(found)

        for mask in itertools.product([True, False], repeat=count):
            with self.subTest(mask=mask):
                specs = [T(size, requires_grad=needed) for needed in mask]
                parts = self.assertCompiles(Product.apply, *specs, graphs=1, fullgraph=True)

                if any(mask):  # nothing is applied where nothing needs a gradient
                    backward = getattr(parts.graphs[0].graph_module, apply_node(parts).args[1].target)
                    found = backward.graph.output_node().args[0]
                    self.assertEqual([node is not None for node in found], list(mask))

    @explore(SIZES, max_examples=3)
    def test_same_tensor_twice(self, size):
        """For one tensor in two places dynamo breaks, and both gradients are added as eagerly."""

        class Quotient(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x, y):
                ctx.save_for_backward(x, y)
                return x * x / y

            @staticmethod
            def backward(ctx, gradient):
                x, y = ctx.saved_tensors
                return gradient * x, gradient * y * 3

        parts = self.assertCompiles(lambda x: Quotient.apply(x, x), leaf(size, values="ones"))

        self.assertEqual([str(one.reason) for one in parts.breaks],
                         ["autograd.Function.apply: duplicate tensor input (gb6297)"])  # fmt: skip


class MutationTests(fxpect.CompileTestCase):
    """Functions that write to their input, or to what they make."""

    @explore(FACTORS, st.booleans(), st.booleans(), SIZES)
    def test_mark_dirty(self, factor, used, aot, size):
        """A dirty input is written for the caller too, whether he takes the output or the input itself."""

        class Scales(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.mark_dirty(x)
                x.mul_(factor)
                return x

            @staticmethod
            def backward(ctx, gradient):
                return gradient * factor * 2

        def model(x):
            y = x.clone()
            z = Scales.apply(y)
            return z + 1 if used else y + 1

        parts = self.assertCompiles(model, leaf(size), graphs=1, fullgraph=True, aot=aot)

        self.assertEqual(apply_node(parts).kwargs["dirty_idx"], [0])
        self.assertText(parts.text)

    def test_dirty_result_of_a_write(self):
        """The result of a write is the dirty input itself, which dynamo does not see, and refuses."""

        class Scales(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.mark_dirty(x)
                return x.mul_(2)

            @staticmethod
            def backward(ctx, gradient):
                return gradient * 2

        def model(x):
            return Scales.apply(x.clone())

        self.assertCompiles(model, leaf(3))
        with self.assertRaisesRegex(Unsupported, "mark_dirty input not returned"):
            self.assertCompiles(model, leaf(3), fullgraph=True)

    @explore(FACTORS, SIZES, st.booleans())
    def test_written_inside(self, factor, size, aot):
        """Writes to what the forward body made stay inside it, that of a constant to a part of it too."""

        class Inside(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                y = x + 1
                y.mul_(factor)
                y[0] = 0
                ctx.save_for_backward(y)
                return y.clone()

            @staticmethod
            def backward(ctx, gradient):
                (y,) = ctx.saved_tensors
                gradient = gradient * y
                gradient.add_(1)
                return gradient

        self.assertCompiles(Inside.apply, leaf(size), graphs=1, fullgraph=True, aot=aot)

    @explore(st.sampled_from(["view", "slice", "the input", "view_as", "copy"]), st.integers(2, 4), st.booleans())
    def test_output_that_is_a_view(self, kind, size, aot):
        """An output that aliases the input does so for the caller as well; the input itself becomes a view of it."""

        class Views(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return {"view": lambda: x.view(-1), "slice": lambda: x[:1], "the input": lambda: x,
                        "view_as": lambda: x.view_as(x), "copy": lambda: x.clone()}[kind]()  # fmt: skip

            @staticmethod
            def backward(ctx, gradient):
                return gradient.sum() * torch.ones(size, 2)

        parts = self.assertCompiles(Views.apply, leaf(size, 2), graphs=1, fullgraph=True, aot=aot)

        self.assertEqual("view_as" in parts.text, kind in ("the input", "view_as"))


class OutputTests(fxpect.CompileTestCase):
    """Functions with several outputs."""

    @staticmethod
    def three(materialize=True, marked=()):
        """Return a function with three outputs, those in ``marked`` without a gradient."""

        class Three(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x, y):
                ctx.set_materialize_grads(materialize)
                outputs = x * 2, x * y, y + 1
                ctx.save_for_backward(x, y)
                ctx.mark_non_differentiable(*[outputs[i] for i in marked])
                return outputs

            @staticmethod
            def backward(ctx, a, b, c):
                x, y = ctx.saved_tensors
                for_x, for_y = torch.zeros_like(x), torch.zeros_like(y)
                if a is not None:
                    for_x = for_x + a * 2
                if b is not None:
                    for_x, for_y = for_x + b * y, for_y + b * x
                if c is not None:
                    for_y = for_y + c + 1
                return for_x, for_y

        return Three

    @explore(st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True), st.booleans(), max_examples=6)
    def test_unused_outputs(self, used, aot):
        """Outputs that nobody uses get zeros: the gradients of those that are used are those of eager."""
        function = self.three()

        def model(x, y):
            outputs = function.apply(x, y)
            return [outputs[i] for i in used]

        self.assertCompiles(model, leaf(3), leaf(3), graphs=1, aot=aot)

    @explore(st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True), max_examples=4)
    def test_materialized_all_the_same(self, used):
        """set_materialize_grads(False) is not heeded: the backward body gets zeros where eager gives None."""
        function = self.three(materialize=False)

        def model(x, y):
            outputs = function.apply(x, y)
            return [outputs[i] for i in used]

        if 2 in used:
            self.assertCompiles(model, leaf(3), leaf(3), graphs=1)
        else:
            with self.assertRaisesRegex(fxpect.CheckFailure, "gradient of input 1"):
                self.assertCompiles(model, leaf(3), leaf(3), graphs=1)

    @explore(st.lists(st.integers(0, 2), min_size=1, max_size=2, unique=True), max_examples=4)
    def test_mark_non_differentiable(self, marked):
        """A marked output needs no gradient; the apply lists it."""
        function = self.three(marked=sorted(marked))

        parts = self.assertCompiles(function.apply, leaf(3), leaf(3), graphs=1, fullgraph=True)

        self.assertEqual([not value.requires_grad for value in parts.value], [i in marked for i in range(3)])
        self.assertEqual(apply_node(parts).kwargs["non_differentiable_idx"], sorted(marked))

    @explore(st.sampled_from([3, None, "x", 1.5]), st.booleans(), max_examples=3)
    def test_constant_output(self, constant, first):
        """A constant beside a tensor comes back as it is, in its place."""

        class Beside(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return (constant, x * 2) if first else (x * 2, constant)

            @staticmethod
            def backward(ctx, *gradients):
                return gradients[first] * 4

        self.assertCompiles(Beside.apply, leaf(3))

    @explore(SIZES, max_examples=2)
    def test_list_of_outputs(self, size):
        """A list is a constant for eager, without gradients; dynamo takes it for a tuple."""

        class Listed(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return [x * 2, x * 3]

            @staticmethod
            def backward(ctx, *gradients):
                return gradients[0] * 4

        with self.assertRaisesRegex(fxpect.CheckFailure, "requires_grad: expected False; got True"):
            self.assertCompiles(lambda x: Listed.apply(x)[1], leaf(size))


class TransformTests(fxpect.CompileTestCase):
    """A function under torch.func.grad."""

    @explore(st.integers(0, 3), SIZES)
    def test_own_backward_is_kept(self, factor, size):
        """2.13 differentiates the forward and does not look at the backward that was written; 2.15 and eager use it."""

        class Sine(torch.autograd.Function):
            @staticmethod
            def forward(x):
                return torch.sin(x)

            @staticmethod
            def setup_context(ctx, inputs, output):
                pass

            @staticmethod
            def backward(ctx, gradient):
                return gradient * factor

        def model(x):
            return torch.func.grad(lambda x: Sine.apply(x).sum())(x)

        x = torch.linspace(0, 1, size)

        compiled = torch.compile(model, backend="eager", fullgraph=True)(x)

        self.assertTrue(torch.equal(model(x), torch.full_like(x, factor)))
        self.assertTrue(torch.equal(compiled, model(x) if TORCH >= (2, 15) else torch.cos(x)))


class GraphBreakTests(fxpect.CompileTestCase):
    """What cannot be traced inside a body."""

    @explore(FACTORS, SIZES, max_examples=3)
    def test_break_in_forward(self, factor, size):
        """The function runs eagerly with its forward in parts, and the rest of the caller is a graph."""

        class Breaks(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                y = x.sin()
                torch._dynamo.graph_break()
                return y * factor

            @staticmethod
            def backward(ctx, gradient):
                return gradient * 7

        def model(x):
            return Breaks.apply(x) + 1

        parts = self.assertCompiles(model, leaf(size), graphs=3)

        self.assertText(parts.text)
        with self.assertRaisesRegex(Unsupported, "graph_break"):
            self.assertCompiles(model, leaf(size), fullgraph=True)

    def test_print_in_backward(self):
        """A side effect in a backward body is refused where breaks are, and happens once otherwise."""

        class Prints(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x.sin()

            @staticmethod
            def backward(ctx, gradient):
                print("backward")
                return gradient * 2

        with contextlib.redirect_stdout(io.StringIO()) as printed:
            self.assertCompiles(Prints.apply, leaf(3))
            with self.assertRaisesRegex(Unsupported, "print"):
                self.assertCompiles(Prints.apply, leaf(3), fullgraph=True)
        self.assertEqual(printed.getvalue(), "backward\n" * 3)  # eagerly and compiled, then eagerly

    @explore(SIZES, st.booleans(), max_examples=2)
    def test_once_differentiable(self, size, allowed):
        """A backward that may not be differentiated itself is traced as any other."""

        class Once(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x.exp()

            @staticmethod
            def backward(ctx, gradient):
                return gradient * ctx.saved_tensors[0]

        if not allowed:
            Once.backward = staticmethod(torch.autograd.function.once_differentiable(Once.backward))

        self.assertCompiles(Once.apply, leaf(size), graphs=1)


if __name__ == "__main__":
    fxpect.run_tests()
