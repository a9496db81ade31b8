"""Stored cases of a test: missing, accepted, drifted either way, never reached; what no run may touch."""

import operator
import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import torch

import fxpect
from fxpect import T
from fxpect.fixtures.accept import accept
from fxpect.fixtures.pending import Pending
from fxpect.passes.known_bugs import KnownBug
from fxpect.report.counts import tally


def folds(gm):
    """Drop a relu of a relu."""
    for node in gm.graph.find_nodes(op="call_function", target=torch.relu):
        if getattr(node.args[0], "target", None) is torch.relu:
            node.replace_all_uses_with(node.args[0])
            gm.graph.erase_node(node)
    gm.recompile()


def folds_and_copies(gm):
    """Drop a relu of a relu, and leave a copy behind."""
    folds(gm)
    for node in gm.graph.find_nodes(op="call_function", target=torch.relu):
        if any(user.target is torch.clone for user in node.users):
            continue
        with gm.graph.inserting_after(node):
            copied = gm.graph.call_function(torch.clone, (node,))
        node.replace_all_uses_with(copied)
        copied.args = (node,)
        copied.meta = dict(node.meta)
    gm.recompile()


def two_relus(x):
    return torch.relu(torch.relu(x)) + 1


def two_relus_times(x):
    return torch.relu(torch.relu(x)) * 1


class GoldenCase(fxpect.PassTestCase):
    """The tests that are run below; the attributes stand for edits of the code under test."""

    capture = "symbolic"
    pass_ = staticmethod(folds)
    model = staticmethod(two_relus)
    keep_golden = True


def case(**attributes):
    """Return a class with one test, as it is after some edit."""

    class Golden(GoldenCase):
        def test(self):
            """Two relus become one."""
            self.assertRewrites(self.pass_, self.model, T(3), golden=self.keep_golden)

    for name, value in attributes.items():
        setattr(Golden, name, staticmethod(value) if callable(value) else value)
    return Golden


class InStore(unittest.TestCase):
    """Runs with a store of its own."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder.name)
        self.root = Path(folder.name) / "fixtures"
        self.root.mkdir()
        environment = {
            "FXPECT_FIXTURES": str(self.root),
            "EXPECTTEST_ACCEPT": "",
            "CI": "",
            "FXPECT_RUN": f"run-{self.id().rpartition('.')[2]}",
        }
        patch = mock.patch.dict(os.environ, environment)
        patch.start()
        self.addCleanup(patch.stop)
        tally.take()

    def run_test(self, owner, method="test"):
        """Run one test; return the messages of what failed."""
        result = unittest.TestResult()
        owner(method).run(result)
        return [text for _, text in [*result.failures, *result.errors]]

    def stored(self):
        return {path.relative_to(self.root).as_posix(): path.read_text() for path in self.root.rglob("*.fx")}

    def pending(self):
        return Pending(self.root).live()

    def accept(self, **options):
        return [outcome.status for outcome in accept(self.root, self.pending(), **options)]


class GoldenTests(InStore):
    def test_missing_is_a_failure_with_a_proposal(self):
        """golden=True without a stored case fails, proposes it with the test's docstring, and writes no fixture."""
        (message,) = self.run_test(case())
        (entry,) = self.pending()

        self.assertIn("GoldenMissing", message)
        self.assertIn(f"fxpect accept {entry.key}", message)
        self.assertEqual((entry.kind, entry.why), ("new case", "Two relus become one."))
        self.assertEqual(self.stored(), {})
        self.assertEqual(tally.take()["proposed"], 1)

    def test_missing_is_no_failure_by_default(self):
        """Without golden= a case that is not stored is neither compared nor proposed."""
        self.assertEqual(self.run_test(case(keep_golden=None)), [])
        self.assertEqual(self.pending(), [])

    def test_accepted_then_compared(self):
        """After accepting, the same test holds, with golden= and without, and leaves the file alone."""
        self.run_test(case())
        self.assertEqual(self.accept(), ["accepted"])
        before = self.stored()
        for golden in (True, None):
            with self.subTest(golden=golden):
                tally.take()
                self.assertEqual(self.run_test(case(keep_golden=golden)), [])
                self.assertEqual(tally.take()["pinned"], 1)

        self.assertEqual(self.stored(), before)
        (text,) = before.values()
        self.assertIn("why: Two relus become one.", text)
        self.assertIn("inputs: x=f32[3]\noptions: capture=symbolic\nbefore:\n", text)

    def test_accepting_while_running(self):
        """EXPECTTEST_ACCEPT=1 accepts at once; in CI it is refused."""
        with mock.patch.dict(os.environ, EXPECTTEST_ACCEPT="1"):
            self.assertEqual(self.run_test(case()), [])
            self.assertEqual(len(self.stored()), 1)
        with mock.patch.dict(os.environ, EXPECTTEST_ACCEPT="1", CI="true"):
            (message,) = self.run_test(case(pass_=folds_and_copies))

        self.assertIn("RefusedError", message)

    def test_pass_drift(self):
        """A pass that gives another graph is PassDrift, in words and lines, with the commands."""
        self.run_test(case())
        self.accept()
        tally.take()
        (message,) = self.run_test(case(pass_=folds_and_copies))
        (told,) = tally.take().details["pass drift"]

        self.assertRegex(told, r"^\+1 clone after relu")
        self.assertIn("PassDrift", message)
        self.assertIn("[fixture] pass folds_and_copies: ", message)
        self.assertIn("the graph after is not the stored one: ", message)
        self.assertIn('+    clone: "f32[3]" = torch.clone(relu)', message)
        self.assertNotIn("capture drift", message)
        self.assertEqual([entry.kind for entry in self.pending()], ["after changed"])

    def test_capture_drift_alone(self):
        """A model that captures to another graph is CaptureDrift; the pass still holds on the stored graph."""
        self.run_test(case())
        self.accept()
        (message,) = self.run_test(case(model=two_relus_times))

        self.assertIn("CaptureDrift", message)
        self.assertIn("the capture no longer gives the stored graph before: ", message)
        self.assertIn(
            "on the stored graph before, the pass gives the stored graph after: only the capture changed", message
        )
        self.assertEqual([entry.kind for entry in self.pending()], ["before changed"])
        self.assertEqual(tally.take()["capture drift"], 1)

    def test_both_drifts(self):
        """Where both changed, both answers are given."""
        self.run_test(case())
        self.accept()
        (message,) = self.run_test(case(model=two_relus_times, pass_=folds_and_copies))

        self.assertIn("capture drift of", message)
        self.assertIn("pass drift of", message)
        self.assertEqual(sorted(entry.kind for entry in self.pending()), ["after changed", "before changed"])

    def test_pass_that_raises_on_the_stored_graph(self):
        """Where the capture drifted and the pass raises on the stored graph, that is the second answer."""

        def adds_alone(gm):
            if gm.graph.find_nodes(op="call_function", target=operator.add):
                raise ValueError("no sums")
            folds(gm)

        self.run_test(case())
        self.accept()
        (message,) = self.run_test(case(model=two_relus_times, pass_=adds_alone))

        self.assertIn("the pass gives no graph", message)
        self.assertIn("no sums", message)

    def test_accepting_a_capture_drift_replaces_the_case(self):
        """A capture drift that is accepted leaves one case, which then holds."""
        self.run_test(case())
        self.accept()
        self.run_test(case(model=two_relus_times))
        self.accept()

        self.assertEqual(self.run_test(case(model=two_relus_times)), [])
        (text,) = self.stored().values()
        self.assertEqual(text.count("## "), 1)

    def test_never_reached(self):
        """A stored case that the test no longer makes is a failure, not silence."""
        self.run_test(case())
        self.accept()

        class Golden(GoldenCase):
            def test(self):
                self.assertRewrites(folds, two_relus, T(4))

        (message,) = self.run_test(Golden)

        self.assertIn("expected the test to reach every stored case", message)
        (entry,) = self.pending()
        self.assertEqual(entry.kind, "case gone")
        self.assertIn(f"\n    fxpect accept {entry.key}", message)
        with mock.patch.dict(os.environ, EXPECTTEST_ACCEPT="1"):
            self.assertEqual(len(self.run_test(Golden)), 1)
        self.assertEqual(len(self.stored()), 1)
        self.accept()
        self.assertEqual((self.stored(), self.run_test(Golden)), ({}, []))

    def test_reached_again(self):
        """What was proposed to be taken out is not, once the test makes it again."""
        self.run_test(case())
        self.accept()

        class Golden(GoldenCase):
            def test(self):
                self.assertRewrites(folds, two_relus, T(4))

        self.run_test(Golden)
        self.assertEqual(len(self.pending()), 1)
        self.assertEqual(self.run_test(case()), [])
        self.assertEqual(self.pending(), [])

    def test_failing_test_need_not_reach_every_case(self):
        """A test that fails or is skipped says nothing of the cases it never reached."""

        class Golden(GoldenCase):
            stop = None

            def test(self):
                self.assertRewrites(folds, two_relus, T(3), golden=True)
                if self.stop is not None:
                    raise self.stop
                self.assertRewrites(folds, two_relus, T(4), golden=True)

        with mock.patch.dict(os.environ, EXPECTTEST_ACCEPT="1"):
            self.run_test(Golden)
        for stop in (AssertionError("mine"), ValueError("mine"), unittest.SkipTest("mine")):
            with self.subTest(type(stop).__name__):
                Golden.stop = stop
                messages = self.run_test(Golden)

                self.assertEqual(
                    [("mine" in message) for message in messages], [] if isinstance(stop, unittest.SkipTest) else [True]
                )

    def test_failing_subtest_need_not_reach_its_case(self):
        """Where one of several subtests fails, its stored case is not said to be missing as well."""

        class Golden(GoldenCase):
            broken = False

            def test(self):
                for size in (3, 4):
                    with self.subTest(size):
                        if self.broken and size == 4:
                            raise ValueError("mine")
                        self.assertRewrites(folds, two_relus, T(size), golden=True)

        with mock.patch.dict(os.environ, EXPECTTEST_ACCEPT="1"):
            self.run_test(Golden)
        self.assertEqual(self.run_test(Golden), [])
        Golden.broken = True
        (message,) = self.run_test(Golden)

        self.assertIn("ValueError: mine", message)

    def test_crash_that_is_known_has_nothing_to_compare(self):
        """A pass that crashes by a known bug leaves no graph: nothing is compared, proposed or missing."""

        def raises(gm):
            raise ValueError("always")

        bug = KnownBug("always-raises", "raises", "always", "crash", "crash:pass", ">=2.0", "symbolic", "", ())

        class Golden(GoldenCase):
            known = (bug,)

            def test(self):
                self.assertPreserves(raises, two_relus, T(3), golden=True, known=self.known)

        self.assertEqual(self.run_test(Golden), [])
        self.assertEqual(self.pending(), [])
        Golden.known = ()
        (message,) = self.run_test(Golden)
        self.assertIn("PassCrash", message)

    def test_labels_tell_calls_apart(self):
        """Two calls on one graph need labels, under which each has its own case."""

        class Golden(GoldenCase):
            def test(self):
                self.assertRewrites(folds, two_relus, T(3), golden=True, label="folded")
                self.assertRewrites(folds_and_copies, two_relus, T(3), golden=True, label="copied")

        with mock.patch.dict(os.environ, EXPECTTEST_ACCEPT="1"):
            self.assertEqual(self.run_test(Golden), [])
        self.assertEqual(self.run_test(Golden), [])
        (text,) = self.stored().values()
        self.assertIn("  copied\n", text)
        self.assertIn("options: capture=symbolic, label='folded'\n", text)

    def test_texts(self):
        """A text that is no graph is stored as it stands, blank lines and version sections included."""

        def lines(*texts):
            class Golden(GoldenCase):
                def test(self):
                    for text in texts:
                        self.assertText(text, label=text[0])

            return Golden

        (message, *_) = self.run_test(lines("a\n\n  b: [c]\n", "d"))
        self.assertIn("GoldenMissing", message)
        with mock.patch.dict(os.environ, EXPECTTEST_ACCEPT="1"):
            self.assertEqual(self.run_test(lines("a\n\n  b: [c]\n", "d")), [])
        self.assertEqual(self.run_test(lines("a\n\n  b: [c]\n", "d")), [])
        (message,) = self.run_test(lines("a\n\n  b: [x]\n", "d"))
        self.assertIn("-  b: [c]", message)
        self.accept(version_section=True)
        self.assertEqual(self.run_test(lines("a\n\n  b: [x]\n", "d")), [])
        (message,) = self.run_test(lines(" \n"))
        self.assertIn("FxpectError: expected a text to compare; got ' \\n'", message)

    def test_title_of_a_person_survives_drift(self):
        """A title written by hand stays, and its case is still found when the capture drifts."""
        self.run_test(case())
        self.accept()
        (path,) = self.root.rglob("*.fx")
        lines = [f"{line}  by hand" if line.startswith("## ") else line for line in path.read_text().splitlines()]
        path.write_text("\n".join(lines) + "\n")
        (message,) = self.run_test(case(model=two_relus_times))
        self.accept()

        self.assertIn("CaptureDrift", message)
        self.assertIn("  by hand\n", path.read_text())

    def test_sections_of_a_version(self):
        """A section that holds under this torch is the one compared."""
        self.run_test(case())
        self.accept()
        self.run_test(case(pass_=folds_and_copies))
        self.accept(version_section=True)

        self.assertEqual(self.run_test(case(pass_=folds_and_copies)), [])
        self.assertIn("after torch>=", next(iter(self.stored().values())))

    def test_capture_of_a_version(self):
        """A capture that a newer torch gives is stored beside the old one; each torch makes its own and misses none."""
        self.run_test(case())
        self.accept()
        with mock.patch.object(torch, "__version__", "99.1.0"):
            (message,) = self.run_test(case(model=two_relus_times))
            self.assertIn("CaptureDrift", message)
            self.assertEqual(self.accept(version_section=True), ["accepted"])

            self.assertEqual(self.run_test(case(model=two_relus_times)), [])

        self.assertEqual(self.run_test(case()), [])
        (text,) = self.stored().values()
        self.assertEqual([text.count(f"after torch{end}:\n") for end in ("<99.1", ">=99.1")], [1, 1])
        (message,) = self.run_test(case(model=two_relus_times))
        self.assertIn("no graph after is stored for this case yet under this torch, only for torch>=99.1", message)

    def test_must_is_checked(self):
        """A hand-written must: in the file is checked, and its breach is no proposal."""
        self.run_test(case())
        self.accept()
        (path,) = self.root.rglob("*.fx")
        path.write_text(
            path.read_text().replace("why:", "why:", 1).replace("\n\n##", "\nmust: count torch.relu == 2\n\n##")
        )
        (message,) = self.run_test(case())

        self.assertIn("must count torch.relu == 2: expected == 2 of torch.relu; got 1", message)
        self.assertEqual(self.pending(), [])

    def test_broken_file_is_an_error(self):
        """A stored file that cannot be read is an error with its line, never taken for missing."""
        self.run_test(case())
        self.accept()
        (path,) = self.root.rglob("*.fx")
        path.write_text(path.read_text() + "<<<<<<< ours\n")

        for golden in (True, None):
            (message,) = self.run_test(case(keep_golden=golden))
            self.assertIn("FixtureError", message)

    def test_dims_and_sizes(self):
        """A case with named dims holds its own input."""

        class Golden(GoldenCase):
            def test(self):
                self.assertUnchanged(
                    folds, two_relus, T("B", fxpect.Dim("K", min=2, max=9)), golden=True, capture="make_fx"
                )

        with mock.patch.dict(os.environ, EXPECTTEST_ACCEPT="1"):
            self.assertEqual(self.run_test(Golden), [])
        self.assertEqual(self.run_test(Golden), [])
        self.assertIn("inputs: x=f32[B, K(min=2, max=9)]", next(iter(self.stored().values())))

    def test_runs_twice_and_backwards(self):
        """The same tests in any order and number make the same proposals and the same fixture."""

        class Golden(GoldenCase):
            def test_one(self):
                self.assertRewrites(folds, two_relus, T(3), golden=True)

            def test_two(self):
                self.assertRewrites(folds, two_relus, T(4), golden=True)

        seen = []
        for names in (("test_one", "test_two"), ("test_two", "test_one"), ("test_one", "test_one", "test_two")):
            for name in names:
                self.run_test(Golden, name)
            seen.append([(entry.path, entry.key, entry.text) for entry in self.pending()])

        self.assertEqual(seen[0], seen[1])
        self.assertEqual(seen[0], seen[2])


class GraphTests(InStore):
    """assertGraph and assertExports against the store."""

    def owner(self, model=two_relus, label=""):
        class Golden(GoldenCase):
            def test(self):
                """The whole graph."""
                self.assertGraph(torch.fx.symbolic_trace(model), label)

        return Golden

    def test_graph(self):
        """assertGraph is missing at first, holds once accepted, and drifts where the graph changes."""
        (missing,) = self.run_test(self.owner())
        self.accept()
        held = self.run_test(self.owner())
        (drifted,) = self.run_test(self.owner(two_relus_times))

        self.assertIn("GoldenMissing", missing)
        self.assertEqual(held, [])
        self.assertIn("PassDrift", drifted)
        self.assertIn("add became mul", drifted)

    def test_labels(self):
        """Each label is a graph of its own."""
        self.run_test(self.owner(label="one"))
        self.accept()
        messages = self.run_test(self.owner(label="two"))

        self.assertIn("GoldenMissing", messages[0])

    def test_exports(self):
        """assertExports compares the exported text with golden=True, and once it is stored."""

        class Golden(fxpect.ExportTestCase):
            slope = 1

            def test(self):
                slope = self.slope
                self.assertExports(lambda x: torch.relu(x) + slope, T(3), golden=self.kept)

        Golden.kept = True
        with mock.patch.dict(os.environ, EXPECTTEST_ACCEPT="1"):
            self.assertEqual(self.run_test(Golden), [])
        Golden.kept, Golden.slope = None, 2
        (message,) = self.run_test(Golden)

        self.assertIn("PassDrift", message)


if __name__ == "__main__":
    unittest.main()
