"""``fxpect check``: what a person reads of a search, what a program does, and what is misuse."""

import contextlib
import functools
import io
import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import torch

from fxpect.campaign.plan import check_by_name
from fxpect.campaign.search import Tally
from fxpect.commands.main import main
from fxpect.passes.catalogue import catalogue

torch.set_num_threads(1)
HERE = f"{__name__}:"
PASS, MODEL = HERE + "drop_double_relu", HERE + "double_relu"
KNOWN = "pre_grad.einsum_to_pointwise_pass"


def double_relu(x):
    return torch.relu(torch.relu(x)) + 1


def drop_double_relu(gm):
    """Drop the outer of two relu, and forget who else reads the inner."""
    for node in gm.graph.find_nodes(op="call_function", target=torch.relu):
        inner, = node.all_input_nodes
        if inner.target is torch.relu:
            inner.replace_all_uses_with(*inner.all_input_nodes, delete_user_cb=lambda user, node=node: user is not node)
            node.args, node.kwargs = inner.args, inner.kwargs
            gm.graph.erase_node(inner)
    return gm


judged = itertools.count()


def drop_until_told_to_stop(gm):
    """Do what drop_double_relu does, and after a while send the process that was started what $STOP names."""
    if next(judged) == 150:
        os.kill(os.getpid() if multiprocessing.parent_process() is None else os.getppid(), int(os.environ["STOP"]))
    return drop_double_relu(gm)


def keep(gm):
    """Change nothing."""
    return gm


def run(*words):
    """Run the command in this process; return the exit code, what it printed and what it complained about."""
    printed, complained = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(complained):
        code = main(["check", "--no-isolate", *words])
    return code, printed.getvalue(), complained.getvalue()


@functools.cache
def found(*words):
    """Search with the broken pass, once for all tests with the same words."""
    return run(PASS, "--model", MODEL, "--inputs", "f32[2, 3]", "--capture", "dynamo", "--examples", "300", *words)


class ReportTests(unittest.TestCase):
    """What is printed of each finding, and of all."""

    def test_a_finding_reads_from_the_failure_to_the_line_that_pins_it(self):
        """Oracle and pass, the steps, what the pass did in words, both graphs, how to keep the case."""
        code, printed, _ = found()
        self.assertEqual(code, 1)
        self.assertRegex(printed, r"""(?x)
            \n---\ \d+:\ numerics:values.*\ \(seen\ \d+\ times?\)\n
            \[numerics\]\ pass\ drop_double_relu:\ output\ \d:\ values:\ expected\ .*\n
            \ \ steps\ from\ the\ innocent\ model:\ \w+:\ .+\n
            (\ \ then\ made\ smaller:\ .*(removed|dropped).*\n)?
            (\ \ also\ seen\ as:\ .*\n)?
            \ \ inputs:\ x=f32\[2,\ 3\]\n
            \ \ the\ pass:\ -1\ relu;.*\n
            \ \ before:\n\ {4}def\ forward\(self,\ x:\ "f32\[2,\ 3\]"\):\n(\ {8}.*\n)+
            \ \ after,\ of\ the\ same\ inputs:\n(\ {8}.*\n)+
            \ \ pin:\ self.assertPreserves\(drop_double_relu,\ TEXT,\ T\(2,\ 3\),\ capture='dynamo'\)\n""")
        self.assertRegex(printed, r"\n  then made smaller: .*add removed, relu_1 read instead")

    def test_the_end_names_all_findings_on_a_line_each(self):
        """What scrolls by last is the list, also of what --limit left out, and what was done."""
        _, printed, _ = found("--limit", "1")
        _, whole, _ = found()
        number = whole.count("\n--- ")
        self.assertGreater(number, 1)
        self.assertEqual(printed.count("\n--- "), 1)
        tail = printed.splitlines()[-number - 2:]
        self.assertEqual(tail[0], f"{number - 1} more; leave --limit out to see them")
        self.assertRegex(tail[1], r"^   1  numerics      \w+: .+$")
        self.assertRegex(tail[-1], rf"^{PASS}: {number} findings; 300 examples judged, the pass rewrote \d+ of them; "
                                   r"\d+ did not run, \d+ did not type; \d+\.\d s; seed 0$")

    def test_json_is_one_finding_a_line(self):
        """A program reads the texts, the script, and whether the finding is in the table of known bugs."""
        records = [json.loads(line) for line in found("--json")[1].splitlines()]
        self.assertEqual(len(records), found()[1].count("\n--- "))
        self.assertEqual((records[0]["oracle"], records[0]["known"]), ("numerics", None))
        self.assertIn("torch.relu(x)", records[0]["before"])

    def test_scripts_are_written(self):
        """--out DIR gets a script for each finding, which exits 1; the report says how to start it."""
        with tempfile.TemporaryDirectory() as folder:
            _, printed, _ = found("--out", folder, "--limit", "1")
            (script,) = Path(folder).iterdir()
            self.assertIn(f"  script: python {script}\n", printed)
            root = str(Path(__file__).resolve().parents[2])
            done = subprocess.run([sys.executable, script], env={**os.environ, "PYTHONPATH": root},
                                  capture_output=True, text=True)
        self.assertEqual(done.returncode, 1, done.stderr)

    def test_nothing_found(self):
        """No finding is exit 0; where the pass never fired that is said, for then it says nothing."""
        code, printed, complained = run(HERE + "keep", "--model", MODEL, "--inputs", "f32[2, 3]", "--capture", "dynamo",
                                        "--examples", "5")
        self.assertEqual(code, 0)
        self.assertRegex(printed, r"keep: 0 findings; 5 examples judged, the pass rewrote 0 of them")
        self.assertIn("the pass never changed the graph: no finding says nothing here", complained)


class KnownTests(unittest.TestCase):
    """A finding that the table of known bugs explains says so."""

    def test_a_known_bug_is_named(self):
        """Beside its finding with the condition in words, in the list at the end, and after all that is news."""
        _, printed, _ = run(KNOWN, "--examples", "250")
        self.assertRegex(printed, r"\n  known: einsum-[a-z-]+: \S.*\n  pin: ")
        self.assertRegex(printed, r"\n +\d+  \w+ .*\(known: einsum-[a-z-]+\)\n")
        self.assertRegex(printed, KNOWN + r": (\d+) findings?, \1 of them known; ")

    def test_news_comes_first(self):
        """What the table explains stands after what it does not, in full and in the list."""
        first = json.loads(found("--json")[1].splitlines()[0])

        def explanation(bugs, pass_name, failure, text, inputs, steps):
            return bugs[0] if list(steps) == first["steps"] else None

        with mock.patch("fxpect.passes.known_bugs.explanation", explanation):
            _, printed, _ = found("--seed", "0")
        self.assertIn("(known: ", printed)
        lines = printed.splitlines()
        self.assertRegex(lines[-2], r"\(known: [a-z-]+\)$")
        self.assertIn(", 1 of them known; ", lines[-1])
        self.assertEqual(printed.count("(known: "), 1)

    def test_without_a_table_nothing_is_known(self):
        """A project of one's own has no such table; the search is the same."""
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            for made in ("none", "fixtures"):
                with self.subTest(made=made):
                    (Path(folder) / made).mkdir()
                    code, printed, _ = run(KNOWN, "--examples", "250")
                    self.assertEqual(code, 1)
                    self.assertNotIn("known:", printed)


class SeveralTests(unittest.TestCase):
    """More passes than one: by name, by stage, at the same time."""

    def test_all_of_a_stage(self):
        """--stage adds every pass of it, once, after those that are named."""
        seen = []

        def check_by_name(name, **options):
            seen.append(name)
            return [], Tally()

        with mock.patch("fxpect.campaign.plan.check_by_name", check_by_name):
            code, _, _ = run("joint.early_patterns", "freezing.constant_fold", "--stage", "freezing")
        stage = [entry.name for entry in catalogue() if entry.stage == "freezing"]
        self.assertEqual(code, 0)
        self.assertEqual(seen[:2], ["joint.early_patterns", "freezing.constant_fold"])
        self.assertEqual(sorted(seen[1:]), sorted(stage))

    def test_at_the_same_time(self):
        """-j 2 prints what -j 1 prints, each pass as it ends; a pass that is not there ends both alike."""
        names = ("batch_clamp", "batch_relu")
        one, two = (run(*names, "--examples", "20", "--json", "-j", number) for number in "12")
        self.assertEqual((one[0], sorted(one[1].splitlines())), (two[0], sorted(two[1].splitlines())))
        self.assertGreater(len({json.loads(line)["pass_name"] for line in one[1].splitlines()}), 1)
        for number in "12":
            code, _, complained = run("batch_tanhs", "batch_relu", "--examples", "20", "-j", number)
            self.assertEqual((code, complained.count("no pass named 'batch_tanhs'")), (2, 1))


class StreamTests(unittest.TestCase):
    """What a run tells before its end."""

    def test_news_is_printed_when_it_is_told(self):
        """A finding is printed while others are still made small, once, and what the table explains at the end."""
        printed, seen = io.StringIO(), []

        def searched(name, *, told, **options):
            def counted(finding):
                told(finding)
                seen.append(printed.getvalue().count("\n--- "))

            return check_by_name(name, told=counted, **options)

        with mock.patch("fxpect.campaign.plan.check_by_name", searched), contextlib.redirect_stdout(printed):
            main(["check", "--no-isolate", PASS, "--model", MODEL, "--inputs", "f32[2, 3]", "--capture", "dynamo",
                  "--examples", "300"])
        self.assertEqual(seen, list(range(1, len(seen) + 1)))
        self.assertEqual(printed.getvalue().count("\n--- "), len(seen))

    def test_stopped(self):
        """A signal ends the search: what was met is printed, as text or JSON, standard error says so, exit 8."""
        root = Path(__file__).resolve().parents[2]
        name = PASS.replace("drop_double_relu", "drop_until_told_to_stop")
        command = [sys.executable, "-m", "fxpect", "check", name, "--model", MODEL, "--inputs", "f32[2, 3]",
                   "--capture", "dynamo", "--examples", "1000000"]
        for number, words in ((signal.SIGINT, ()), (signal.SIGTERM, ("--json",)), (signal.SIGTERM, ("--no-isolate",))):
            with self.subTest(signal=number, words=words):
                done = subprocess.run([*command, *words], capture_output=True, text=True, cwd=root, env={
                    **os.environ, "STOP": str(int(number)), "PYTHONPATH": os.pathsep.join([str(root),
                                                                                         str(root / "test")])})
                self.assertEqual(done.returncode, 8, done.stderr)
                self.assertEqual(done.stderr, f"fxpect check: stopped by {number.name}: what was met until then is "
                                             "told\n")
                if "--json" in words:
                    self.assertGreater(len([json.loads(line) for line in done.stdout.splitlines()]), 0)
                else:
                    self.assertRegex(done.stdout, rf"\n--- 1: [^$]*\n{name}: \d+ findings; \d+ examples judged")

    def test_what_was_not_checked(self):
        """Of several passes those that are left are named."""
        def check_by_name(name, *, stop, **options):
            os.kill(os.getpid(), signal.SIGTERM)
            return [], Tally(fired=1)

        with mock.patch("fxpect.campaign.plan.check_by_name", check_by_name):
            code, printed, complained = run("batch_tanh", "batch_relu", "batch_clamp")
        self.assertEqual((code, printed.count("findings; ")), (8, 1))
        self.assertEqual(complained, "fxpect check: stopped by SIGTERM: what was met until then is told; "
                                     "not checked: batch_relu, batch_clamp\n")


class MisuseTests(unittest.TestCase):
    """What cannot be searched is exit 2, with the next thing to type."""

    def test_nothing_to_check(self):
        """Neither a pass nor a stage."""
        code, _, complained = run()
        self.assertEqual(code, 2)
        self.assertIn("expected a pass, or --stage; got none", complained)

    def test_a_pass_of_ones_own_needs_a_model(self):
        """The message shows both options."""
        code, _, complained = run(PASS)
        self.assertEqual(code, 2)
        self.assertIn("give it a --model and --inputs, such as --model my.models:Mlp --inputs 'f32[2, 8]'", complained)

    def test_what_cannot_be_imported(self):
        """The part that is missing is named."""
        for name, message in (("no_such_module:f", "No module named 'no_such_module'"),
                              (HERE + "no_such", "has no attribute 'no_such'")):
            with self.subTest(name=name):
                code, _, complained = run(name, "--model", MODEL)
                self.assertEqual(code, 2)
                self.assertIn(message, complained)


if __name__ == "__main__":
    unittest.main()
