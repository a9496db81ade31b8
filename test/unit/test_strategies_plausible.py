"""Which changed constants are offered: those that the recorded types allow, all that would have typed among them."""

from __future__ import annotations

import unittest

import torch

from fxpect.capture import capture
from fxpect.examples import Example
from fxpect.specs import T
from fxpect.strategies.directions import arguments, constants
from fxpect.strategies.draft import Draft, Edit, Inapplicable
from fxpect.strategies.near import step
from fxpect.strategies.plausible import pieces_read, plausible
from fxpect.strategies.signatures import slots

# statement, parameter, values that can type, values that cannot; x is f32[4, 6]
TABLE = (
    ("torch.sum(x, 1)", "dim", (0, -1, [0, 1]), (2, -3, [0, 0], [0, -2], [5])),
    ("torch.unsqueeze(x, 1)", "dim", (2, -3), (3, -4)),
    ("x.permute([1, 0])", "dims", ([0, 1], [-1, 0]), ([0], [0, 0], [1, 0, 0], [0, 2])),
    ("x.view([6, 4])", "size", ([24], [-1, 3], [2, 2, 6]), ([5, 4], [-1, 5], [-1, -1], [-2, 12], [0, -1])),
    ("torch.ops.aten.view.dtype(x, torch.int32)", "dtype", (torch.int64, torch.int8), (torch.complex128,)),
    ("torch.nn.functional.max_pool1d(x, 2, 1)", "stride", (2, [2]), (0, -1, [0])),
    ("torch.add(x, x, alpha=2)", "alpha", (0, -1, 0.5), (None,)),
)


def called(*statements: str) -> Example:
    lines = "".join(f"    {line}\n" for line in statements)
    return capture(f"def forward(self, x):\n{lines}", (T(4, 6),), capture="dynamo")


def fits(example: Example, parameter: str, value: object, call: int = 0) -> bool:
    draft = Draft(example, reading=True)
    node = draft.calls()[call]
    slot = next(s for s in slots(node) if s.param.name == parameter)
    return plausible(node, slot, value, draft.val, constants.DIM_NAMES)


class PlausibleTests(unittest.TestCase):

    def test_by_the_types_on_record(self):
        """Dims within the rank and apart, permutations whole, shapes of as many elements, sizes that expand."""
        for statement, parameter, good, bad in TABLE:
            example = called(f"a = {statement}", "return (a,)")
            for value, wanted in [*((v, True) for v in good), *((v, False) for v in bad)]:
                with self.subTest(statement, value=value):
                    self.assertIs(fits(example, parameter, value), wanted)

    def test_pieces(self):
        """A split has legal sections, and as many pieces as are read; an index is one of the pieces."""
        reads = ("b = operator.getitem(a, 0)", "c = operator.getitem(a, -2)", "return (b, c)")
        for statement, parameter, value, wanted in (
                ("torch.ops.aten.split.Tensor(x, 2)", "split_size", 3, True),
                ("torch.ops.aten.split.Tensor(x, 2)", "split_size", 4, False),
                ("torch.ops.aten.split.Tensor(x, 2)", "split_size", -1, False),
                ("torch.ops.aten.split.Tensor(x, 2)", "dim", 1, True),
                ("torch.ops.aten.split.Tensor(x, 4, 1)", "dim", 0, False),
                ("torch.ops.aten.split_with_sizes.default(x, [1, 3])", "split_sizes", [3, 1], True),
                ("torch.ops.aten.split_with_sizes.default(x, [1, 3])", "split_sizes", [2, 1], False),
                ("torch.ops.aten.split_with_sizes.default(x, [1, 3])", "split_sizes", [4], False),
                ("torch.ops.aten.unbind.int(x)", "dim", -1, True)):
            with self.subTest(statement, value=value):
                self.assertIs(fits(called(f"a = {statement}", *reads), parameter, value), wanted)
        example = called("a = torch.ops.aten.split.Tensor(x, 2)", *reads)
        self.assertEqual(pieces_read(Draft(example, reading=True).calls()[0]), 2)
        self.assertEqual([fits(example, "index", i, call=1) for i in (0, 1, -2, 2, -3)],
                         [True, True, True, False, False])

    def test_expansion(self):
        """A size of one becomes any other, others stay, and dims are added in front."""
        example = called("a = torch.ops.aten.sum.dim_IntList(x, [1], True)", "e = a.expand([4, 5])", "return (e,)")
        for value, wanted in (([4, 7], True), ([-1, 2], True), ([3, 4, 2], True), ([4, -1], True), ([5, 2], False),
                              ([4], False), ([-1, 4, 2], False), ([4, -2], False)):
            with self.subTest(value=value):
                self.assertIs(fits(example, "size", value, call=1), wanted)

    def test_what_is_not_offered_does_not_type(self):
        """Every candidate that is left out is refused when it is tried all the same."""
        left_out = 0
        for example in (
                called("s = torch.split(x, 2, dim=1)", "a = operator.getitem(s, 0)", "c = torch.cat([a, a], dim=0)",
                       "v = c.view(4, 4)", "p = v.permute(1, 0)", "return (p,)"),
                called("s = torch.sum(x, dim=1, keepdim=True)", "e = s.expand(4, 3)", "u = torch.unsqueeze(e, 0)",
                       "p = torch.nn.functional.max_pool1d(u, 2)", "k = torch.chunk(p, 2, 1)", "return (k,)")):
            draft = Draft(example, reading=True)
            for node in draft.calls():
                for slot in slots(node):
                    if slot.param.is_tensor:
                        continue
                    for value in constants.candidates(draft, node, slot):
                        if plausible(node, slot, value, draft.val, constants.DIM_NAMES):
                            continue
                        left_out += 1
                        with self.subTest(str(node), parameter=slot.param.name, value=value), \
                                self.assertRaises(Inapplicable):
                            step(example, Edit("t", "t", "t", lambda d, at=node.name, p=slot.param.name, v=value:
                                               arguments.assign(d, d.node(at), p, v)))
        self.assertGreater(left_out, 40)


if __name__ == "__main__":
    unittest.main()
