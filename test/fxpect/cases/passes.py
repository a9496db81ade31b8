"""The test cases for passes: the verbs, on the graph that each stage of Inductor is given."""

from __future__ import annotations

from fxpect.cases.export import ExportTestCase


class PassTestCase(ExportTestCase):
    """Tests of a pass on graphs of ``torch.export``; a subclass or a call may name another ``capture``."""

    capture = "export"


class PreGradPassTestCase(PassTestCase):
    """Tests of a pass on the graph that dynamo hands over: torch functions and methods, ``example_value``.

    On an exported graph nearly every pre-grad pass of torch matches nothing.
    """

    capture = "dynamo"


class JointGraphPassTestCase(PassTestCase):
    """Tests of a pass on ATen and prims after Inductor's decompositions, as its joint-graph passes are given.

    ``capture="joint"`` is the forward and backward graph of training.
    """

    capture = "aten"


class PostGradPassTestCase(PassTestCase):
    """Tests of a pass on ATen and prims after Inductor's decompositions, as post-grad passes are given."""

    capture = "aten"
