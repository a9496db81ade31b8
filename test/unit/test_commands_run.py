"""``fxpect run`` on small suites: verdicts, exit codes, processes, files; and the dispatch of commands."""

import contextlib
import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest
import xml.etree.ElementTree as ET
from pathlib import Path
from unittest import mock

import fxpect
from fxpect.commands import exit_codes
from fxpect.commands.main import COMMANDS, main
from fxpect.errors import FixtureError, FxpectError, OutdatedError, RefusedError

MIXED = """
    import unittest
    from fxpect.errors import CaptureDrift
    from fxpect.report import tally

    class GoodTests(unittest.TestCase):
        def test_counts(self):
            tally.add("examples", 30)
            tally.add("pinned", 2)

        @unittest.expectedFailure
        def test_known(self):
            self.fail("issue 17 is still there")

        @unittest.skip("needs CUDA")
        def test_gpu(self):
            pass

    class BadTests(unittest.TestCase):
        def test_drifts(self):
            raise CaptureDrift("drift", "the model captures to something else")

        def test_breaks(self):
            print("said before it broke")
            raise KeyError("gone")

    class UnreadyTests(unittest.TestCase):
        @classmethod
        def setUpClass(cls):
            raise OSError("no disk")

        def test_never_runs(self):
            pass
"""
DYING = """
    import ctypes
    import os
    import time
    import unittest

    class DyingTests(unittest.TestCase):
        def test_1_before(self):
            pass

        def test_2_exits(self):
            os.write(2, b"last words")
            os._exit(3)

        def test_3_crashes(self):
            ctypes.string_at(0)

        def test_4_hangs(self):
            time.sleep(60)

        def test_5_after(self):
            pass
"""
PASSING = """
    import os
    import sys
    import unittest

    class {name}Tests(unittest.TestCase):
        def test_passes(self):
            self.assertEqual(sys.stdin.read(), "")
            print("printed", os.getpid())
"""
# The command, which heeds Ctrl-C also where the process that started it was told to ignore it.
INTERRUPTIBLE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from fxpect.commands.main import main
sys.exit(main())
"""


class RunTests(unittest.TestCase):
    """Each test runs the command in a process of its own, in a folder of its own."""

    maxDiff = None

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name).resolve()

    def write(self, **files):
        """Write ``name="text"`` as name.py."""
        for name, text in files.items():
            (self.root / f"{name}.py").write_text(textwrap.dedent(text), encoding="utf-8")

    def environ(self, **more):
        """Return variables under which the command finds this library and colours nothing."""
        environ = {key: value for key, value in os.environ.items()
                   if key not in ("FORCE_COLOR", "PYTHON_COLORS", "NO_COLOR")}
        return {**environ, "PYTHONPATH": str(Path(fxpect.__file__).parent.parent), **more}

    def fxpect(self, *words, **environ):
        """Run the command with nothing to read; returns the finished process."""
        return subprocess.run([sys.executable, "-m", "fxpect", *words], cwd=self.root, capture_output=True,
                              text=True, env=self.environ(**environ), stdin=subprocess.DEVNULL)

    def result(self, name="result.json"):
        """Return what ``--json`` wrote, without the times, which differ from run to run."""
        data = json.loads((self.root / name).read_text(encoding="utf-8"))
        return {**data, "seconds": 0, "verdicts": [{**one, "seconds": 0} for one in data["verdicts"]]}

    def statuses(self):
        """Return the status of each test by its short name."""
        return {one["name"].rpartition(".")[2]: one["status"] for one in self.result()["verdicts"]}

    def test_a_passing_suite(self):
        """All passed: exit 0, a line for each class while it runs, OK at the end, no noise from the tests."""
        self.write(test_a=PASSING.format(name="A"))

        done = self.fxpect("run", ".")

        self.assertEqual((done.returncode, done.stdout.splitlines()[-1]), (0, "OK"), done.stderr)
        self.assertRegex(done.stderr, r"^test_a\.ATests  1 ok  0\.\d s\n$")
        self.assertNotIn("printed", done.stdout + done.stderr)
        self.assertNotIn("\x1b", done.stdout + done.stderr)

    def test_a_failing_suite(self):
        """One run tells passing, failing, broken, known and skipped apart, and counts what they counted."""
        self.write(test_mixed=MIXED, test_lost="import no_such_module\n")

        done = self.fxpect("run", ".", "--json", "result.json", "--junit", "out/junit.xml")

        self.assertEqual(done.returncode, exit_codes.FAILURES)
        self.assertEqual(self.statuses(), {
            "test_counts": "passed", "test_known": "known", "test_gpu": "skipped", "test_drifts": "failed",
            "test_breaks": "error", "setUpClass": "error", "test_lost": "error"})
        self.assertEqual(self.result()["tally"]["counts"], {"capture drift": 1, "examples": 30, "pinned": 2})
        for line in ("    said before it broke", "    fxpect run test_mixed.py -k BadTests.test_breaks",
                     "    1 of them: needs CUDA", "    GoodTests.test_known  issue 17 is still there",
                     "FAILED: 4 of 7 tests", "ModuleNotFoundError: No module named 'no_such_module'"):
            self.assertIn(line, done.stdout.splitlines())
        self.assertEqual(ET.parse(self.root / "out/junit.xml").getroot().get("tests"), "7")

    def test_the_result_does_not_depend_on_the_processes(self):
        """One process, two and five come to the same result in every field but the seconds."""
        self.write(test_mixed=MIXED, test_b=PASSING.format(name="B"), test_c=PASSING.format(name="C"))
        results = []
        for jobs in ("1", "2", "5"):
            self.fxpect("run", ".", "-j", jobs, "--json", "result.json")
            results.append(self.result())

        self.assertEqual(results[1], results[0])
        self.assertEqual(results[2], results[0])

    def test_a_test_that_takes_the_process_down(self):
        """A test that exits, crashes or hangs is an error of its own; those around it run all the same."""
        self.write(test_dying=DYING)

        done = self.fxpect("run", ".", "-j", "2", "--timeout", "3", "--json", "result.json")

        self.assertEqual(done.returncode, exit_codes.FAILURES)
        self.assertEqual(self.statuses(), {"test_1_before": "passed", "test_2_exits": "error",
                                           "test_3_crashes": "error", "test_4_hangs": "error",
                                           "test_5_after": "passed"})
        for line in ("Crash: the process ended with exit code 3", "    last words",
                     "Timeout: no verdict after 3 s; the process was killed"):
            self.assertIn(line, done.stdout.splitlines())
        self.assertIn("the process died of SIGSEGV", done.stdout)

    def test_nothing_ran_is_five(self):
        """No test file, no match, and skips alone all end with 5, in one process and in two."""
        self.write(test_skips="""
            import unittest

            class SkipTests(unittest.TestCase):
                @unittest.skip("never")
                def test_x(self):
                    pass
        """)
        (self.root / "empty").mkdir()
        for words in (["empty"], [".", "-k", "no_such"], ["."], [".", "-j", "2"], ["empty", "-j", "2"]):
            with self.subTest(words):
                done = self.fxpect("run", *words)

                self.assertEqual((done.returncode, done.stdout.splitlines()[-1]), (5, "NOTHING RAN"))

    def test_patterns(self):
        """-k picks by part of the name or by a pattern with *, and may be repeated."""
        self.write(test_a=PASSING.format(name="A"), test_b=PASSING.format(name="B"),
                   test_c=PASSING.format(name="C"))

        self.fxpect("run", ".", "-k", "ATests", "-k", "*test_b.*passes", "--json", "result.json")

        self.assertEqual([one["name"] for one in self.result()["verdicts"]],
                         ["test_a.ATests.test_passes", "test_b.BTests.test_passes"])

    def test_misuse_is_two(self):
        """A folder that is not there, no suite at all, and bad numbers are misuse, said in a line or two."""
        wrong = {("nowhere",): "no tests at 'nowhere'", (): "no test/dynamo in", ("-j", "0"): "0: expected 1",
                 ("-j", "many"): "many: expected 1", ("--timeout", "0"): "0: expected more",
                 ("--timeout", "soon"): "soon: expected more", ("--timeout", "nan"): "nan: expected more",
                 ("--no-such",): "unrecognized arguments"}
        for words, message in wrong.items():
            with self.subTest(words):
                done = self.fxpect("run", *words)

                self.assertEqual(done.returncode, exit_codes.USAGE)
                self.assertRegex(done.stderr, message)
                self.assertNotIn("Traceback", done.stderr)

    def test_an_interrupt(self):
        """Ctrl-C ends with 130, what is known so far is shown and written, and no worker is left."""
        self.write(test_a=PASSING.format(name="A"), test_slow="""
            import pathlib, os, time, unittest

            class SlowTests(unittest.TestCase):
                def test_slow(self):
                    pathlib.Path("started").write_text(str(os.getpid()))
                    time.sleep(60)
        """)
        for jobs in ("1", "2"):
            with self.subTest(jobs=jobs):
                process = subprocess.Popen(
                    [sys.executable, "-c", INTERRUPTIBLE, "run", ".", "-j", jobs, "--json", "result.json"],
                    cwd=self.root, env=self.environ(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    text=True)
                self.assertIn("ATests", process.stderr.readline())
                worker = self.wait_for_pid("started")

                process.send_signal(signal.SIGINT)
                output, _ = process.communicate(timeout=30)

                self.assertEqual((process.returncode, output.splitlines()[-1]), (130, "INTERRUPTED"))
                self.assertEqual(self.statuses(), {"test_passes": "passed"})
                with self.assertRaises(ProcessLookupError):
                    os.kill(worker, 0)

    def test_a_run_that_dies_leaves_no_older_result(self):
        """What stands in the place of the result is of this run or is not there; misuse leaves it alone."""
        self.write(test_a=PASSING.format(name="A"), test_dies="""
            import os, unittest

            class DyingTests(unittest.TestCase):
                def test_dies(self):
                    os._exit(9)
        """)
        written = ("result.json", "junit.xml")
        for name in written:
            (self.root / name).write_text("older", encoding="utf-8")
        self.assertEqual(self.fxpect("run", "nowhere.py", "--json", written[0]).returncode, exit_codes.USAGE)
        self.assertEqual((self.root / written[0]).read_text(encoding="utf-8"), "older")

        done = self.fxpect("run", ".", "-j", "1", "--json", written[0], "--junit", written[1])

        self.assertEqual(done.returncode, 9)
        self.assertEqual([name for name in written if (self.root / name).exists()], [])

    def wait_for_pid(self, name):
        """Return the process id that a test writes into a file, and remove it."""
        path, end = self.root / name, time.monotonic() + 30
        while not path.exists() or not path.read_text():
            self.assertLess(time.monotonic(), end, "waited for half a minute")
            time.sleep(0.02)
        pid = int(path.read_text())
        path.unlink()
        return pid

    def test_output_and_color(self):
        """-s lets a test print; FORCE_COLOR colours a file and NO_COLOR wins over it."""
        self.write(test_a=PASSING.format(name="A"))

        self.assertIn("printed", self.fxpect("run", ".", "-s").stdout)
        self.assertIn("\x1b[32mOK", self.fxpect("run", ".", FORCE_COLOR="1").stdout)
        self.assertNotIn("\x1b", self.fxpect("run", ".", FORCE_COLOR="1", NO_COLOR="1").stdout)

    def test_no_torch_is_loaded(self):
        """The run itself needs no torch: what the tests do not import is not imported."""
        self.write(test_a="""
            import sys
            import unittest

            class ATests(unittest.TestCase):
                def test_modules(self):
                    self.assertNotIn("torch", sys.modules)
        """)

        self.assertEqual(self.fxpect("run", ".").returncode, 0)
        self.assertEqual(self.fxpect("run", ".", "-j", "2").returncode, 0)


class MainTests(unittest.TestCase):
    """The dispatch of commands."""

    def call(self, *words):
        """Return (exit code, standard output, standard error) of a command run in this process."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main(words)
            except SystemExit as end:
                code = end.code
        return code, out.getvalue(), err.getvalue()

    def test_overview(self):
        """Without a command the overview is shown as misuse, with --help as success."""
        for words, code in (((), exit_codes.USAGE), (("--help",), 0)):
            with self.subTest(words):
                found, out, err = self.call(*words)

                self.assertEqual(found, code)
                self.assertIn("run       run the regression suite", out + err)

    def test_version_and_unknown_command(self):
        """--version prints the library's; an unknown command is misuse and the known ones are listed."""
        self.assertEqual(self.call("--version"), (0, f"fxpect {fxpect.__version__}\n", ""))
        code, _, err = self.call("rnu")
        self.assertEqual(code, exit_codes.USAGE)
        self.assertIn("'rnu' (choose from ", err)

    def test_errors_become_codes(self):
        """Each kind of FxpectError has its exit code and shows as one message; an interrupt is 130."""
        table = [(FxpectError("m"), 2), (RefusedError("m"), 3), (FixtureError("m", "f.fx", 3), 6),
                 (OutdatedError("m"), 7), (KeyboardInterrupt(), 130)]
        for error, code in table:
            with self.subTest(error=error), mock.patch("fxpect.commands.run.main", side_effect=error):
                found, _, err = self.call("run")

                self.assertEqual(found, code)
                self.assertRegex(err, r"^fxpect run: (m|f\.fx:3: m|interrupted)\n$")

    def test_every_command_has_the_two_functions(self):
        """Every command that is there configures its parser and shows a help text."""
        for name in COMMANDS:
            if importlib.util.find_spec(f"fxpect.commands.{name}"):
                with self.subTest(name):
                    code, out, _ = self.call(name, "--help")

                    self.assertEqual(code, 0)
                    self.assertIn(f"usage: fxpect {name}", out)


if __name__ == "__main__":
    unittest.main()
