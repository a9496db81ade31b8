"""Real bugs of shipped passes: each is seen on its own example, and found from the innocent models of its pass."""

import unittest

import torch

from fxpect.campaign.plan import check_by_name
from fxpect.oracles.judge import ALWAYS, ON_REQUEST, judge
from fxpect.passes.catalogue import find
from fxpect.passes.firing import pass_of
from fxpect.report.counts import tally
from test.quality.sample_bugs import SAMPLES, Sample

torch.set_num_threads(1)


class OwnExampleTests(unittest.TestCase):
    """One test for each bug: the oracles see it on the very example."""


class FromInnocenceTests(unittest.TestCase):
    """One test for each bug: the search finds it along its directions, from the innocent models alone."""


def check_own_example(test: unittest.TestCase, sample: Sample) -> None:
    """Fail unless an oracle of the bug sees it, or unless the example holds where torch has mended it."""
    entry = find(sample.pass_name)
    oracles = (*ALWAYS, *(name for name in sample.oracles if name in ON_REQUEST))
    result = judge(pass_of(entry), sample.example(), oracles=oracles, severity=entry.severity)
    test.assertIsNone(result.discarded)
    seen = {failure.oracle for failure in result.failures}
    if not sample.applies:
        test.assertEqual(seen & set(sample.oracles), set(), f"expected it to be mended: torch {sample.torch}")
        return
    test.assertTrue(seen & set(sample.oracles), f"expected {' or '.join(sample.oracles)} to see it; got {sorted(seen)}")


def check_from_innocence(test: unittest.TestCase, sample: Sample) -> None:
    """Fail unless a finding is of this very bug, or unless there is none where torch has mended it."""
    findings, done = check_by_name(sample.pass_name, examples=sample.examples, directions=sample.directions)
    tally.add("examples", done.judged)
    found = [finding for finding in findings if sample.explains(finding)]
    if not sample.applies:
        test.assertEqual([finding.cause for finding in found], [], f"expected it to be mended: torch {sample.torch}")
        return
    test.assertTrue(found, f"{sample.what}: not among\n" + "\n".join(finding.cause for finding in findings))
    test.assertIn("FAILS", found[0].script)


def _add_tests() -> None:
    """Give each class one test for each bug."""
    for sample in SAMPLES:
        for case, body in ((OwnExampleTests, check_own_example), (FromInnocenceTests, check_from_innocence)):

            def test(self, sample=sample, body=body):
                body(self, sample)

            test.__name__ = f"test_{sample.number:03d}"
            test.__qualname__ = f"{case.__name__}.{test.__name__}"
            test.__doc__ = f"{sample.pass_name}: {sample.what}."
            setattr(case, test.__name__, test)


_add_tests()

if __name__ == "__main__":
    unittest.main()
