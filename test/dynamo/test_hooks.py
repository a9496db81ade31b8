"""Hooks on tensors and modules under torch.compile: which are in the graph, and what they do to gradients.

Mirrors test/dynamo/test_hooks.py of PyTorch. Guards that a hook on an intermediate tensor is an operator of the graph
with a body, that AOT autograd runs it in the backward graph, where passes may touch it, that hooks on inputs stay
outside, and that a changed hook is noticed or is known not to be. Would have caught
https://github.com/pytorch/pytorch/issues/172020, https://github.com/pytorch/pytorch/issues/91468,
https://github.com/pytorch/pytorch/issues/117758 and https://github.com/pytorch/pytorch/issues/117265. A hook that a
module gets after it was compiled is passed over in silence, on 2.13 and 2.15 alike, unless a setting asks for guards.
"""

import functools
from unittest import mock

import torch
from hypothesis import strategies as st
from torch._dynamo.exc import Unsupported
from torch._higher_order_ops.register_hook import register_hook_op
from torch.fx.passes.dialect.common.cse_pass import CSEPass
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

import fxpect
from fxpect import T
from fxpect.compiling import RecordingBackend, call_in_turn

explore = functools.partial(fxpect.explore, max_examples=5)
SIZES = st.integers(1, 4)
SMALL = st.integers(1, 4)
HOOK = register_hook_op


def leaf(*shape):
    """Return the spec of an input that requires a gradient."""
    return T(*shape, requires_grad=True)


def affine(factor, summand):
    """Return a hook."""
    return lambda gradient: gradient * factor + summand


class HooksTests(fxpect.CompileTestCase):
    """Hooks that a function registers on what it computes."""

    @explore(SMALL, SMALL, st.booleans(), SIZES)
    def test_hook_on_intermediate(self, factor, summand, aot, size):
        """The hook is one operator of the graph with its body; the gradient goes through it."""

        def model(x):
            y = x * 2
            y.register_hook(affine(factor, summand))
            return y + 1

        parts = self.assertCompiles(model, leaf(size), graphs=1, fullgraph=True, aot=aot)

        self.assertOps(parts.graphs[0].example, {HOOK: 1, "operator.mul": 2, "operator.add": 2})
        self.assertGraph(parts.graphs[0].example)

    @explore(st.lists(st.tuples(SMALL, SMALL), max_size=3), st.booleans(), SIZES)
    def test_order_of_hooks(self, hooks, aot, size):
        """Hooks on one tensor run in the order in which they were registered, each on what the one before made."""

        def model(x):
            y = x.sin()
            for factor, summand in hooks:
                y.register_hook(affine(factor, summand))
            return y * 2

        parts = self.assertCompiles(model, leaf(size), graphs=1, aot=aot)

        self.assertOps(parts.graphs[0].example, {HOOK: len(hooks)})

    @explore(SMALL, SMALL, SIZES, max_examples=3)
    def test_variable_changed_after_the_hook(self, before, more, size):
        """A hook whose variable is bound anew later has the old value in the graph, and the new one eagerly."""

        def model(x):
            factor = before
            y = x * 2
            y.register_hook(lambda gradient: gradient * factor)
            factor = before + more
            return y + 1

        x, y = torch.ones(size, requires_grad=True), torch.ones(size, requires_grad=True)

        model(x).sum().backward()
        torch.compile(model, backend="eager", fullgraph=True)(y).sum().backward()

        self.assertTrue(torch.equal(x.grad, torch.full((size,), 2.0 * (before + more))))
        self.assertTrue(torch.equal(y.grad, torch.full((size,), 2.0 * before)))

    @explore(st.sampled_from(["before", "between", "after"]), st.booleans(), SMALL)
    def test_uses_around_the_hook(self, place, aot, factor):
        """The hook sees the whole gradient of its tensor, that of uses before it was registered included."""

        def model(x):
            y, uses = x * 2, []
            for i in range(2):
                if place == ("before", "between")[i]:
                    y.register_hook(affine(factor, 1))
                uses.append(y * (i + 3))
            if place == "after":
                y.register_hook(affine(factor, 1))
            return uses[0] + uses[1] + y

        self.assertCompiles(model, leaf(3), graphs=1, aot=aot)

    @explore(SIZES, st.booleans(), max_examples=3)
    def test_hook_that_returns_none(self, size, aot):
        """It leaves the gradient as it is."""

        def model(x):
            y = x * 2
            y.register_hook(lambda gradient: None)
            return y * 3

        parts = self.assertCompiles(model, leaf(size), graphs=1, fullgraph=True, aot=aot)

        self.assertOps(parts.graphs[0].example, {HOOK: 1})

    @explore(SIZES, st.sampled_from(["f32", "f64"]), st.booleans(), max_examples=4)
    def test_hook_with_a_tensor(self, size, dtype, aot):
        """A tensor that a partial or a closure holds is an operand of the hook."""

        def model(x, held, partial):
            y = x * 2
            scale = (lambda held, gradient: gradient * held) if partial else None
            y.register_hook(functools.partial(scale, held) if partial else lambda gradient: gradient * held)
            return y + 1

        for partial in (True, False):
            parts = self.assertCompiles(model, T(size, dtype=dtype, requires_grad=True), T(size, dtype=dtype), partial,
                                        graphs=1, fullgraph=True, aot=aot)  # fmt: skip

            (node,) = parts.graphs[0].graph_module.graph.find_nodes(op="call_function", target=HOOK)
            self.assertEqual(len(node.args), 3)

    @explore(st.booleans(), st.booleans(), SMALL, max_examples=4)
    def test_hook_and_cond(self, positive, aot, factor):
        """A hook above a cond gets the gradient of the branch that is taken."""

        def model(x):
            y = x * 2
            y.register_hook(affine(factor, 1))
            return torch.cond(x.sum() > 0, torch.sin, torch.cos, (y,))

        x = torch.full((3,), 1.0 if positive else -1.0, requires_grad=True)

        parts = self.assertCompiles(model, x, graphs=1, fullgraph=True, aot=aot)

        self.assertText(parts.text)


class PassTests(fxpect.CompileTestCase):
    """Passes over graphs with hooks."""

    @explore(st.integers(2, 3), SMALL, SIZES)
    def test_hook_in_the_backward_graph(self, copies, factor, size):
        """AOT puts the body of a hook into the backward graph, where CSE merges what repeats; gradients stay."""

        def hook(gradient):
            return functools.reduce(torch.add, [gradient * (factor + 1) for _ in range(copies)])

        def model(x):
            y = x.sin()
            y.register_hook(hook)
            return y * 2

        backend = RecordingBackend(aot=True, aten_pass=CSEPass())

        with torch._functorch.config.patch(cse=False):  # else AOT does it itself
            self.assertCompiles(model, leaf(size), graphs=1, backend=backend)

        (forward,), (backward,) = backend.forward, backend.backward
        self.assertUnchanged(CSEPass(), forward.example, ops={"aten.sin.default": (1, 1)}, label="forward")
        self.assertRewrites(CSEPass(), backward.example, label="backward",
                            ops={"aten.mul.Tensor": (copies + 2, 3)})  # fmt: skip

    @explore(SMALL, SIZES, max_examples=3)
    def test_pass_around_a_hook(self, factor, size):
        """Before autograd equal tensors, one with a hook, are not taken for each other below it."""

        def model(x):
            y, z = torch.sin(x), torch.sin(x)
            y.register_hook(affine(factor + 1, 0))
            return y + z

        with self.assertRaisesRegex(fxpect.CheckFailure, r"\[gradients\] pass CSEPass"):
            self.assertRewrites(CSEPass(), model, leaf(size), golden=False)

    @explore(st.integers(0, 2), SIZES, max_examples=3)
    def test_dead_code(self, count, size):
        """Eliminating dead code keeps a hook whose result is used; one that nobody uses goes."""

        def model(x):
            y = x.sin()
            for _ in range(count):
                y.register_hook(affine(2, 1))
            return y * 2

        def eliminate(gm):
            gm.graph.eliminate_dead_code()
            gm.recompile()

        self.assertUnchanged(eliminate, model, leaf(size), ops={HOOK: (count, count)})


class InputHookTests(fxpect.CompileTestCase):
    """Hooks on inputs, which autograd calls outside of the graph."""

    @explore(st.lists(SMALL, max_size=3), SIZES, st.booleans())
    def test_registered_inside(self, factors, size, aot):
        """The graph does not hold them; they are registered before it runs, in order."""

        def model(x):
            for factor in factors:
                x.register_hook(affine(factor, 1))
            return x * 3

        parts = self.assertCompiles(model, leaf(size), graphs=1, aot=aot)

        self.assertOps(parts.graphs[0].example, {HOOK: 0, "operator.mul": 1})

    @explore(SMALL, SIZES, st.booleans(), max_examples=3)
    def test_post_accumulate_grad(self, factor, size, aot):
        """A hook that runs when the gradient is there changes it in place."""

        def hook(x):
            x.grad.mul_(factor).add_(1)

        def model(x):
            x.register_post_accumulate_grad_hook(hook)
            return x * 3

        self.assertCompiles(model, leaf(size), graphs=1, aot=aot)

    @explore(st.booleans(), SIZES, max_examples=3)
    def test_handle_is_returned(self, removed, size):
        """The handle of an input's hook comes out and removes it, before the backward or never."""

        def model(x):
            return x * 3, x.register_hook(affine(2, 1))

        found = []
        for function in (model, torch.compile(model, backend="eager", fullgraph=True)):
            x = torch.ones(size, requires_grad=True)
            value, handle = function(x)
            if removed:
                handle.remove()
            value.sum().backward()
            found.append(x.grad)

        self.assertTrue(torch.equal(*found))
        self.assertTrue(torch.equal(found[0], torch.full((size,), 3.0 if removed else 7.0)))

    @explore(SMALL, SMALL, max_examples=3)
    def test_registered_outside(self, factor, summand):
        """A hook that was there before the call is no business of the graph, and holds for its gradient."""
        compiled = torch.compile(lambda x: x.sin() * 2, backend="aot_eager", fullgraph=True)
        x = torch.ones(3, requires_grad=True)
        x.register_hook(affine(factor, summand))

        compiled(x).sum().backward()

        self.assertTrue(torch.equal(x.grad, torch.ones(3).cos() * 2 * factor + summand))


class HandleTests(fxpect.CompileTestCase):
    """Handles of hooks on intermediate tensors."""

    def test_removed_inside(self):
        """Torch asserts where a handle is removed in the function that registered it, and falls back to nothing."""

        def model(x):
            y = x * 2
            y.register_hook(affine(2, 1)).remove()
            return y + 1

        with self.assertRaisesRegex(AssertionError, "idx must not be None for hook removal"):
            self.assertCompiles(model, leaf(3))

    @explore(SIZES, max_examples=2)
    def test_returned(self, size):
        """A handle that is returned makes the function run eagerly, with the gradient of eager."""

        def model(x):
            y = x * 2
            handle = y.register_hook(affine(2, 1))
            return y + 1, handle

        with mock.patch.object(torch.utils.hooks.RemovableHandle, "__eq__", lambda one, other: True):
            parts = self.assertCompiles(model, leaf(size), graphs=0)

        self.assertEqual([one.reason.title for one in parts.breaks], ["Reconstruction failure"] * 2)

    @explore(SIZES, st.booleans(), max_examples=3)
    def test_retain_grad(self, size, inside):
        """Outputs of a compiled function retain their gradient; asked for inside, the function runs eagerly."""

        def model(x):
            y = x * 2
            if inside:
                y.retain_grad()
            return y, y.sin()

        x = torch.ones(size, requires_grad=True)
        y, z = torch.compile(model, backend="aot_eager")(x)
        if not inside:
            y.retain_grad()
        (y * 3 + z).sum().backward()

        self.assertTrue(torch.equal(y.grad, torch.full((size,), 3.0) + (torch.cos(y) if inside else 0)))


class SideEffectTests(fxpect.CompileTestCase):
    """Hooks that do more than compute."""

    @explore(SIZES, max_examples=2)
    def test_list_is_written(self, size):
        """A hook that appends to a list breaks the graph where it is registered, and appends once a backward."""
        log = []

        def model(x):
            y = x * 2
            y.register_hook(lambda gradient: log.append("hook"))
            return y * 3

        parts = self.assertCompiles(model, leaf(size), graphs=2)

        self.assertEqual(log, ["hook", "hook"])  # eagerly, and compiled
        self.assertEqual([one.reason.title for one in parts.breaks], ["HOP: Unsafe side effect"])
        with self.assertRaisesRegex(Unsupported, "Unsafe side effect"):
            self.assertCompiles(model, leaf(size), fullgraph=True)

    @explore(st.lists(st.integers(1, 4), min_size=2, max_size=4))
    def test_captured_number_changes(self, factors):
        """A number that a hook reads from an object is guarded: a new one compiles anew, and is what counts."""

        class Settings:
            factor = 0

        settings = Settings()

        def hooked(x):
            y = x * 2
            y.register_hook(lambda gradient: gradient * settings.factor)
            return y + 1

        compiled = torch.compile(hooked, backend="eager", fullgraph=True)
        for factor in factors:
            settings.factor = factor
            x = torch.ones(3, requires_grad=True)
            compiled(x).sum().backward()

            self.assertTrue(torch.equal(x.grad, torch.full((3,), 2.0 * factor)))

    @explore(st.lists(st.booleans(), min_size=2, max_size=4))
    def test_another_hook(self, choices):
        """A hook given as an argument is compiled for by identity: once for each."""
        hooks = {True: affine(2, 1), False: affine(3, 0)}

        def model(x, hook):
            y = x * 2
            y.register_hook(hook)
            return y + 1

        calls = call_in_turn(model, *[(torch.ones(3, requires_grad=True), hooks[choice]) for choice in choices])

        new = [choice not in choices[:i] for i, choice in enumerate(choices)]
        self.assertEqual([call.compiled for call in calls], new)


def doubles(module, args):
    return (args[0] * 2,)


def adds_one(module, args, output):
    return output + 1


class ModuleHookTests(fxpect.CompileTestCase):
    """Hooks on modules, and on all of them."""

    @explore(st.lists(st.sampled_from(["pre", "post"]), max_size=3), st.booleans(), SIZES)
    def test_present_at_capture(self, kinds, inside, size):
        """Hooks that are there when the module is compiled are operators of the graph, in their places."""
        linear = torch.nn.Linear(size, 2)
        for kind in kinds:
            if kind == "pre":
                linear.register_forward_pre_hook(doubles)
            else:
                linear.register_forward_hook(adds_one)
        model = torch.nn.Sequential(linear, torch.nn.ReLU()) if inside else linear

        parts = self.assertCompiles(model, T(3, size), graphs=1, fullgraph=True)

        names = [getattr(node.target, "__name__", "") for node in parts.graphs[0].graph_module.graph.nodes
                 if node.op == "call_function"]  # fmt: skip
        self.assertEqual(names, ["mul"] * kinds.count("pre") + ["linear"] + ["add"] * kinds.count("post")
                         + ["relu"] * inside)  # fmt: skip

    @explore(st.booleans(), st.sampled_from(["pre", "post"]), st.booleans(), max_examples=6)
    def test_registered_after_the_first_call(self, guarded, kind, as_module):
        """Passed over in silence; with guards on hooks the module is compiled anew, and the hook counts."""
        module = torch.nn.Linear(3, 2)
        function = module if as_module else lambda x: module(x)
        x = torch.ones(2, 3)

        with torch._dynamo.config.patch(skip_nnmodule_hook_guards=not guarded):
            compiled = torch.compile(function, backend="eager", fullgraph=True)
            before = compiled(x)
            if kind == "pre":
                module.register_forward_pre_hook(doubles)
            else:
                module.register_forward_hook(adds_one)
            after = compiled(x)

        self.assertFalse(torch.equal(before, module(x)))
        self.assertTrue(torch.equal(after, module(x) if guarded else before))

    @explore(st.sampled_from(["pre", "post"]), st.booleans(), max_examples=4)
    def test_global_hook(self, kind, late):
        """A hook on all modules is in the graph; one that comes after the first call is passed over."""
        register, hook = {"pre": (register_module_forward_pre_hook, doubles),
                          "post": (register_module_forward_hook, adds_one)}[kind]  # fmt: skip
        module, x = torch.nn.Linear(3, 2), torch.ones(2, 3)
        compiled = torch.compile(lambda x: module(x), backend="eager", fullgraph=True)
        plain = module(x)
        if late:
            compiled(x)

        handle = register(hook)
        try:
            value, expected = compiled(x), module(x)
        finally:
            handle.remove()

        self.assertTrue(torch.equal(value, plain if late else expected))

    def test_full_backward_hook(self):
        """A backward hook on a module breaks the graph, and the gradient goes through it."""
        module = torch.nn.Linear(3, 2)
        module.register_full_backward_hook(lambda module, inputs, outputs: tuple(one * 2 for one in inputs))

        parts = self.assertCompiles(lambda x: module(x), leaf(2, 3))

        self.assertEqual([str(one.reason) for one in parts.breaks],
                         ["Module-level backwards hooks require compiled autograd. (gb0083)"])  # fmt: skip


class CompiledAutogradTests(fxpect.CompileTestCase):
    """Hooks under compiled autograd, which traces the whole backward."""

    @explore(SMALL, SIZES, st.booleans(), max_examples=4)
    def test_hooks_in_the_traced_backward(self, factor, size, on_input):
        """A hook on an input or an intermediate tensor is part of the backward that is traced, once."""

        def model(x):
            y = x.sin()
            (x if on_input else y).register_hook(affine(factor, 1))
            return y * 2

        expected = torch.ones(size, requires_grad=True)
        model(expected).sum().backward()
        backend = RecordingBackend()
        x = torch.ones(size, requires_grad=True)

        with torch._dynamo.compiled_autograd._enable(torch.compile(backend=backend, fullgraph=True)):
            torch.compile(model, backend="aot_eager")(x).sum().backward()

        self.assertTrue(torch.equal(x.grad, expected.grad))
        self.assertEqual(len(backend.graphs), 1)


if __name__ == "__main__":
    fxpect.run_tests()
