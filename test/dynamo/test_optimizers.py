"""Optimizers under torch.compile: one step is one graph, and leaves the parameters and state that eager leaves.

Mirrors test/dynamo/test_optimizers.py of PyTorch. Guards how dynamo traces ``torch.optim``: state that is made in
the first step and guarded from then on, gradients that come and go, groups with settings of their own, and steps
that write to a hundred tensors through lists. The graphs go through AOT autograd and passes that must keep the
writes.

Would have caught https://github.com/pytorch/pytorch/issues/115607 and
https://github.com/pytorch/pytorch/issues/115679 (recompiled for every new learning rate or parameter),
https://github.com/pytorch/pytorch/issues/107076 (no step compiles), https://github.com/pytorch/pytorch/issues/133898
and https://github.com/pytorch/pytorch/issues/121178 (wrong values). Fused and capturable steps need a GPU.
"""

import functools
import inspect

import torch
from hypothesis import strategies as st

import fxpect
from fxpect.compiling import RecordingBackend, call_in_turn, graphs_of
from fxpect.passes.catalogue import applies, find
from fxpect.passes.firing import pass_of

explore = functools.partial(fxpect.explore, max_examples=4)
COUNTS = st.integers(1, 3)
# The settings of an optimizer that take another way through its step.
SETTINGS = {
    "ASGD": [{}, {"maximize": True}, {"weight_decay": 0.1}],
    "Adadelta": [{}, {"maximize": True}, {"weight_decay": 0.1}],
    "Adagrad": [{}, {"maximize": True}, {"weight_decay": 0.1}, {"lr_decay": 0.5}],
    "Adam": [{}, {"maximize": True}, {"weight_decay": 0.1}, {"amsgrad": True}],
    "AdamW": [{}, {"maximize": True}, {"weight_decay": 0.0}, {"amsgrad": True}],
    "Adamax": [{}, {"maximize": True}, {"weight_decay": 0.1}],
    "NAdam": [{}, {"maximize": True}, {"weight_decay": 0.1}, {"decoupled_weight_decay": True, "weight_decay": 0.1}],
    "RAdam": [{}, {"maximize": True}, {"weight_decay": 0.1}, {"decoupled_weight_decay": True, "weight_decay": 0.1}],
    "RMSprop": [{}, {"maximize": True}, {"weight_decay": 0.1}, {"momentum": 0.5, "centered": True}],
    "Rprop": [{}, {"maximize": True}, {"etas": (0.2, 1.5)}],
    "SGD": [{}, {"maximize": True}, {"weight_decay": 0.1}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}],
}  # fmt: skip
NAMES = st.sampled_from(sorted(SETTINGS))
# The steps whose lists of moments are one torch._foreach_lerp_ from torch 2.15 on.
LERP = ("Adam", "AdamW", "Adamax", "NAdam", "RAdam")


def build(name, count, setting=0, *, grad=True, dtype=torch.float32, **options):
    """Return an optimizer over so many parameters of growing size, each with a gradient; always the same."""
    generator = torch.Generator().manual_seed(0)
    parameters = []
    for i in range(count):
        parameter = torch.nn.Parameter(torch.randn(2, i + 1, generator=generator, dtype=dtype), requires_grad=grad)
        parameter.grad = torch.randn(2, i + 1, generator=generator, dtype=dtype)
        parameters.append(parameter)
    return getattr(torch.optim, name)(parameters, **SETTINGS[name][setting % len(SETTINGS[name])], **options)


def step(optimizer):
    """Make one step, without the wrappers of ``Optimizer.step``, which break the graph on purpose."""
    with torch.no_grad():
        inspect.unwrap(type(optimizer).step)(optimizer)


def step_graph(optimizer, **options):
    """Return the graphs of one step, made where nothing asks for gradients, as users call it."""
    return graphs_of(inspect.unwrap(type(optimizer).step), optimizer, fullgraph=True, **options)


def state_of(optimizer):
    """Return the parameters, and the state by name, of every parameter."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return [(parameter.detach(), dict(optimizer.state[parameter])) for parameter in parameters]


class OptimizerTests(fxpect.PreGradPassTestCase):
    """Every optimizer makes its steps as one graph, and the same steps as in eager."""

    def assertSameSteps(self, compiled, eager):
        """Fail unless parameters and state agree."""
        torch.testing.assert_close(state_of(compiled), state_of(eager))

    @explore(NAMES, COUNTS, st.booleans(), st.integers(0, 4), st.integers(1, 3), max_examples=10)
    def test_steps_are_those_of_eager(self, name, count, foreach, setting, steps):
        """One graph a compilation; parameters, moments and counters agree after every number of steps."""
        compiled, eager = (build(name, count, setting, foreach=foreach) for _ in range(2))

        calls = call_in_turn(step, *[(compiled,)] * steps, fullgraph=True)
        for _ in range(steps):
            step(eager)

        self.assertSameSteps(compiled, eager)
        self.assertEqual([one.graphs for one in calls][:1], [1])
        # State is made in the first step: whoever keeps any compiles a second time, and then no more.
        self.assertFalse(any(one.compiled for one in calls[2:]))

    @explore(st.sampled_from(["Muon", "Adafactor"]), st.integers(1, 2), max_examples=3)
    def test_steps_with_products(self, name, steps):
        """The optimizers that multiply or factor matrices do too."""
        if not hasattr(torch.optim, name):
            self.skipTest(f"torch {torch.__version__} has no {name}")
        SETTINGS.setdefault(name, [{"lr": 0.01}])
        compiled, eager = (build(name, 1) for _ in range(2))

        call_in_turn(step, *[(compiled,)] * steps, fullgraph=True)
        for _ in range(steps):
            step(eager)

        self.assertSameSteps(compiled, eager)

    @explore(st.sampled_from(LERP), COUNTS, max_examples=4)
    def test_moments_of_lists(self, name, count):
        """The running mean is one ``_foreach_lerp_`` from torch 2.15 on, and a difference and products before."""
        sequence = step_graph(build(name, count, grad=False, foreach=True), aot=True)

        new = applies(">=2.15")
        ops = {"torch._foreach_lerp_": int(new), "torch.full_like": 0 if new else count}
        self.assertOps(sequence.graphs[0].example, ops)
        self.assertGraph(sequence.backend.forward[0].example)

    @explore(st.sampled_from(["SGD", "Adam", "RMSprop"]), COUNTS, st.integers(0, 4), max_examples=4)
    def test_passes_keep_the_writes(self, name, count, setting):
        """The passes before autograd leave a step as it is; merging equal values after it keeps every write."""
        sequence = step_graph(build(name, count, setting, grad=False, foreach=False), aot=True)

        self.assertUnchanged(pass_of(find("pre_grad.pre_grad_passes")), sequence.graphs[0].example, golden=False)
        flat = sequence.backend.forward[0].example
        writes = len(flat.graph_module.graph.find_nodes(op="call_function", target=torch.ops.aten.copy_.default))
        self.assertGreaterEqual(writes, count)
        self.assertPreserves(pass_of(find("functorch.fx_graph_cse")), flat, ops={"aten.copy_": (writes, writes)})

    @explore(COUNTS, max_examples=3)
    def test_lists_are_written_in_place(self, count):
        """Inductor writes the lists of a step in place, with what reads them lowered to what was written: it holds."""
        flat = step_graph(build("Adam", count, grad=False, foreach=True), aot=True).backend.forward[0].example

        result = self.assertRewrites(pass_of(find("post_grad.reinplace_inplaceable_ops")), flat, golden=False)

        self.assertRegex(fxpect.graph_text(result.execution.after), r"aten\._foreach_\w+_\.")

    @explore(st.integers(2, 3), max_examples=2)
    def test_order_of_outputs(self, count):
        """The momenta that the first step makes leave the graph in an order of their own, which is stored."""
        sequence = step_graph(build("SGD", count, 3, grad=False, foreach=False))

        graph = sequence.graphs[0].graph_module.graph
        made = [node.args[0].args[0].name for node in graph.output_node().args[0]]
        inputs = [node.name for node in graph.find_nodes(op="placeholder")]
        self.assertEqual(sorted(made), sorted(inputs))
        self.assertNotEqual(made, inputs)
        self.assertGraph(sequence.graphs[0].example)

    @explore(st.sampled_from(["LBFGS", "SparseAdam"]), max_examples=2)
    def test_not_compiled(self, name):
        """A step that depends on data, or on sparse tensors, is left to eager and right."""

        def made():
            parameter = torch.nn.Parameter(torch.ones(3))
            parameter.grad = torch.tensor([1.0, 0.0, 2.0]).to_sparse() if name == "SparseAdam" else torch.ones(3)
            return parameter, getattr(torch.optim, name)([parameter], lr=0.5)

        (compiled, optimizer), (eager, other) = made(), made()
        closures = [(lambda p=p: (p * p).sum().detach(),) if name == "LBFGS" else () for p in (compiled, eager)]

        sequence = graphs_of(optimizer.step, *closures[0])
        other.step(*closures[1])

        self.assertEqual(sequence.graphs, [])
        self.assertTrue(sequence.breaks)
        torch.testing.assert_close(compiled, eager)


class GradientTests(fxpect.TestCase):
    """Gradients that are there in one step and not in the next."""

    @explore(NAMES, st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=3), st.booleans())
    def test_missing_gradients(self, name, pattern, foreach):
        """A parameter without a gradient is left alone; one that gets its gradient late starts its state late."""
        compiled, eager = (build(name, 2, foreach=foreach) for _ in range(2))

        def only(optimizer, there):
            for i, (parameter, present) in enumerate(zip(optimizer.param_groups[0]["params"], there)):
                parameter.grad = torch.full_like(parameter, i + 1.0) if present else None

        calls = []
        for there in pattern:
            calls += [functools.partial(only, compiled, there), (compiled,)]
        call_in_turn(step, *calls)
        for there in pattern:
            only(eager, there)
            step(eager)

        torch.testing.assert_close(state_of(compiled), state_of(eager))

    @explore(st.booleans(), COUNTS, max_examples=4)
    def test_zero_grad(self, to_none, count):
        """zero_grad inside the compiled function leaves None, or zeros."""
        optimizer = build("SGD", count)

        def clears(optimizer):
            step(optimizer)
            optimizer.zero_grad(set_to_none=to_none)

        call_in_turn(clears, (optimizer,))

        for parameter in optimizer.param_groups[0]["params"]:
            self.assertEqual(parameter.grad is None, to_none)
            self.assertTrue(to_none or not parameter.grad.any())

    @explore(st.sampled_from(["SGD", "Adam"]), st.integers(1, 3), max_examples=4)
    def test_closure(self, name, steps):
        """A step with a closure evaluates it once and returns its loss."""
        losses = {}
        for mode in ("eager", "compiled"):
            optimizer = build(name, 1)
            (parameter,) = optimizer.param_groups[0]["params"]

            def closure(optimizer=optimizer, parameter=parameter):
                optimizer.zero_grad()
                loss = (parameter * parameter).sum()
                loss.backward()
                return loss

            torch._dynamo.reset()
            make = torch.compile(optimizer.step, backend="eager") if mode == "compiled" else optimizer.step
            losses[mode] = [make(closure).detach() for _ in range(steps)]

        torch.testing.assert_close(losses["compiled"], losses["eager"])


class RecompileTests(fxpect.TestCase):
    """What makes a second compilation, and what does not."""

    @explore(st.lists(st.sampled_from([0.1, 0.2, 0.5]), min_size=2, max_size=4), st.booleans())
    def test_learning_rate(self, rates, tensor):
        """A learning rate that changes is compiled anew once, as a symbol, when it is a float; never as a tensor."""
        compiled, eager = (build("SGD", 2, lr=torch.tensor(rates[0]) if tensor else rates[0]) for _ in range(2))

        def change(optimizer, rate):
            group = optimizer.param_groups[0]
            if tensor:
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

        calls = []
        for rate in rates:
            calls += [functools.partial(change, compiled, rate), (compiled,)]
            change(eager, rate)
            step(eager)
        results = call_in_turn(step, *calls)

        torch.testing.assert_close(state_of(compiled), state_of(eager))
        self.assertLessEqual(sum(one.compiled for one in results), 1 if tensor else len(set(rates)))

    @explore(st.sampled_from(["SGD", "Adam", "Adagrad"]), COUNTS, max_examples=4)
    def test_new_group(self, name, count):
        """A group added between steps is compiled anew, and its own settings hold."""

        def extend(optimizer):
            extra = torch.nn.Parameter(torch.ones(3))
            extra.grad = torch.full((3,), 2.0)
            optimizer.add_param_group({"params": [extra], "lr": 0.25})

        compiled, eager = build(name, count), build(name, count)

        results = call_in_turn(step, (compiled,), functools.partial(extend, compiled), (compiled,))
        step(eager)
        extend(eager)
        step(eager)

        torch.testing.assert_close(state_of(compiled), state_of(eager))
        self.assertEqual([one.compiled for one in results], [True, True])


class Halving(torch.optim.Optimizer):
    """An optimizer of a user, with a helper of the name that torch's own have."""

    def __init__(self, params):
        super().__init__(params, {})

    def _init_group(self, group, found):
        found.extend(group["params"])
        return any(parameter.is_complex() for parameter in found)

    def step(self):
        for group in self.param_groups:
            found = []
            if self._init_group(group, found):
                found[0] -= 1
            else:
                found[0] += 1


class End2EndTests(fxpect.TestCase):
    """Whole iterations, and optimizers made or written by users."""

    @explore(st.sampled_from(["Adam", "SGD", "RMSprop"]), st.integers(1, 3), max_examples=3)
    def test_optimizing_over_tensor_with_requires_grad(self, name, iterations):
        """Forward, backward and step of one compiled function make the losses that eager makes."""
        losses = {}
        for mode in ("eager", "compiled"):
            torch.manual_seed(0)
            weight = torch.randn(3, 4, requires_grad=True)
            optimizer = getattr(torch.optim, name)([weight], lr=0.1)

            def iteration(x, weight=weight, optimizer=optimizer):
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(x @ weight, torch.tensor([0, 3]))
                loss.backward()
                optimizer.step()
                return loss.detach()

            backend = RecordingBackend()
            torch._dynamo.reset()
            run = torch.compile(iteration, backend=backend) if mode == "compiled" else iteration
            losses[mode] = [run(torch.ones(2, 3)) for _ in range(iterations)]

        torch.testing.assert_close(losses["compiled"], losses["eager"])
        self.assertTrue(backend.graphs)

    @explore(st.integers(1, 4), max_examples=2)
    def test_state_dict(self, size):
        """An optimizer made inside a compiled function has its state, and its step works outside."""

        @torch.compile(backend="eager")
        def make(weight, x):
            optimizer = torch.optim.Adagrad([weight])

            def closure():
                optimizer.zero_grad()
                loss = (weight * x).pow(2).sum()
                loss.backward()
                return loss

            return optimizer, closure

        weight = torch.nn.Parameter(torch.ones(size))
        optimizer, closure = make(weight, torch.full((size,), 2.0))

        optimizer.step(closure)

        (state,) = optimizer.state_dict()["state"].values()
        self.assertEqual(state["step"].item(), 1)
        torch.testing.assert_close(state["sum"], torch.full((size,), 64.0))
        torch.testing.assert_close(weight.detach(), torch.full((size,), 0.99))

    @explore(st.sampled_from([torch.float32, torch.float64, torch.complex64]), st.integers(1, 3), max_examples=4)
    def test_init_group(self, dtype, size):
        """The branch on complex parameters is taken as in eager, in one graph."""
        parameter = torch.nn.Parameter(torch.zeros(size, dtype=dtype), requires_grad=False)
        optimizer = Halving([parameter])

        sequence = graphs_of(optimizer.step, fullgraph=True)

        self.assertEqual(sequence.outline, ["graph: isub" if dtype.is_complex else "graph: iadd"])
        self.assertEqual(parameter.tolist(), [-1 if dtype.is_complex else 1] * size)

    @explore(st.sampled_from(["SGD", "Adam", "Adagrad"]), st.booleans(), max_examples=4)
    def test_complex_parameters(self, name, foreach):
        """A step on complex parameters is the step on their real and imaginary parts."""
        compiled, eager = (build(name, 2, dtype=torch.complex64, foreach=foreach) for _ in range(2))

        call_in_turn(step, (compiled,), (compiled,))
        step(eager)
        step(eager)

        torch.testing.assert_close(state_of(compiled), state_of(eager))


if __name__ == "__main__":
    fxpect.run_tests()
