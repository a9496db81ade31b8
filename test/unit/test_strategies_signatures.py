"""What a call accepts: its parameters from a schema or a Python signature, bound to the values it was given."""

from __future__ import annotations

import operator
import unittest
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch.fx import Graph, Node
from torch.fx.experimental.proxy_tensor import make_fx

from fxpect.strategies.signatures import MISSING, base_name, recorded, signatures, slots

aten = torch.ops.aten


def call(op: str, target: Any, *args: Any, **kwargs: Any) -> Node:
    """Return a call whose "x" and "y" arguments are typed values of a graph."""
    graph = Graph()
    values = {}
    for name in ("x", "y"):
        values[name] = graph.placeholder(name)
        values[name].meta["val"] = torch.empty(2, 3, device="meta")

    def fill(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return type(value)(map(fill, value))
        return values.get(value, value) if isinstance(value, str) else value

    return graph.create_node(op, target, fill(args), {key: fill(value) for key, value in kwargs.items()})


def function(target: Any, *args: Any, **kwargs: Any) -> Node:
    return call("call_function", target, *args, **kwargs)


def given(node: Node) -> dict[str, tuple[Any, ...]]:
    """Return parameter -> (value, where it stands) of what the call spells out."""
    return {slot.param.name: (slot.value, slot.index if slot.keyword is None else slot.keyword)
            for slot in slots(node) if slot.given and not isinstance(slot.value, (Node, list, tuple))}


def names(node: Node) -> list[str]:
    return [slot.param.name for slot in slots(node)]


class SlotsTests(unittest.TestCase):

    def test_positions_keywords_and_defaults(self):
        """Each parameter says where its value stands, or that it was left out and what its default is."""
        node = function(torch.sum, "x", 1, keepdim=True)
        self.assertEqual(given(node), {"dim": (1, 1), "keepdim": (True, "keepdim")})
        left_out = {slot.param.name: slot.param.default for slot in slots(node) if not slot.given}
        self.assertEqual(left_out, {"dtype": None})
        self.assertEqual(names(node), ["input", "dim", "keepdim", "dtype"])
        dtype = slots(node)[-1]
        self.assertTrue(dtype.param.keyword_only)
        self.assertIs(dtype.value, MISSING)

    def test_aten_overloads_have_their_own_schema(self):
        """An overload binds to its schema alone: self, alias-free kinds, keyword-only parameters."""
        node = function(aten.add.Tensor, "x", "y", alpha=2)
        self.assertEqual([(s.param.name, s.param.kind, s.param.keyword_only) for s in slots(node)],
                         [("self", "Tensor", False), ("other", "Tensor", False), ("alpha", "Scalar", True)])
        self.assertEqual(given(node), {"alpha": (2, "alpha")})
        self.assertEqual(len(signatures("call_function", aten.add.Tensor)), 1)

    def test_the_overload_that_fits_is_found(self):
        """Of several schemas the one whose parameters take the given values is bound."""
        self.assertEqual(names(function(torch.max, "x", 1, True)), ["input", "dim", "keepdim"])
        self.assertEqual(names(function(torch.max, "x")), ["input"])
        self.assertEqual(names(function(torch.max, "x", "y")), ["input", "other"])
        split = function(torch.split, "x", 2, dim=-1)
        self.assertEqual(given(split), {"split_size_or_sections": (2, 1), "dim": (-1, "dim")})

    def test_python_functions_have_their_signature(self):
        """A function written in Python is read by ``inspect``; a tensor parameter is known by its annotation."""
        node = function(F.dropout, "x", p=0.25)
        self.assertEqual(given(node), {"p": (0.25, "p")})
        kinds = {slot.param.name: (slot.param.kind, slot.param.is_tensor) for slot in slots(node)}
        self.assertEqual(kinds, {"input": ("Tensor", True), "p": ("float", False), "training": ("bool", False),
                                 "inplace": ("bool", False)})

    def test_lists_of_tensors(self):
        """The first parameter of cat takes a list of tensors; numpy's names for dims are understood."""
        node = function(torch.cat, ["x", "y"], axis=1)
        self.assertEqual([(s.param.name, s.param.kind) for s in slots(node)], [("tensors", "Tensor[]"), ("dim", "int")])
        self.assertEqual(given(node), {"dim": (1, "axis")})

    def test_methods(self):
        """A method is bound with its receiver first; sizes handed over one by one are one list."""
        self.assertEqual(given(call("call_method", "softmax", "x", -1)), {"dim": (-1, 1)})
        view = {slot.param.name: slot for slot in slots(call("call_method", "view", "x", 3, 2))}
        self.assertEqual((view["size"].value, view["size"].param.kind), ((3, 2), "int[]"))

    def test_getitem(self):
        """An index is a parameter as well."""
        self.assertEqual(given(function(operator.getitem, "x", 0)), {"index": (0, 1)})

    def test_what_does_not_bind_is_empty(self):
        """Too many arguments, an unknown keyword, a module or a function nobody knows have no parameters."""
        for node in (function(aten.relu.default, "x", 1), function(torch.sum, "x", dims=1),
                     call("call_module", "first", "x"), function(lambda *args: args, "x"),
                     function(aten.cat.default, "x", 0)):
            self.assertEqual(slots(node), [], str(node.target))

    def test_out_is_no_parameter(self):
        """``out=`` does not keep a call from being bound."""
        self.assertEqual(names(function(torch.add, "x", "y", out="x"))[:2], ["input", "other"])


class NamesTests(unittest.TestCase):

    def test_base_name(self):
        """Function, method, overload, in-place form and operator have one plain name each."""
        for target, name in ((torch.cat, "cat"), ("relu", "relu"), (aten.cat.default, "cat"),
                             (aten.add_.Tensor, "add_"), (operator.iadd, "iadd"), (F.linear, "linear"),
                             (aten.sum.dim_IntList, "sum")):
            self.assertEqual(base_name(target), name)

    def test_candidates_are_looked_up_once(self):
        """Equal targets share one tuple of candidates."""
        self.assertIs(signatures("call_method", "view"), signatures("call_method", "view"))
        self.assertTrue(signatures("call_function", torch.sum))


def calling(target: Any, args: tuple, kwargs: dict[str, Any]) -> Callable[..., Any]:
    """Return a function of x and y that makes the call, with them in the place of their names."""
    def run(x, y):
        def fill(value):
            if isinstance(value, (list, tuple)):
                return type(value)(map(fill, value))
            return {"x": x, "y": y}.get(value, value) if isinstance(value, str) else value

        return target(*fill(args), **{name: fill(value) for name, value in kwargs.items()})

    return run


class RecordedTests(unittest.TestCase):
    """Calls as a tracer of the dispatcher writes them; x and y are f32[2, 3, 4]."""

    CALLS = (
        (aten.sum.dim_IntList, ("x", (1,)), {"keepdim": False}, ("x", [1]), {}),
        (aten.sum.dim_IntList, ("x", 1, True), {"dtype": None}, ("x", [1], True), {}),
        (aten.add.Tensor, (), {"self": "x", "other": "y", "alpha": 1}, ("x", "y"), {}),
        (aten.add.Tensor, ("x", "y"), {"alpha": 1.0}, ("x", "y"), {"alpha": 1.0}),
        (aten.add.Tensor, ("x", True), {}, ("x", True), {}),
        (aten.clamp.default, ("x",), {"max": 2}, ("x", None, 2), {}),
        (aten.unsqueeze.default, ("x", False), {}, ("x", 0), {}),
        (aten.native_dropout.default, ("x", 1, 1), {}, ("x", 1.0, True), {}),
        (aten.avg_pool2d.default, ("x", 2), {"stride": []}, ("x", [2, 2]), {}),
        (aten.hardtanh.default, ("x", -1, 1), {}, ("x",), {}),
        (aten.hardtanh.default, ("x", -1.0, 1), {}, ("x", -1.0), {}),
        (aten.cat.default, (("x", "y"), 0), {}, (["x", "y"],), {}),
        (aten._to_copy.default, ("x",), {"layout": None, "dtype": torch.float64}, ("x",), {"dtype": torch.float64}),
        (aten.contiguous.default, ("x",), {"memory_format": torch.contiguous_format}, ("x",), {}),
        (aten.clone.default, ("x",), {"memory_format": torch.preserve_format}, ("x",),
         {"memory_format": torch.preserve_format}),
    )

    def test_calls_are_normalised(self):
        """What may be positional is, trailing defaults go, numbers and lists take the schema's types; 1 is not 1.0."""
        for target, args, kwargs, *expected in self.CALLS:
            with self.subTest(str(target), args=args, kwargs=kwargs):
                self.assertEqual(repr(recorded(target, args, kwargs)), repr(tuple(expected)))
                self.assertEqual(repr(recorded(target, *expected)), repr(tuple(expected)))

    def test_torch_records_them_so(self):
        """make_fx before autograd's decompositions writes down the same arguments."""
        for target, args, kwargs, *expected in self.CALLS:
            x, y = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
            traced = make_fx(calling(target, args, kwargs), pre_dispatch=True)(x, y)
            node = next(n for n in traced.graph.nodes if n.target is target)
            with self.subTest(str(target), args=args, kwargs=kwargs):
                seen = torch.fx.map_arg((node.args, node.kwargs), lambda n: n.name.partition("_")[0])
                self.assertEqual(repr(seen), repr(tuple(expected)))

    def test_what_does_not_fit_is_left_as_it_is(self):
        """Too many arguments, an unknown keyword, a required one missing."""
        for args, kwargs in ((("x", 1, 2, 3), {}), (("x",), {"dims": 1}), ((), {})):
            self.assertIsNone(recorded(aten.unsqueeze.default, args, kwargs))


if __name__ == "__main__":
    unittest.main()
