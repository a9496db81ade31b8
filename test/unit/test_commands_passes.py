"""``fxpect passes``: the list, one pass in full, what is left out, JSON."""

import contextlib
import io
import json
import unittest

from fxpect.commands.main import main
from fxpect.passes.catalogue import catalogue, find


def run(*words):
    """Run the command; return the exit code, what it printed and what it complained about."""
    printed, complained = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(complained):
        code = main(["passes", *words])
    return code, printed.getvalue(), complained.getvalue()


class PassesTests(unittest.TestCase):
    """What a person and a program are told."""

    def test_lists_every_pass_with_what_it_does(self):
        """One line a pass: name, stage, capture, what it does, models."""
        code, printed, _ = run()
        self.assertEqual(code, 0)
        self.assertEqual(len(printed.splitlines()), len(catalogue()))
        (line,) = [line for line in printed.splitlines() if line.startswith("pre_grad.batch_linear ")]
        self.assertRegex(line, r"pre_grad +dynamo +stacks linears .*\(plain, bias\)")

    def test_a_stage_alone(self):
        """Only the passes of the stage are listed."""
        _, printed, _ = run("--stage", "freezing")
        self.assertTrue(all(line.startswith("freezing.") for line in printed.splitlines()))

    def test_json_is_one_object_a_line(self):
        """Every line is JSON with the models and what the stage forgives."""
        _, printed, _ = run("--json")
        records = [json.loads(line) for line in printed.splitlines()]
        self.assertEqual([record["name"] for record in records], [entry.name for entry in catalogue()])
        random = next(record for record in records if record["name"] == "joint.replace_random_passes")
        self.assertIn("numerics:random-values", random["forgives"])
        self.assertEqual(random["models"][0]["inputs"], ["f32[3, 4]"])

    def test_one_pass_in_full(self):
        """A name, or its last part, shows options, models, what runs first, patterns, the next command."""
        code, printed, _ = run("split_cat_pass", "--patterns")
        self.assertEqual(code, 0)
        for part in ("pre_grad_fusion_options['split_cat_pass']", "runs first, inside the same call: "
                     "pre_grad.normalization_pass", "model stack [dynamo] (f32[6, 3])  Stack equal pieces.",
                     "pattern merge_split_squeeze#1", "fxpect check pre_grad.split_cat_pass"):
            self.assertIn(part, printed)

    def test_an_excuse_is_shown_with_its_reason(self):
        """What a pass is not judged by comes with the reason."""
        _, printed, _ = run("joint.mul_softmax_pattern")
        self.assertIn("is not judged by: stability:not-idempotent", printed)
        self.assertIn("(what it makes holds the pattern again", printed)

    def test_a_slow_pass_says_how_many_examples(self):
        """A check of a slow pass judges fewer examples by default, of any other the usual number."""
        self.assertIn(f"  is slow: check judges {find('fx.optimize_for_inference').examples} examples unless "
                      "--examples says otherwise\n", run("fx.optimize_for_inference")[1])
        self.assertNotIn("is slow", run("split_cat_pass")[1])

    def test_what_is_left_out(self):
        """The passes that cannot fire on a CPU are listed with the reason."""
        _, printed, _ = run("--left-out", "--stage", "joint")
        self.assertIn("joint.bmm_to_mm", printed)
        self.assertIn("asks for a GPU", printed)
        self.assertNotIn("pre_grad.", printed)

    def test_an_unknown_name_is_misuse(self):
        """A name that is not there exits 2 and suggests another."""
        code, printed, complained = run("splitcat_pass")
        self.assertEqual((code, printed), (2, ""))
        self.assertIn("did you mean", complained)


if __name__ == "__main__":
    unittest.main()
