"""Every catalogued pass fires on each of its models, and is right there."""

import dataclasses
import unittest

import torch

from fxpect.errors import NoRewrite
from fxpect.execution.fingerprint import Fingerprint
from fxpect.oracles.judge import judge
from fxpect.passes.catalogue import CataloguedPass, Innocent, catalogue, find
from fxpect.passes.firing import fire, pass_of, start
from fxpect.specs import T

torch.set_num_threads(1)


def double(x):
    """A model."""
    return x + x


def nothing(gm):
    """A pass that does nothing."""


class FiringTests(unittest.TestCase):
    """Each pass, on each model: it fires, beyond what runs before it, and it is right."""

    def fires(self, stage):
        """Fire every pass of a stage on all its models, and ask whether the result computes the same."""
        for each in catalogue():
            if each.stage == stage:
                for model in each.models:
                    with self.subTest(each.name, model=model.name):
                        example = start(each, model)
                        fire(each, model, example)
                        result = judge(pass_of(each), example, oracles=("numerics", "effects"),
                                       severity=each.severity)
                        wrong = [f"{f.cause}: {f.message}" for f in result.failures if f.oracle in ("numerics",
                                                                                                    "crash")]
                        self.assertEqual(wrong, [])
                        self.assertIsNone(result.discarded)

    def test_pre_grad(self):
        """Every pre-grad pass fires on each of its models and computes what the model computes."""
        self.fires("pre_grad")

    def test_joint(self):
        """Every joint-graph pass does."""
        self.fires("joint")

    def test_post_grad(self):
        """Every post-grad pass does."""
        self.fires("post_grad")

    def test_freezing(self):
        """Every freezing pass does."""
        self.fires("freezing")

    def test_fx(self):
        """Every pass of torch.fx and functorch does."""
        self.fires("fx")

    def test_export(self):
        """Every pass of torch.export does."""
        self.fires("export")

    def test_a_pass_that_does_nothing_is_noticed(self):
        """A pass that leaves its model alone is a NoRewrite that names pass, model and torch."""
        idle = CataloguedPass("mine.idle", "fx", "make_fx", "nothing", lambda: nothing,
                              (Innocent("double", double, (T(2, 3),)),))
        with self.assertRaises(NoRewrite) as caught:
            fire(idle, idle.models[0])
        self.assertIn("'double'", str(caught.exception))
        self.assertIn(torch.__version__, str(caught.exception))
        self.assertEqual(caught.exception.pass_name, "mine.idle")

    def test_a_pass_that_does_no_more_than_what_runs_first_is_noticed(self):
        """Where only the passes that run first change the graph, that does not count as firing."""
        normalised = find("pre_grad.normalization_pass")
        lazy = dataclasses.replace(normalised, name="mine.lazy", after=("pre_grad.normalization_pass",))
        with self.assertRaisesRegex(NoRewrite, "beyond what the passes that run first change"):
            fire(lazy, lazy.models[0])

    def test_models_stay_as_they_are(self):
        """Capturing and running leaves the parameters of a model untouched."""
        each = find("fx.fuse_conv_bn")
        kept = {name: value.clone() for name, value in each.models[0].model.state_dict().items()}
        fire(each, each.models[0])
        for name, value in each.models[0].model.state_dict().items():
            self.assertTrue(torch.equal(value, kept[name]), name)

    def test_two_starts_are_equal(self):
        """A model starts exploration from the same example every time."""
        each = find("joint.mul_softmax_pattern")
        first, second = (start(each, each.models[0]) for _ in range(2))
        self.assertEqual(first.text, second.text)
        self.assertFalse(Fingerprint(first.graph_module).differs(second.graph_module))


if __name__ == "__main__":
    unittest.main()
