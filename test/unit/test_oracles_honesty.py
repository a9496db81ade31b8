"""The honesty oracle: an answer that is true, one that is not, and none."""

import unittest

import torch
from torch.fx.passes.infra.pass_base import PassResult

from fxpect.errors import CheckFailure
from fxpect.examples import Example
from fxpect.execution import as_pass, run_pass
from fxpect.oracles.evidence import NOTE
from fxpect.oracles.honesty import check_honesty, find_honesty
from fxpect.specs import T


def execution(pass_, **options):
    """Return the pass run on ``relu(x) + 1``."""
    example = Example(torch.fx.symbolic_trace(lambda x: torch.relu(x) + 1), (T(2),), capture="dynamo")
    return run_pass(as_pass(pass_, **options), example)


def answering(answer, change):
    """Return a pass over a GraphModule that gives this answer, and changes the graph or not."""

    def answering_pass(gm):
        for node in gm.graph.find_nodes(op="call_function", target=torch.relu) if change else []:
            node.target = torch.abs
        return PassResult(gm, answer) if isinstance(answer, bool) else answer

    return answering_pass


class HonestyTests(unittest.TestCase):
    def test_true_answers(self):
        """Both true answers hold, and so does none."""
        for answer, change in ((True, True), (False, False), (None, True), (None, False), (2, True), (0, False)):
            with self.subTest(answer=answer, change=change):
                check_honesty(execution(answering(answer, change)))

    def test_change_denied(self):
        """A pass that changed the graph and denies it is reported."""
        with self.assertRaisesRegex(
            CheckFailure, r"answering_pass: expected modified=True, the graph changed; got False"
        ):
            check_honesty(execution(answering(False, True)))

    def test_change_pretended(self):
        """A pass that changed nothing and claims to have is reported."""
        with self.assertRaisesRegex(
            CheckFailure, r"expected modified=False, the graph is as it was; got True"
        ) as caught:
            check_honesty(execution(answering(True, False)))
        self.assertEqual(caught.exception.cause, "honesty:claims-changed")

    def test_declined_match_is_a_note(self):
        """A match count without a change is a note: the handler may decline a match."""

        class Declining:
            def apply(self, gm):
                return 1

        found = list(find_honesty(execution(Declining(), kind="pattern")))
        self.assertEqual([(one.cause, one.severity) for one in found], [("honesty:claims-changed", NOTE)])


if __name__ == "__main__":
    unittest.main()
