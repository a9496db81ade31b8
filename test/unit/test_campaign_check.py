"""``fxpect.check``: what it finds, that it finds the same again, and that a dying pass does not end it."""

import ctypes
import functools
import itertools
import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

import torch

import fxpect
from fxpect import T
from fxpect.campaign import plan
from fxpect.campaign.check import Start, check_starts
from fxpect.campaign.finding import Parcel
from fxpect.campaign.search import DEFAULT_EXAMPLES, Tally
from fxpect.campaign.stopping import Stop
from fxpect.capture import capture
from fxpect.contracts import Contract
from fxpect.errors import CaptureError
from fxpect.oracles.judge import judge
from fxpect.passes.catalogue import find

aten = torch.ops.aten


def model(x, y):
    return torch.relu(torch.cat([x, y], dim=-1))


def sink_cat(gm):
    """Move relu above cat, as torch's own pass does, and forget that cat may have another user."""
    for node in gm.graph.find_nodes(op="call_function", target=torch.relu):
        cat = node.args[0]
        if getattr(cat, "target", None) is torch.cat and cat.op == "call_function":
            with gm.graph.inserting_before(cat):
                parts = [gm.graph.call_function(torch.relu, (part,)) for part in cat.args[0]]
                for new, part in zip(parts, cat.args[0], strict=True):
                    new.meta = dict(part.meta)
            cat.args = (parts, *cat.args[1:])
            node.replace_all_uses_with(cat)
            gm.graph.erase_node(node)
    return gm


def dying(how):
    """Return a pass that ends the process when the graph holds a negation."""
    def dies(gm):
        if any(node.target in (torch.neg, "neg") for node in gm.graph.nodes):
            how()
        return gm

    return dies


def causes(findings):
    return [finding.cause for finding in findings]


def tells_of_extra_user(finding):
    """Whether one more reader of cat, in whatever way it reads, or the caller, got wrong values."""
    return finding.cause.startswith("numerics:values") and \
        any(step in finding.cause for step in ("extra user of cat", "cat returned too"))


class CheckTests(unittest.TestCase):
    """A planted bug is found from the innocent example, once, with all that a report needs."""

    @classmethod
    def setUpClass(cls):
        cls.tally = Tally()
        cls.findings = fxpect.check(sink_cat, model, T(2, 8), T(2, 2), capture="dynamo", examples=150, dynamic=False,
                                    tally=cls.tally)

    def test_finds_the_extra_user(self):
        """A second reader of cat is one edit away, and the finding says so."""
        found = [f for f in self.findings if tells_of_extra_user(f)]

        self.assertEqual(len(found), 1, causes(self.findings))
        self.assertEqual((found[0].oracle, found[0].edits), ("numerics", 1))
        self.assertIn("torch.cat", found[0].before)
        self.assertIn("relu", found[0].after)

    def test_counts_each_cause_once(self):
        """Findings are one for each cause, however many examples showed it."""
        self.assertEqual(len(set(causes(self.findings))), len(self.findings))
        self.assertTrue(any(f.seen > 1 for f in self.findings))

    def test_a_copy_made_a_view_is_told_once(self):
        """A stride, an alias and a write that reaches the input are one finding, shown by the write.

        One that autograd refuses stays a finding of its own, and so does another shape of what was copied.
        """
        def contiguous(gm):
            for node in gm.graph.find_nodes(op="call_method", target="contiguous"):
                node.replace_all_uses_with(node.args[0])
                gm.graph.erase_node(node)

        found = fxpect.check(contiguous, lambda x: x.t().contiguous() + 1, T(2, 3), capture="dynamo", examples=150,
                             dynamic=False, directions=("outputs", "writes", "layouts", "extra_users"))

        others = [f.cause for f in found if not f.failure.views]
        self.assertEqual([cause for cause in others if "reshaped in place" not in cause], [])
        found = [f for f in found if f.failure.views and f.oracle != "crash"]
        self.assertEqual({f.failure.views for f in found}, {("contiguous",)})
        self.assertEqual([f.failure.cause for f in found], ["effects:input-mutated"])
        self.assertLessEqual({"effects:output-aliases-input", "numerics:stride"}, set(found[0].also))
        self.assertRegex(str(found[0]), "also seen as: .*effects:output-aliases-input")

    def test_tally_tells_what_was_done(self):
        """The tally counts the judged and the rewritten examples, and met no flaw of a direction."""
        self.assertEqual(self.tally.judged, 150)
        self.assertGreater(self.tally.fired, 50)
        self.assertEqual(self.tally.flaws, [])

    def test_example_inputs_are_fresh_and_equal(self):
        """Two calls give equal tensors of their own."""
        finding = self.findings[0]

        first, second = finding.example_inputs(), finding.example_inputs()

        torch.testing.assert_close(first, second, rtol=0, atol=0, equal_nan=True)
        self.assertIsNot(first[0], second[0])

    def test_same_seed_same_findings(self):
        """Equal arguments give equal findings; another seed finds the extra user too."""
        options = dict(capture="dynamo", examples=60, dynamic=False, directions=("extra_users", "keywords", "outputs"))

        first, again, other = (fxpect.check(sink_cat, model, T(2, 8), T(2, 2), seed=seed, **options)
                               for seed in (0, 0, 1))

        self.assertEqual([str(f) for f in first], [str(f) for f in again])
        for found in (first, other):
            self.assertTrue(any(map(tells_of_extra_user, found)), causes(found))

    def test_script_exits_1_and_needs_torch_alone(self):
        """The script of a finding of an importable pass runs by itself, and exits 0 for a pass that is right."""
        finding = next(f for f in self.findings if tells_of_extra_user(f))
        head, _, rest = finding.script.partition("# " + "-" * 64 + " the pass")
        case = rest[rest.index("# -------"):]
        own = Path(__file__).read_text(encoding="utf-8")
        source = own[own.index("def sink_cat"):own.index("def dying")]

        wrong = self.run_script(head + source + "\n\nthe_pass = sink_cat\n" + case)
        right = self.run_script(head + "def the_pass(gm):\n    return gm\n" + case)

        self.assertEqual((wrong.returncode, right.returncode), (1, 0), wrong.stdout + wrong.stderr + right.stderr)
        self.assertIn("FAILS: output 1", wrong.stdout)

    def run_script(self, text):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "finding.py")
            path.write_text(text, encoding="utf-8")
            environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
            return subprocess.run([sys.executable, str(path)], capture_output=True, text=True, cwd=folder,
                                  env=environment)

    def test_script_says_what_to_fill_in(self):
        """A pass without an import path gets a marked line."""
        found = fxpect.check(lambda gm: sink_cat(gm), model, T(2, 8), T(2, 2), capture="dynamo", examples=30,
                             dynamic=False, directions=("extra_users",))

        self.assertIn("FILL IN", found[0].script)

    def test_correct_pass_has_no_finding(self):
        """The identity survives its neighbourhood, and never fires."""
        tally = Tally()

        found = fxpect.check(lambda gm: gm, model, T(2, 8), T(2, 2), capture="dynamo", examples=100, tally=tally)

        self.assertEqual((causes(found), tally.fired), ([], 0))

    def test_outside_of_the_contract_only_on_request(self):
        """A pass that trusts in positional arguments is right on ATen graphs; outside of what these are it is not."""
        def trusting(gm):
            for node in gm.graph.find_nodes(op="call_function", target=aten.relu.default):
                assert len(node.args) == 1, "an operand by keyword"
            return gm

        options = dict(capture="aten", examples=60, dynamic=False, directions=("keywords",), isolate=False)

        kept = fxpect.check(trusting, lambda x: x.relu() + 1, T(2, 3), **options)
        left = fxpect.check(trusting, lambda x: x.relu() + 1, T(2, 3), outside=True, **options)

        self.assertEqual(causes(kept), [])
        self.assertEqual([(f.oracle, f.outside) for f in left], [("crash", True)])
        self.assertIn("outside of what aten graphs are", str(left[0]))

    def test_text_fails_where_only_the_order_of_the_calls_does(self):
        """A pass that looks at which call stands first is shown a text in program order, which fails again."""
        def in_canonical_order(gm):
            calls = [node.target._opname for node in gm.graph.nodes if node.op == "call_function"]
            assert calls == re.findall(r"aten\.(\w+)\.", fxpect.graph_text(gm)), "in another order"
            return gm

        found = fxpect.check(in_canonical_order, lambda x: (x.relu() + 1) * x.sin(), T(2, 3), capture="aten",
                             examples=100, dynamic=False, isolate=False)

        self.assertEqual([finding.oracle for finding in found], ["crash"])
        again = fxpect.Example.from_text(found[0].before, *found[0].example.inputs, capture="aten")
        self.assertEqual([f.cause for f in fxpect.judge(in_canonical_order, again).failures], [found[0].failure.cause])

    def test_graphs_that_make_no_program_are_thrown_away(self):
        """A near miss that the pass cannot be given is no end of the search; an innocent model is."""
        def judged(pass_, example, **options):
            if len(example.edits) >= refused:
                raise CaptureError("the graph does not make a program")
            return judge(pass_, example, **options)

        def search():
            done = Tally()
            found = fxpect.check(lambda gm: gm, lambda x: x.relu() * 2, T(8), capture="export", examples=10, tally=done,
                                 isolate=False)
            return found, done.discarded > 0

        with mock.patch("fxpect.campaign.search.judge", judged):
            refused = 1
            self.assertEqual(search(), ([], True))
            refused = 0
            with self.assertRaisesRegex(CaptureError, "does not make a program"):
                search()

    def test_capture_is_chosen_where_the_pass_fires(self):
        """Without capture= a torch-level pass is tried on the torch-level graph."""
        found = fxpect.check(sink_cat, model, T(2, 8), T(2, 2), examples=60, dynamic=False)

        self.assertEqual({f.example.capture for f in found}, {"dynamo"})

    def test_where_autograd_does_not_survive_a_fork(self):
        """The search stays in this process, in which a pass can be seen to run; else it is in a forked one."""
        seen = []

        def noted(gm):
            seen.append(os.getpid())
            return gm

        for survives in (True, False):
            seen.clear()
            with mock.patch("fxpect.campaign.isolation._differentiate", lambda ok=survives: os._exit(0 if ok else 1)):
                fxpect.check(noted, lambda x: x.tanh(), T(2), capture="aten", examples=3)
            self.assertEqual(bool(seen), not survives)

    def test_model_that_cannot_be_captured(self):
        """A model that no capture takes is an error at once, not an empty list."""
        def broken(x):
            raise RuntimeError("no graph here")

        with self.assertRaisesRegex(CaptureError, "broken"):
            fxpect.check(sink_cat, broken, T(2), capture="dynamo")


# Where autograd does not survive a fork, a check stays in its process by default, and such a pass would end that.
isolated_check = functools.partial(fxpect.check, isolate=True)


@unittest.skipUnless(hasattr(os, "fork"), "isolation needs fork")
def simplify(gm):
    """Spell relu as a bound, wrongly below a view, and a product with any number as a sum, which is right for two."""
    for node in list(gm.graph.nodes):
        with gm.graph.inserting_before(node):
            if node.target is aten.relu.default:
                viewed = node.args[0].target is aten.view.default
                new = gm.graph.call_function(aten.abs.default if viewed else aten.clamp_min.default,
                                             node.args if viewed else (*node.args, 0))
            elif node.target is aten.mul.Tensor and not isinstance(node.args[1], torch.fx.Node):
                new = gm.graph.call_function(aten.add.Tensor, (node.args[0], node.args[0]))
            else:
                continue
        new.meta = dict(node.meta)
        node.replace_all_uses_with(new)
        gm.graph.erase_node(node)
    return gm


class PatternTests(unittest.TestCase):
    """The pass's own patterns are starts beside its models."""

    STARTS = (Start(torch.sin, (T(2, 3),), "aten", pattern="idle"),
              Start(lambda x: torch.relu(x.view(6)), (T(2, 3),), "aten", pattern="twin"),
              Start(lambda x: x * 2, (T(2, 3),), "aten", pattern="product"),
              Start(torch.relu, (T(2, 3),), "aten", dynamic=False))

    def found(self, **options):
        return check_starts(simplify, self.STARTS, isolate=False, directions=("values", "input_values"), **options)

    def test_a_bug_next_to_a_pattern(self):
        """What a pattern shows that no model does is found; one with a model's operators is no start of its own."""
        found = self.found(examples=180)

        self.assertEqual(causes(found), ["numerics:values | pattern product + mul.other changed"])
        self.assertEqual(found[0].edits, 1)

    def test_a_small_budget_is_for_the_models(self):
        """Where a third of the budget is too little for one pattern, none is explored."""
        self.assertEqual(self.found(examples=179), [])

    def test_what_starts_a_check_of_the_catalogue(self):
        """A check by name starts from models, then from patterns of the graph that the pass is given."""
        def starts(*args, **options):
            with mock.patch.object(plan, "check_starts", return_value=[]) as called:
                plan.check_by_name(*args, **options)
            return called.call_args.args[1]

        names = [start.pattern for start in starts("fuse_attention")]
        number = len(find("fuse_attention").models)
        self.assertEqual(set(names[:number]), {""})
        self.assertIn("_sfdp_pattern_24_inference", names[number:])
        self.assertFalse([name for name in names if "training" in name])
        self.assertFalse([start.pattern for start in starts("fuse_attention", capture="make_fx") if start.pattern])
        self.assertEqual([start.pattern for start in starts("fx.merge_matmul")], [""])


    def test_how_many_examples_by_default(self):
        """The catalogue says how many for a slow pass; what is asked for is done; others have the usual number."""
        def examples(*args, **options):
            with mock.patch.object(plan, "check_starts", return_value=[]) as called:
                plan.check_by_name(*args, **options)
            return called.call_args.kwargs["examples"]

        slow = "fx.optimize_for_inference"
        self.assertEqual(examples(slow), find(slow).examples)
        self.assertLess(find(slow).examples, DEFAULT_EXAMPLES)
        self.assertEqual(examples(slow, examples=5000), 5000)
        self.assertIsNone(examples("fx.merge_matmul"))


class IsolationTests(unittest.TestCase):
    """A pass that ends or holds up the process is one finding with its input, and the search goes on."""

    def findings_of(self, how, **options):
        return isolated_check(dying(how), model, T(2, 8), T(2, 2), capture="dynamo", examples=30, dynamic=False,
                            directions=("extra_users",), **options)

    def test_segmentation_fault(self):
        """A segmentation fault is told by its signal."""
        found = self.findings_of(lambda: ctypes.string_at(0))

        self.assertTrue(found)
        self.assertIn("SIGSEGV", found[0].message)
        self.assertIn("torch.neg", found[0].before)

    def test_hang(self):
        """A pass that never returns is stopped after the time for one example."""
        found = self.findings_of(lambda: time.sleep(600), timeout=1.0)

        self.assertTrue(found)
        self.assertIn("longer than 1 s", found[0].message)

    def test_exit(self):
        """os._exit in a pass is told by its code; sys.exit is an ordinary crash of the pass."""
        hard = self.findings_of(lambda: os._exit(3))
        soft = self.findings_of(lambda: sys.exit(3))

        self.assertIn("exit code 3", hard[0].message)
        self.assertIn("SystemExit", soft[0].message)

    def test_dies_on_the_innocent(self):
        """A pass that ends the process on the model itself is one finding, also while a capture is chosen."""
        found = isolated_check(lambda gm: os._exit(7), model, T(2, 8), T(2, 2), examples=12)

        self.assertEqual([f.cause for f in found], ["crash:process:the process ended with exit code 7"])
        self.assertEqual(found[0].steps, ())
        self.assertGreater(found[0].seen, 1)
        self.assertIn("aten.cat.default", found[0].before)

    def test_five_deaths_end_the_search(self):
        """Every example that ended a child is told or counted, also the last of the five that a check takes."""
        def dies(gm):
            if len(gm.graph.output_node().all_input_nodes) > 1:
                ctypes.string_at(0)
            return gm

        found = isolated_check(dies, model, T(2, 8), T(2, 2), capture="dynamo", examples=40, dynamic=False,
                             directions=("extra_users", "outputs"))

        self.assertEqual({f.cause for f in found}, {"crash:process:the process died of SIGSEGV"})
        self.assertEqual(sum(f.seen for f in found), 5)
        self.assertEqual(len({f.before for f in found}), len(found))
        self.assertGreater(len(found), 2)

    def test_each_finding_is_told_once(self):
        """What a child found before it died is not told again by the next; two deaths are two findings."""
        def dies(gm):
            if any(node.target in (torch.neg, "neg") for node in gm.graph.nodes):
                ctypes.string_at(0)
            return sink_cat(gm)

        told = []
        found = isolated_check(dies, model, T(2, 8), T(2, 2), capture="dynamo", examples=60, dynamic=False,
                               directions=("extra_users", "outputs"), told=told.append)

        self.assertEqual(sorted(finding.mark for finding in told), sorted(finding.mark for finding in found))
        self.assertGreater(len([finding for finding in found if "SIGSEGV" in finding.cause]), 1)
        self.assertTrue([finding for finding in found if "SIGSEGV" not in finding.cause])

    def test_stopped(self):
        """A search that is to stop tells what it met, as it was met; where its process dies, no other starts."""
        for how in (lambda: None, lambda: ctypes.string_at(0)):
            stop, calls, tally = Stop(), itertools.count(), Tally()

            def asks(gm, stop=stop, calls=calls, how=how):
                if next(calls) == 20:
                    stop.ask(signal.SIGTERM)
                    how()
                return sink_cat(gm)

            found = isolated_check(asks, model, T(2, 8), T(2, 2), capture="dynamo", examples=3000, stop=stop,
                                   directions=("extra_users",), tally=tally)
            self.assertLess(tally.judged, 30)
            self.assertEqual(any(tells_of_extra_user(finding) for finding in found), tally.judged > 0, causes(found))
            self.assertEqual([finding.taken_out for finding in found], [()] * len(found))

    def test_examples_that_hold_are_not_put_into_words(self):
        """No canonical text is made for an example before it ends a child."""
        tally = Tally()

        with mock.patch.object(Parcel, "of", side_effect=AssertionError("put into words")):
            found = isolated_check(lambda gm: gm, model, T(2, 8), T(2, 2), capture="dynamo", examples=12, dynamic=False,
                                 tally=tally)

        self.assertEqual((causes(found), tally.judged), ([], 12))

    def test_what_a_stage_promises_crosses(self):
        """An example that was told across a process keeps its contract, its steps, and whether they left it."""
        example = capture(model, (T(2, 8), T(2, 2)), capture="dynamo")
        sent = example.replace(contract=Contract(writes="never", inference=True), edits=("a step",),
                               triggers=("a kind",), outside=True)

        told = pickle.loads(pickle.dumps(Parcel.of(sent))).example()

        for name in ("text", "capture", "sizes", "contract", "edits", "triggers", "outside"):
            self.assertEqual(getattr(told, name), getattr(sent, name), name)

    def test_memory(self):
        """A pass that takes all memory is stopped at the limit."""
        found = self.findings_of(lambda: [bytearray(2**28) for _ in range(64)], memory=1024)

        self.assertTrue(found)
        self.assertEqual(found[0].oracle, "crash")


if __name__ == "__main__":
    unittest.main()
