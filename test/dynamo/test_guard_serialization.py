"""Guards that are saved and loaded: they let through what the live ones let through, and nothing else.

Mirrors test/dynamo/test_guard_serialization.py of PyTorch. It guards compiled code that is shipped: a guard that is
lost or loosened on the way would run a graph on inputs that it was not made for. It would have caught
https://github.com/pytorch/pytorch/issues/157721, https://github.com/pytorch/pytorch/pull/187736,
https://github.com/pytorch/pytorch/issues/174955, https://github.com/pytorch/pytorch/pull/195350 and
https://github.com/pytorch/pytorch/pull/196470. FSDP, process groups and streams need more than one process or a
GPU. All goes through compile packages: what is inside of them was rewritten for 2.15.
"""

import collections
import dataclasses
import enum
import functools
import itertools
import logging
import math

import torch
from hypothesis import strategies as st
from torch._dynamo.exc import PackageError
from torch._dynamo.guards import CheckFunctionManager
from torch._dynamo.package import CompilePackage
from torch.fx.passes.dialect.common.cse_pass import CSEPass

import fxpect
from fxpect.capture import capture
from fxpect.compiling import graphs_of, guard_verdict, reload_guards

explore = functools.partial(fxpect.explore, max_examples=5)
SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)
DTYPES = st.sampled_from([torch.float32, torch.float64, torch.int64])
SMALL = st.integers(-3, 3)
Pair = collections.namedtuple("Pair", "a b")


@dataclasses.dataclass
class Settings:
    """Settings of a model."""

    scale: int
    name: str


class Color(enum.Enum):
    """An enumeration."""

    RED = 1


class Scaled(torch.nn.Module):
    """A module whose attributes decide what it computes."""

    def __init__(self, by=2, mode="plain"):
        super().__init__()
        self.by = by
        self.mode = mode

    def forward(self, x):
        y = (x * 2 + (x * 2).sin()) * self.by
        return y if self.mode == "plain" else y.neg()


def doubles(x):
    """Compute one product twice. (No function here names torch: a guard on a module cannot be saved.)"""
    return x * 2 + (x * 2).sin()


def takes(x, value):
    """Let a value decide what is computed, as far as dynamo has to know it."""
    if isinstance(value, (list, tuple)):
        for part in value:
            x = x + part
        return x * (len(value) + 1)
    if isinstance(value, dict):
        for key in value:
            x = x + value[key] * (len(key) + 1)
        return x + 1
    if isinstance(value, str):
        return x + len(value) if value != "a" else x * 3
    return x * 2 if value is None else x * value


class TestGuardSerializationBase(fxpect.PassTestCase):
    """What every test below asks: the loaded guards say what the live ones say."""

    capture = "dynamo"

    def assertSame(self, loaded, function, *args, expected=None):
        """Fail unless loaded and live guards agree on a call, and what is expected; reasons are compared too."""
        live = guard_verdict(function, *args)
        self.assertEqual(loaded.verdict(*args), live)
        if expected is not None:
            self.assertEqual(live.accepted, expected, live.reasons)


class TestGuardSerialization(TestGuardSerializationBase):
    """One kind of guard in each test."""

    @explore(SHAPES, DTYPES, SHAPES, DTYPES, st.booleans())
    def test_tensor_match(self, shape, dtype, other, other_dtype, grad):
        """A tensor is accepted if and only if its dtype, sizes, strides and requires_grad are those that were seen."""
        def tensor(shape, dtype, requires_grad=False):
            return torch.ones(shape, dtype=dtype, requires_grad=requires_grad and dtype.is_floating_point)

        first = tensor(shape, dtype)
        loaded = reload_guards(doubles, first, dynamic=False)

        self.assertSame(loaded, doubles, tensor(shape, dtype), expected=True)
        self.assertSame(loaded, doubles, tensor(other, other_dtype), expected=(shape, dtype) == (other, other_dtype))
        again = tensor(shape, dtype, grad)
        self.assertSame(loaded, doubles, again, expected=not again.requires_grad)
        wide = torch.ones((*shape[:-1], shape[-1] * 2), dtype=dtype)[..., ::2]
        self.assertSame(loaded, doubles, wide, expected=wide.stride() == first.stride())

    @explore(SHAPES, SHAPES)
    def test_same_verdict_same_graph(self, shape, other):
        """What the loaded guards accept has the very graph that was compiled; a pass rewrites it the same way."""
        first, second = torch.randn(shape), torch.randn(other)
        loaded = reload_guards(doubles, first, dynamic=False)
        accepted = loaded.verdict(second).accepted
        graph = capture(doubles, (first,), capture="dynamo")

        self.assertEqual(capture(doubles, (second,), capture="dynamo").text == graph.text, accepted)
        self.assertRewrites(CSEPass(), graph.portable(), ops={"operator.mul": (2, 1)})

    @explore(st.integers(2, 5), st.integers(1, 3), st.integers(1, 9))
    def test_shape_env(self, low, wide, size):
        """A dynamic size is accepted if and only if it is in the range that it was marked with."""
        x = torch.randn(low, 2)
        torch._dynamo.mark_dynamic(x, 0, min=low, max=low + wide)
        loaded = reload_guards(doubles, x)

        self.assertSame(loaded, doubles, torch.randn(size, 2), expected=low <= size <= low + wide)
        self.assertSame(loaded, doubles, torch.randn(low, 3), expected=False)
        self.assertIn("SHAPE_ENV", loaded.kinds)

    @explore(st.sampled_from([True, False, 0, 1, 2, 0.5, None, "a", "bc"]),
             st.sampled_from([True, False, 0, 1, 2, 0.5, None, "a", "bc"]))  # fmt: skip
    def test_constant_match(self, value, other):
        """A constant is accepted if and only if it is equal and of the same type."""
        x = torch.ones(2)
        loaded = reload_guards(takes, x, value, dynamic=False)

        self.assertSame(loaded, takes, x, value, expected=True)
        self.assertSame(loaded, takes, x, other, expected=(type(value), value) == (type(other), other))

    @explore(st.lists(SMALL, max_size=3), st.lists(SMALL, max_size=3), st.sampled_from([list, tuple]), st.booleans())
    def test_sequence_length(self, values, others, kind, tensors):
        """A list or tuple is accepted if and only if its type, its length and the numbers in it are those seen."""
        def build(numbers, kind):
            return kind(torch.full((2,), float(number)) if tensors else number for number in numbers)

        x = torch.ones(2)
        loaded = reload_guards(takes, x, build(values, kind), dynamic=False)
        same = len(values) == len(others) if tensors else values == others

        self.assertSame(loaded, takes, x, build(values, kind), expected=True)
        self.assertSame(loaded, takes, x, build(others, kind), expected=same)
        self.assertSame(loaded, takes, x, build(values, tuple if kind is list else list), expected=False)

    @explore(st.dictionaries(st.sampled_from("abc"), SMALL, max_size=3),
             st.dictionaries(st.sampled_from("abc"), SMALL, max_size=3))  # fmt: skip
    def test_dict_keys(self, values, others):
        """A dict that is iterated is accepted if and only if keys, order and numbers are those seen."""
        x = torch.ones(2)
        loaded = reload_guards(takes, x, values, dynamic=False)

        self.assertSame(loaded, takes, x, dict(values), expected=True)
        self.assertSame(loaded, takes, x, others, expected=list(values.items()) == list(others.items()))

    @explore(st.sets(st.sampled_from("abc")), st.sets(st.sampled_from("abc")))
    def test_dict_contains(self, keys, others):
        """A dict that is asked for one key is accepted if and only if the answer is the same."""
        def model(x, options):
            return x + 1 if "a" in options else x - 1

        x = torch.ones(2)
        loaded = reload_guards(model, x, dict.fromkeys(sorted(keys), 1))

        self.assertSame(loaded, model, x, dict.fromkeys(sorted(others), 2), expected=("a" in keys) == ("a" in others))
        self.assertIn("DICT_CONTAINS" if "a" in keys else "DICT_NOT_CONTAINS", loaded.kinds)

    @explore(st.tuples(SMALL, SMALL, st.sampled_from([1, 2, -1])), st.tuples(SMALL, SMALL, st.sampled_from([1, 2, -1])))
    def test_range(self, one, other):
        """A range is accepted if its bounds and step are those seen, and never where its numbers are others."""
        def model(x, numbers):
            for number in numbers:
                x = x + number
            return x * 2

        x = torch.ones(2)
        loaded = reload_guards(model, x, range(*one), dynamic=False)

        self.assertSame(loaded, model, x, range(*one), expected=True)
        self.assertSame(loaded, model, x, range(*other), expected=None if range(*one) == range(*other) else False)

    @explore(st.integers(1, 3), st.integers(1, 3), st.sampled_from(["tuple", "count"]))
    def test_iterators(self, one, other, kind):
        """An iterator is accepted if and only if it stands where the one that was seen stood."""
        def model(x, numbers):
            return x + next(numbers)

        make = {"tuple": lambda n: iter((5, 6, 7)[:n]), "count": lambda n: itertools.count(n, 2)}[kind]
        x = torch.ones(2)
        loaded = reload_guards(model, x, make(one), dynamic=False)

        live = guard_verdict(model, x, make(other))
        self.assertEqual(loaded.verdict(x, make(other)), live)
        self.assertEqual(live.accepted, one == other)

    @explore(SMALL, SMALL, st.sampled_from(["a", "b"]))
    def test_attributes_of_objects(self, scale, other, name):
        """A dataclass and a named tuple are accepted if and only if the attributes that were read are equal."""
        def model(x, settings, pair):
            return x * settings.scale + pair.a

        x = torch.ones(2)
        loaded = reload_guards(model, x, Settings(scale, "a"), Pair(scale, 5), dynamic=False)

        self.assertSame(loaded, model, x, Settings(scale, name), Pair(scale, 5), expected=True)
        self.assertSame(loaded, model, x, Settings(other, "a"), Pair(scale, 5), expected=scale == other)
        self.assertSame(loaded, model, x, Settings(scale, "a"), Pair(other, 5), expected=scale == other)

    @explore(SMALL, SMALL, st.sampled_from(["plain", "negative"]), st.sampled_from(["plain", "negative"]))
    def test_attributes_of_modules(self, by, other, mode, other_mode):
        """Ints and strings of a module are guards, not inputs: one graph for each, and the tensor is its input."""
        x = torch.ones(2)
        model = Scaled(by, mode)
        loaded = reload_guards(model, x, dynamic=False)
        graph = graphs_of(Scaled(by, mode), x, dynamic=False).graphs[0]
        reload_guards(model, x, dynamic=False)

        self.assertEqual([node.name for node in graph.example.placeholders], ["l_x_"])
        model.by, model.mode = other, other_mode
        self.assertSame(loaded, model, x, expected=(by, mode) == (other, other_mode))
        self.assertRewrites(CSEPass(), graph.example, ops={"operator.mul": ">=2"})

    @explore(st.booleans(), st.booleans(), st.booleans())
    def test_grad_mode(self, seen, now, serious):
        """Guards that were saved with gradients on or off accept calls in that mode alone."""
        x = torch.ones(2)
        with torch.set_grad_enabled(seen):
            loaded = reload_guards(doubles, x)

        with torch.set_grad_enabled(now):
            self.assertSame(loaded, doubles, x, expected=seen == now)
            if seen != now:
                self.assertEqual(loaded.verdict(x).reasons, ("GLOBAL_STATE changed: grad_mode",))
        with torch.set_grad_enabled(seen), torch.autograd.set_grad_enabled(seen if serious else not seen):
            self.assertEqual(loaded.verdict(x).accepted, serious)

    @explore(st.sampled_from(["default_dtype", "deterministic_algorithms", "num_threads", "torch_function"]))
    def test_global_state(self, what):
        """A global setting that changed since is a reason to refuse, by its name; set back it is none."""
        x = torch.ones(2)
        loaded = reload_guards(doubles, x)
        threads, disabled = torch.get_num_threads(), torch._C.DisableTorchFunctionSubclass()
        change, undo = {
            "default_dtype": (lambda: torch.set_default_dtype(torch.float64),
                              lambda: torch.set_default_dtype(torch.float32)),
            "deterministic_algorithms": (lambda: torch.use_deterministic_algorithms(True),
                                         lambda: torch.use_deterministic_algorithms(False)),
            "num_threads": (lambda: torch.set_num_threads(threads + 1), lambda: torch.set_num_threads(threads)),
            "torch_function": (disabled.__enter__, lambda: disabled.__exit__(None, None, None)),
        }[what]  # fmt: skip

        change()
        try:
            got = loaded.verdict(x)
            self.assertSame(loaded, doubles, x, expected=False)
        finally:
            undo()

        self.assertIn(f"GLOBAL_STATE changed: {what}", got.reasons[0])
        self.assertSame(loaded, doubles, x, expected=True)


class UnsavableGuardTests(TestGuardSerializationBase):
    """Guards on objects of this process cannot be saved, and that is said."""

    VALUES = {
        "function": (lambda x, f: f(x), lambda x: x + 1), "class": (lambda x, kind: x + (kind is Pair), Pair),
        "module": (lambda x, module: x + module.pi, math), "layer": (lambda x, layer: layer(x), torch.nn.Linear(2, 2)),
        "enum": (lambda x, color: x + (color is Color.RED), Color.RED),
        "builtin": (lambda x, values: x + sum(values), [1]),
    }  # fmt: skip

    @explore(st.sampled_from(sorted(VALUES)), st.integers(1, 3), max_examples=8)
    def test_package_error(self, what, size):
        """The error names the kind of guard, one of those that torch lists; nothing is accepted in silence."""
        function, value = self.VALUES[what]

        with self.assertRaises(PackageError) as raised:
            reload_guards(function, torch.ones(size, 2), value)

        kind, _, rest = str(raised.exception).partition(" ")
        self.assertIn(kind, CheckFunctionManager.UNSUPPORTED_SERIALIZATION_GUARD_TYPES)
        self.assertTrue(rest.startswith("guard cannot be serialized."), rest)

    def test_kinds(self):
        """Which guard is in the way of each, and which kinds torch says cannot be saved."""
        lines = [", ".join(sorted(CheckFunctionManager.UNSUPPORTED_SERIALIZATION_GUARD_TYPES))]
        for what, (function, value) in self.VALUES.items():
            with self.assertRaises(PackageError) as raised:
                reload_guards(function, torch.ones(2, 2), value)
            lines.append(f"{what}: {str(raised.exception).splitlines()[0]}")

        self.assertText("\n".join(lines))

    def test_without_strict_precompile(self):
        """Where torch is not told to be strict, 2.15 leaves the call out of the package; 2.13 fails on an assertion."""
        def model(x, f):
            return f(x)

        package = CompilePackage(model)
        compiled = torch._dynamo.optimize("eager", package=package)(model)
        logging.disable(logging.ERROR)
        self.addCleanup(logging.disable, logging.NOTSET)

        try:
            value = compiled(torch.ones(2), lambda x: x + 1)
            saved = sum(len(code.guarded_codes) for code in package.cache_entry().codes)
            outcome = f"computed {value.tolist()}, {saved} saved"
        except AssertionError as error:
            outcome = f"AssertionError: {str(error).splitlines()[0]}"

        self.assertText(outcome)


class GuardSetTests(TestGuardSerializationBase):
    """Which guards a function has."""

    def test_kinds(self):
        """The kinds of guards of one function for each kind of value, as they are loaded."""
        lines = []
        for value in (True, 2, 0.5, None, "bc", [1], (1,), {"a": 1}, torch.ones(2)):
            loaded = reload_guards(takes, torch.ones(2), value)
            shown = "tensor" if isinstance(value, torch.Tensor) else repr(value)
            lines.append(f"{shown}: {', '.join(kind for kind in loaded.kinds if kind not in ALWAYS)}")

        self.assertText("\n".join([f"always: {', '.join(ALWAYS)}", *lines]))

    @explore(SHAPES)
    def test_state_can_be_loaded_again(self, shape):
        """The bytes do not wear out: loaded twice they hold the same guards."""
        x = torch.ones(shape)
        one = reload_guards(doubles, x)
        two = type(one)(doubles, one.state)

        self.assertEqual((one.kinds, one.verdict(x)), (two.kinds, two.verdict(x)))
        self.assertLessEqual(set(ALWAYS), set(one.kinds))


ALWAYS = ["AUTOGRAD_SAVED_TENSORS_HOOKS", "DEFAULT_DEVICE", "DETERMINISTIC_ALGORITHMS", "GLOBAL_STATE", "GRAD_MODE",
          "SHAPE_ENV", "TENSOR_MATCH", "TORCH_FUNCTION_STATE"]  # fmt: skip


if __name__ == "__main__":
    fxpect.run_tests()
