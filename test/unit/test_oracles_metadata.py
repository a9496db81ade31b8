"""The metadata oracle: true entries hold, stale and missing ones are told, torch's own slips are not blamed."""

import unittest
from unittest import mock

import torch

from fxpect.capture import capture
from fxpect.errors import CheckFailure
from fxpect.oracles import metadata
from fxpect.oracles.evidence import NOTE, Evidence
from fxpect.oracles.metadata import check_metadata, find_metadata
from fxpect.specs import T

aten = torch.ops.aten


def evidence(example, rewrite):
    """Return the evidence of a pass over the example's graph."""
    after = example.build()
    rewrite(after.graph)
    after.recompile()
    return Evidence(example.graph_module, after, example.realize(), pass_name="rewrite", meta_key=example.meta_key)


def replaced(target, new_target, keep_meta=True, **kwargs):
    """Return a pass that replaces a call by another one, and hands over the old metadata or none."""

    def rewrite(graph):
        for node in graph.find_nodes(op="call_function", target=target):
            with graph.inserting_before(node):
                new = graph.call_function(new_target, node.args, kwargs)
            new.meta = dict(node.meta) if keep_meta else {}
            node.replace_all_uses_with(new)
            graph.erase_node(node)

    return rewrite


def model(x):
    return (torch.relu(x) + 1).t() * 2


class MetadataTests(unittest.TestCase):
    def fails(self, cause, node, message, example, rewrite):
        """Assert that the oracle raises with this cause, at this node, with these words."""
        with self.assertRaises(CheckFailure) as caught:
            check_metadata(evidence(example, rewrite))
        self.assertEqual((caught.exception.cause, caught.exception.node), (f"metadata:{cause}", node))
        self.assertIn(message, str(caught.exception))

    def test_untouched_graphs_hold(self):
        """The metadata of every capture is true, at static and at dynamic sizes."""
        for name in ("export", "dynamo", "make_fx", "aten"):
            for spec in (T(4, 3), T("B", 3), T(4, 1), T(0, 3)):
                with self.subTest(capture=name, spec=spec):
                    example = capture(model, (spec,), capture=name)
                    self.assertEqual(list(find_metadata(evidence(example, lambda graph: None))), [])

    def test_true_entry_of_a_new_node(self):
        """A new node that takes over a fitting entry holds."""
        check_metadata(evidence(capture(model, (T(4, 3),)), replaced(aten.relu.default, aten.abs.default)))

    def test_stale_shape(self):
        """An entry with the old shape is reported at its node."""
        self.fails(
            "shape",
            "sum_dim_int_list",
            'meta["val"]: expected [3], as the node gives; got [4, 3]',
            capture(lambda x: aten.relu(x) * 2, (T(4, 3),)),
            stale_sum,
        )

    def test_stale_dtype(self):
        """An entry with the old dtype is reported, and so are those of the nodes that depend on it."""
        found = list(
            find_metadata(
                evidence(
                    capture(lambda x: aten.relu(x) * 2, (T(4),)),
                    replaced(aten.relu.default, aten._to_copy.default, dtype=torch.float64),
                )
            )
        )
        self.assertEqual(
            [(one.cause, one.node) for one in found],
            [("metadata:dtype", "_to_copy_default"), ("metadata:dtype-stale", "mul")],
        )

    def test_stale_stride(self):
        """An entry with the old stride is reported."""
        self.fails(
            "stride",
            "clone_default",
            "expected (3, 1), as the node gives; got (1, 4)",
            capture(lambda x: aten.t(x) * 2, (T(3, 4),)),
            contiguous_transpose,
        )

    def test_stale_count(self):
        """An entry of four pieces for a node that gives two is reported."""
        self.fails(
            "count",
            "split_tensor",
            "expected 2 tensors",
            capture(lambda x: aten.split(x, 1)[0] + 1, (T(4, 2),)),
            coarser_split,
        )

    def test_reshaped_in_place(self):
        """What holds a tensor that is reshaped later may say either shape; what is made of it is looked at."""
        text = """
            def forward(self, x):
                split = x.split(4, 0)
                getitem = operator.getitem(split, 0)
                t_ = getitem.t_()
                relu = torch.relu(getitem)
                return (relu,)
            """
        example = capture(text, (T(4, 3),), capture="dynamo")
        self.assertIn('split: "(f32[3, 4]', example.text)
        check_metadata(evidence(example, lambda graph: None))

        def forget(graph):
            relu = next(node for node in graph.nodes if node.target is torch.relu)
            relu.meta["example_value"] = graph.find_nodes(op="placeholder")[0].meta["example_value"]

        self.fails("shape-stale", "relu", "expected [3, 4], as the node gives; got [4, 3]", example, forget)

    def test_symbolic_shape(self):
        """A symbolic entry is measured at the sizes that the inputs have."""
        example = capture(lambda x: aten.cat([x, x]) * 2, (T("B", 3),))
        check_metadata(evidence(example, lambda graph: None))
        self.fails("shape", "cat_default", "got [2*s", example, cat_once_more)

    def test_missing_entry_is_a_note(self):
        """A new node without an entry is a note, for a later pass may add it."""
        rewritten = evidence(capture(model, (T(4, 3),)), replaced(aten.relu.default, aten.abs.default, keep_meta=False))
        check_metadata(rewritten)
        self.assertEqual([(one.cause, one.severity) for one in find_metadata(rewritten)], [("metadata:missing", NOTE)])

    def test_torch_is_not_blamed(self):
        """An entry that fake propagation confirms is not the pass's mistake, whatever the run gives."""
        rewritten = evidence(capture(lambda x: aten.relu(x) * 2, (T(4, 3),)), stale_sum)
        said = {"sum_dim_int_list": [rewritten.after.graph.find_nodes(op="placeholder")[0].meta["val"]]}
        with mock.patch.object(metadata, "fake_forms", return_value=said):
            nodes = {one.node for one in find_metadata(rewritten)}
        self.assertEqual(nodes, {"mul"})


def stale_sum(graph):
    """Replace relu by a sum over the rows, which has another shape."""
    for node in graph.find_nodes(op="call_function", target=aten.relu.default):
        with graph.inserting_before(node):
            new = graph.call_function(aten.sum.dim_IntList, (node.args[0], [0]))
        new.meta = dict(node.meta)
        node.replace_all_uses_with(new)
        graph.erase_node(node)


def contiguous_transpose(graph):
    """Make a transposed view contiguous, keeping the entry of the view."""
    (node,) = graph.find_nodes(op="call_function", target=aten.t.default)
    with graph.inserting_after(node):
        new = graph.call_function(aten.clone.default, (node,), {"memory_format": torch.contiguous_format})
    new.meta = dict(node.meta)
    node.replace_all_uses_with(new, delete_user_cb=lambda user: user is not new)


def coarser_split(graph):
    """Split into fewer pieces, keeping the entry."""
    (node,) = graph.find_nodes(op="call_function", target=aten.split.Tensor)
    node.args = (node.args[0], 2)
    node.name = "split_tensor"


def cat_once_more(graph):
    """Concatenate three times instead of twice, keeping the entry."""
    (node,) = graph.find_nodes(op="call_function", target=aten.cat.default)
    node.args = ([node.args[0][0]] * 3,)
    node.name = "cat_default"


if __name__ == "__main__":
    unittest.main()
