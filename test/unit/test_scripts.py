"""The scripts that make their own environment: what they notice, what they install, what they say."""

import configparser
import contextlib
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from fxpect.records import CaseRun
from fxpect.report.verdicts import PASSED, RunReport, Verdict

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
# No index, no folder of wheels, no settings of the machine: pip finds nothing, as without a network.
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}


def load_script(name):
    """Return a script as a module of its own, as Python would run it from its folder."""
    with mock.patch.object(sys, "path", [str(SCRIPTS), *sys.path]):
        spec = importlib.util.spec_from_file_location(f"fxpect_scripts_{name}", SCRIPTS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


class Checkout(unittest.TestCase):
    """A checkout in a temporary folder, and the shared code of the scripts pointed at it."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name).resolve()
        for name in ("setup.cfg", "pyproject.toml"):
            shutil.copy(ROOT / name, self.root)
        self.environment = load_script("_environment")
        self.venv = self.environment.VENV = self.root / ".venv"
        self.environment.ROOT = self.root
        self.said = io.StringIO()
        self.enterContext(contextlib.redirect_stderr(self.said))

    def make_venv(self, **versions):
        """Make a real environment without pip's files, with records of ``versions`` as if installed."""
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(self.venv)], check=True)
        for name, version in {"pip": "26.0", **versions}.items():
            self.record(name, version)

    def site(self):
        """Return the folder that packages are installed into."""
        return next(self.venv.glob("[lL]ib/**/site-packages"))

    def record(self, name, version):
        """Record a package of one file in the environment."""
        info = self.site() / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (self.site() / f"{name}.py").write_text("")
        (info / "RECORD").write_text(f"{name}.py,,\n{name}.pyc,,\n{info.name}/METADATA,,\n")

    def install_records(self):
        """Let an installation only record what was asked for; returns the list of what was."""
        installed = []

        def install(requirements, editable):
            installed.append([*requirements, *([editable] if editable else [])])
            wanted = self.environment.fingerprint(requirements, editable)["names"]
            for name in set(wanted):
                if not list(self.site().glob(f"{name}-*")):
                    self.record(name, "1")

        self.enterContext(mock.patch.object(self.environment, "install", install))
        self.enterContext(mock.patch.object(self.environment, "build", self.make_venv))
        return installed


class ProbeTests(Checkout):
    """Whether an environment is there and whole."""

    def test_a_whole_one(self):
        """What is installed is reported with its version."""
        self.make_venv(torch="2.13.0+cpu", hypothesis="6.1")

        state = self.environment.probe()

        self.assertEqual(state["versions"]["torch"], "2.13.0+cpu")
        self.assertEqual((state["missing"], self.said.getvalue()), ([], ""))

    def test_absent(self):
        """Where there is none, nothing is said."""
        self.assertIsNone(self.environment.probe())
        self.assertEqual(self.said.getvalue(), "")

    def test_broken_ones_are_told(self):
        """A Python that is gone, a package's file that is gone, and a lost pyvenv.cfg are each noticed."""
        def unlink_python():
            for path in self.venv.glob("bin/python*"):
                path.unlink()

        damages = {"its Python does not run": unlink_python,
                   "it lacks hypothesis.py": lambda: (self.site() / "hypothesis.py").unlink(),
                   "its Python belongs to ": lambda: (self.venv / "pyvenv.cfg").unlink()}
        for said, damage in damages.items():
            with self.subTest(said):
                self.make_venv(hypothesis="6.1")
                damage()

                self.assertIsNone(self.environment.probe())
                self.assertIn(f".venv is broken: {said}", self.said.getvalue())
                self.environment.remove()
                self.assertFalse(self.venv.exists())

    def test_a_folder_that_is_no_environment_is_kept(self):
        """Files of the user under the name .venv are not deleted; the message says what to do."""
        self.venv.mkdir()
        (self.venv / "thesis.txt").write_text("years of work")

        with self.assertRaisesRegex(self.environment.Unusable, "is in the way .* Move it and run this again"):
            self.environment.build()
        self.assertTrue((self.venv / "thesis.txt").exists())


class EnsureTests(Checkout):
    """When something is installed, and what."""

    def ensure(self, **options):
        """Ask for what run_suite.py asks for; no torch is borrowed."""
        with mock.patch.object(self.environment, "borrow_torch", return_value=False):
            return self.environment.ensure("suite", [], **{"editable": ".", "torch": None, **options})

    def test_once_and_then_no_more(self):
        """The first call installs the default torch and the checkout, the second nothing."""
        installed = self.install_records()

        python = self.ensure()
        self.record("torch", "2.13.0+cpu")
        self.ensure()

        self.assertEqual(installed, [["torch==2.13.0", "."]])
        self.assertEqual(python, self.environment.python())

    def test_a_change_of_the_settings_installs_again(self):
        """When setup.cfg changes, the checkout is installed again, and torch stays as it is."""
        installed = self.install_records()
        self.make_venv(torch="2.14.1")
        self.ensure()
        with open(self.root / "setup.cfg", "a") as file:
            file.write("\n")

        self.ensure()
        self.ensure()

        self.assertEqual(installed, [["."], ["."]])

    def test_a_lost_package_installs_again(self):
        """A package that is gone with its record is noticed by its name."""
        installed = self.install_records()
        self.make_venv(torch="2.13.0")
        self.ensure()
        shutil.rmtree(next(self.site().glob("hypothesis-*")))

        self.ensure()

        self.assertEqual(installed, [["."], ["."]])

    def test_a_broken_one_is_built_anew(self):
        """A broken environment is made and filled again from nothing."""
        installed = self.install_records()
        self.make_venv(torch="2.15.0")
        self.ensure()
        (self.site() / "packaging.py").unlink()
        with mock.patch.object(self.environment, "build", self.rebuild):
            self.ensure()

        self.assertEqual(installed, [["."], ["torch==2.13.0", "."]])

    def rebuild(self):
        """Do what build does, without pip."""
        self.environment.remove()
        self.make_venv()

    def test_which_torch(self):
        """A fitting torch is kept, an old one replaced, and one that was asked for is installed."""
        table = [("2.13.0+cpu", None, []), ("2.16.0.dev20260101", None, []),
                 ("2.10.1", None, ["torch==2.13.0"]), ("0", None, ["torch==2.13.0"]),
                 ("2.13.0+cpu", "2.13.0", []),
                 ("2.13.0", "2.15.0", ["torch==2.15.0"])]
        for have, asked, expected in table:
            state = {"versions": {"torch": have}, "python": [3, 11], "site": str(self.root)}
            with self.subTest(have=have, asked=asked), \
                    mock.patch.object(self.environment, "borrow_torch", return_value=False):
                self.assertEqual(self.environment.torch_requirement(asked, state), expected)

    def test_a_torch_beside_the_script_is_borrowed(self):
        """Where the Python that runs the script has a torch, .venv is led to it by a path file."""
        folder = self.root / "elsewhere"
        (folder / "torch").mkdir(parents=True)
        (folder / "torch" / "__init__.py").write_text("")
        self.make_venv()
        state = self.environment.probe()
        spec = mock.Mock(origin=str(folder / "torch" / "__init__.py"))
        with mock.patch("importlib.util.find_spec", return_value=spec), \
                mock.patch("importlib.metadata.version", return_value="2.14.1"):
            needed = self.environment.torch_requirement(None, state)

        where = subprocess.run([str(self.environment.python()), "-c", "import torch; print(torch.__file__)"],
                               capture_output=True, text=True)
        self.assertEqual(needed, [])
        self.assertEqual(where.stdout.strip(), str(folder / "torch" / "__init__.py"))

    def test_no_way_to_make_one(self):
        """Without ensurepip and virtualenv the message names the packages that bring them."""
        with mock.patch("importlib.util.find_spec", return_value=None), \
                self.assertRaises(self.environment.Unusable) as caught:
            self.environment.build()

        self.assertRegex(str(caught.exception), r"sudo apt install python3\.\d+-venv")


class OfflineTests(unittest.TestCase):
    """The scripts as a person runs them, on a machine without a network and with nothing installed."""

    def test_a_clear_error(self):
        """The script ends with 2, says what could not be installed and how to do without a network."""
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(SCRIPTS, Path(folder, "scripts"), ignore=shutil.ignore_patterns("__pycache__"))

            done = subprocess.run([sys.executable, "scripts/run_tests.py"], cwd=folder, capture_output=True,
                                  text=True, env={**os.environ, **OFFLINE})

        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("run_tests.py: could not install tox>=4 into .venv", done.stderr)
        self.assertIn("PIP_NO_INDEX=1 PIP_FIND_LINKS=folder python3 scripts/run_tests.py", done.stderr)
        self.assertNotIn("Traceback", done.stderr)

    def test_help(self):
        """--help explains each script without making an environment."""
        for script in ("run_suite.py", "run_tests.py"):
            with self.subTest(script):
                done = subprocess.run([sys.executable, SCRIPTS / script, "--help"], capture_output=True,
                                      text=True)

                self.assertEqual(done.returncode, 0)
                self.assertIn("--torch VERSION", done.stdout)


class RunTestsTests(unittest.TestCase):
    """What run_tests.py makes of its arguments and of the results."""

    def setUp(self):
        self.script = load_script("run_tests")

    def chosen(self, *words):
        """Return the environments for these arguments."""
        with mock.patch.object(sys, "argv", ["run_tests.py", *words]):
            return self.script.chosen(self.script.parse())

    def test_environments(self):
        """Lint comes first; versions become environments of tox.ini, or "torch" where it has none of their own."""
        self.assertEqual(self.chosen(), [("lint", ""), ("torch213", "")])
        self.assertEqual(self.chosen("--torch", "2.13.0,2.15.0"),
                         [("lint", ""), ("torch213", "2.13.0"), ("torch215", "2.15.0")])
        self.assertEqual(self.chosen("-e", "torch215"), [("torch215", "")])
        self.assertEqual(self.chosen("-e", "lint", "--torch", "2.13.0,2.15.0"),
                         [("lint", ""), ("torch213", "2.13.0"), ("torch215", "2.15.0")])
        self.assertEqual(self.chosen("--torch", "2.12.1"), [("lint", ""), ("torch", "2.12.1")])

    def test_the_rest_goes_on(self):
        """What stands after -- reaches the tests."""
        with mock.patch.object(sys, "argv", ["run_tests.py", "--", "test/unit", "-k", "parser"]):
            self.assertEqual(self.script.parse().rest, ["test/unit", "-k", "parser"])

    def test_exit_codes(self):
        """All good is 0; nothing ran and an interrupt keep their code; anything else bad is 1."""
        table = {(0, 0): 0, (0, 1): 1, (5, 5): 5, (0, 5): 5, (5, 1): 1, (130,): 130, (255,): 1, (0, 130): 130}
        for codes, expected in table.items():
            with self.subTest(codes):
                self.assertEqual(self.script.verdict(list(codes)), expected)

    def summary(self, answers, *words):
        """Return the exit code and what is printed where the environments answer so."""
        out = io.StringIO()
        with mock.patch.object(sys, "argv", ["run_tests.py", *words]), \
                mock.patch.object(self.script, "run_one", side_effect=answers), \
                mock.patch.object(self.script.environment, "ensure", return_value="python"), \
                contextlib.redirect_stdout(out):
            return self.script.main(), out.getvalue()

    def test_the_summary(self):
        """Each environment has its counts and its reasons; the last line is the sum, for any reader."""
        result = {"versions": {"torch": "2.13.0+cpu"}, "seconds": 61.4, "skips": {"needs CUDA": 2},
                  "tests": {"passed": 10, "failed": 1, "error": 1, "skipped": 2, "known": 3, "fixed": 1},
                  "tally": {"counts": {"pinned": 40, "examples": 900}}}

        code, text = self.summary([(0, None), (1, result)])

        self.assertEqual(code, 1)
        self.assertEqual(text, "\nsummary\n  lint: ok\n"
                         "  torch213, torch 2.13.0+cpu: 13 passed, 3 failed, 2 skipped; "
                         "40 pinned cases, 900 examples explored; 61 s\n    skipped 2: needs CUDA\n"
                         "13 passed, 3 failed, 2 skipped; lint passed\n")

    def test_the_summary_tells_of_lint(self):
        """A finding of lint fails the run though every test passes; a run without lint says so."""
        result = {"versions": {"torch": "2.13.0"}, "seconds": 1, "skips": {}, "tally": {"counts": {}},
                  "tests": {"passed": 2, "failed": 0, "error": 0, "skipped": 0, "known": 0, "fixed": 0}}

        failed, text = self.summary([(1, None), (0, result)])
        apart, other = self.summary([(0, result)], "-e", "torch213")

        self.assertEqual((failed, apart), (1, 0))
        self.assertIn("  lint: failed with exit code 1, see above\n", text)
        self.assertEqual(text.splitlines()[-1], "2 passed, 0 failed, 0 skipped; lint failed")
        self.assertEqual(other.splitlines()[-1], "2 passed, 0 failed, 0 skipped; lint not run")

    def test_an_old_result_is_not_shown_again(self):
        """A result of an earlier run is gone before tox starts, so it cannot stand in for this one."""
        with tempfile.TemporaryDirectory() as folder:
            self.script.RESULTS = Path(folder)
            Path(folder, "torch213.json").write_text(json.dumps({"old": True}))
            with mock.patch.object(self.script.environment, "call", return_value=1):
                self.assertEqual(self.script.run_one("python", "torch213", "", []), (1, None))

    def test_the_versions_are_those_of_tox(self):
        """Each version that has an environment is the one that setup.cfg pins for it."""
        settings = (ROOT / "setup.cfg").read_text(encoding="utf-8")

        for version, name in self.script.OWN.items():
            self.assertIn(f"{name} = torch=={version}\n", settings)
        self.assertIn(self.script.environment.DEFAULT_TORCH, self.script.OWN)


class MatrixTests(unittest.TestCase):
    """What matrix.py runs, compares and says; the runs are made here, the report is a real one."""

    def setUp(self):
        self.script = load_script("matrix")
        self.out = Path(self.enterContext(tempfile.TemporaryDirectory())).resolve()
        self.script.run_tests.RESULTS = self.out / "results"
        self.script.run_tests.RESULTS.mkdir()
        self.calls = []
        self.enterContext(mock.patch.object(self.script.environment, "ensure", return_value=sys.executable))
        self.enterContext(mock.patch.object(self.script.environment, "call", self.call))

    def call(self, words, **variables):
        """Stand for tox and for the Python of a nightly, which save a run; the report is made for real."""
        self.calls.append((words, variables))
        if "compare" in words:
            return subprocess.run(words, env={**os.environ, **variables}, stdout=subprocess.DEVNULL).returncode
        torch = os.environ["FXPECT_TORCH"] if "tox" in words else "2.17.0.dev1"
        if torch == "9.9":
            return 1
        written = self.script.run_tests.RESULTS / f"{words[words.index('-e') + 1]}.json" if "tox" in words else \
            Path(words[words.index("--json") + 1])
        cases = () if torch == "2.13.0" else (CaseRun("", "text", "", "a message"),)
        verdict = Verdict("test.test_x.XTests.test_one", PASSED, file="test/test_x.py", cases=cases)
        written.write_text(RunReport.of([verdict], versions={"torch": torch}, graphs=True).to_json())
        return 0

    def matrix(self, *words):
        """Run the script; return exit code and output."""
        out = io.StringIO()
        with mock.patch.object(sys, "argv", ["matrix.py", *words, "--out", str(self.out)]), \
                contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            try:
                return self.script.main(), out.getvalue()
            except SystemExit as stop:
                return stop.code, out.getvalue()

    def test_three_torches_and_one_more(self):
        """Each version runs in its environment of tox, a Python with the library of this checkout; one report of all.
        """
        code, text = self.matrix("--add", "2.16.0,/opt/nightly/bin/python")

        self.assertEqual(code, 0, text)
        run = [words[words.index("-e") + 1] for words, _ in self.calls if "tox" in words]
        self.assertEqual(run, ["torch211", "torch213", "torch215", "torch"])
        words, variables = self.calls[4]
        self.assertEqual(words[:4], ["/opt/nightly/bin/python", "-m", "fxpect", "run"])
        self.assertEqual(words[-2:], ["--graphs", "test"])
        self.assertEqual(variables, {"PYTHONPATH": str(ROOT / "test")})
        drifts = json.loads((self.out / "drift.json").read_text())["drifts"]
        self.assertEqual([(one["first"], one["second"], one["same"]) for one in drifts],
                         [("torch 2.11.0", "torch 2.13.0", False), ("torch 2.13.0", "torch 2.15.0", False),
                          ("torch 2.15.0", "torch 2.16.0", True), ("torch 2.16.0", "torch 2.17.0.dev1", True)])
        self.assertIn("<!doctype html>", (self.out / "drift.html").read_text())
        self.assertIn(f"report: {self.out / 'drift.html'}", text)
        self.assertEqual({path.stem for path in self.out.glob("*.json")},
                         {"2.11.0", "2.13.0", "2.15.0", "2.16.0", "nightly_bin_python", "drift"})

    def test_what_runs(self):
        """Targets and patterns narrow every run."""
        self.matrix("--torch", "2.13.0,2.15.0", "test/passes", "-k", "batch_")
        tails = [words[words.index("--") + 1:] for words, _ in self.calls if "tox" in words]
        self.assertEqual(tails, [["test/passes", "-k", "batch_"]] * 2)

    def test_a_run_that_leaves_nothing(self):
        """It is told, an earlier run does not stand in for it, and the others are compared."""
        (self.out / "9.9.json").write_text("{}")
        code, text = self.matrix("--torch", "9.9,2.13.0,2.15.0")
        self.assertEqual(code, 1)
        self.assertIn("  torch: failed with exit code 1, see above\n", text)
        self.assertEqual(len(json.loads((self.out / "drift.json").read_text())["drifts"]), 1)
        code, text = self.matrix("--torch", "9.9,2.13.0")
        self.assertEqual(code, 1)
        self.assertIn("report: none, since fewer than two runs have a result", text)

    def test_one_torch(self):
        """One torch alone has nothing to be compared with."""
        code, text = self.matrix("--torch", "2.13.0")
        self.assertEqual(code, 2)
        self.assertIn("expected two torches or more, to compare; got 2.13.0", text)

    def test_tox(self):
        """tox -m matrix runs the same torches, in this order, and then the report."""
        settings = configparser.ConfigParser()
        settings.read(ROOT / "tox.ini")
        names = list(self.script.run_tests.OWN.values())
        self.assertIn(f"matrix = {', '.join([*names, 'matrix'])}", settings["tox"]["labels"])
        self.assertEqual(settings["testenv:matrix"]["depends"], ", ".join(names))
        files = re.findall(r"(\w+)\.json", settings["testenv:matrix"]["commands"])
        self.assertEqual(files, [*names, "drift"])
        self.assertIn("--graphs", settings["testenv"]["commands"])


class BenchTests(unittest.TestCase):
    """The frame of the benchmarks, on work of a known cost: the clock is one that only this work moves."""

    def setUp(self):
        self.script = load_script("bench")
        self.script.BENCHES.clear()
        self.clock = 0.0
        self.script.cpu_seconds = lambda: self.clock

    def spin(self, times):
        """Return work that takes ``times`` hundredths of a second."""
        def work():
            self.clock += times / 100

        return work

    def run_script(self, *words):
        """Return (exit code, what was printed)."""
        out = io.StringIO()
        with mock.patch.object(sys, "argv", ["bench.py", *words]), contextlib.redirect_stdout(out), \
                contextlib.redirect_stderr(io.StringIO()):
            code = self.script.main()
        return code, out.getvalue()

    def test_a_ratio_and_its_bound(self):
        """Work that is four times the other is measured as that, and its bound decides the code."""
        @self.script.bench("four")
        def four():
            yield self.script.Pair("loose", self.spin(4), self.spin(1), bound=100)
            yield self.script.Pair("scaled", self.spin(4), self.spin(1), scale=4)

        @self.script.bench("strict")
        def strict():
            yield self.script.Pair("row", self.spin(4), self.spin(1), bound=0.5)

        loose, scaled = self.script.run_bench("four")

        self.assertAlmostEqual(loose.value, 4)
        self.assertAlmostEqual(scaled.value, 1)
        self.assertEqual(self.run_script("--only", "four")[0], 0)
        code, text = self.run_script("--only", "strict")
        self.assertEqual(code, 1)
        self.assertRegex(text, r"\| strict: row \| [\d.]+ \| [\d.]+ \| [\d.]+ \| 0\.50 \|  \| NO \|")

    def test_times_as_fast_and_counts(self):
        """A row may ask to be so many times as fast as another, or be counted; each has a least value."""
        @self.script.bench("times")
        def times():
            yield self.script.Pair("fast", self.spin(1), self.spin(8), least=2)
            yield self.script.Pair("slow", self.spin(8), self.spin(1), least=2)
            yield self.script.Row("", "3 of 4", value=0.75, least=0.9)

        fast, slow, counted = self.script.run_bench("times")

        self.assertEqual([row.kept for row in (fast, slow, counted)], [True, False, False], (fast, slow, counted))
        self.assertEqual(self.script.table([counted]).splitlines()[-1],
                         "| times: 3 of 4 |  |  | 0.75 | >= 0.90 |  | NO |")

    def test_the_table_in_the_readme(self):
        """--write puts the table between the marks and leaves the rest; it refuses a part, and a file without marks."""
        readme = Path(self.enterContext(tempfile.TemporaryDirectory()), "README.md")
        self.enterContext(mock.patch.object(self.script.readme, "README", readme))
        start, end = "<!-- bench -->", "<!-- end of bench -->"
        readme.write_text(f"above\n{start}\nold\n{end}\nbelow\n")

        @self.script.bench("one")
        def one():
            yield self.script.Pair("row", self.spin(1), self.spin(1))

        code, text = self.run_script("--write")

        self.assertEqual(code, 0)
        self.assertEqual(readme.read_text(), f"above\n{start}\n{text}{end}\nbelow\n")
        with self.assertRaises(SystemExit):
            self.run_script("--write", "--only", "one")
        readme.write_text("nothing")
        with self.assertRaises(SystemExit):
            self.run_script("--write")
        self.assertEqual(readme.read_text(), "nothing")

    def test_a_broken_bench_is_a_row(self):
        """What cannot be measured says why in its row, the others are measured, and the code is 1."""
        @self.script.bench("broken")
        def broken():
            yield self.script.Pair("row", self.script.work.child("import no_such_module"), self.spin(1))

        @self.script.bench("fine")
        def fine():
            yield self.script.Pair("seconds", self.spin(1), None, bound=10)

        code, text = self.run_script()

        self.assertEqual(code, 1)
        self.assertIn("RuntimeError: ModuleNotFoundError: No module named 'no_such_module' |", text)
        self.assertRegex(text, r"fine: seconds \| .* \| yes \|")


class QualityTests(unittest.TestCase):
    """The table of what a search finds, of searches that are not made."""

    def run_script(self, part, complete, *words):
        """Return the exit code where that part of the real bugs is found, and whether all planted ones are."""
        script = load_script("quality")
        script.samples = lambda seed: ([("1: a bug", "`a.pass`", "yes", "12", "0.3", "2")], part)
        script.planted = lambda seed: ([("numerics", "3", "3", "4", "0.1", "2")], complete)
        readme = Path(self.enterContext(tempfile.TemporaryDirectory()), "README.md")
        readme.write_text("above\n<!-- quality -->\nold\n<!-- end of quality -->\nbelow\n")
        with mock.patch.object(sys, "argv", ["quality.py", *words]), contextlib.redirect_stdout(io.StringIO()), \
                mock.patch.object(script.readme, "README", readme):
            return script.main(), readme.read_text()

    def test_too_few_is_a_failure(self):
        """Seventeen of twenty real bugs, and every planted one, are to be found."""
        self.assertEqual([self.run_script(*each)[0] for each in ((0.85, True), (0.8, True), (1.0, False))], [0, 1, 1])

    def test_the_tables_in_the_readme(self):
        """--write puts both tables between the marks, and nothing is written without it."""
        _, text = self.run_script(1.0, True, "--write")

        self.assertIn("| 1: a bug | `a.pass` | yes | 12 | 0.3 | 2 |", text)
        self.assertIn("| numerics | 3 | 3 | 4 | 0.1 | 2 |", text)
        self.assertTrue(text.startswith("above\n<!-- quality -->\n| real bug |"), text)
        self.assertTrue(text.endswith("<!-- end of quality -->\nbelow\n"), text)
        self.assertIn("old", self.run_script(1.0, True)[1])


class CiTests(unittest.TestCase):
    """What CI runs."""

    def test_ci_runs_lint_and_the_tests_on_both(self):
        """.ci/run is executable and runs lint, and the tests on both versions of torch."""
        script = ROOT / ".ci" / "run"

        self.assertTrue(os.access(script, os.X_OK))
        words = script.read_text(encoding="utf-8").splitlines()[-1].split()
        self.assertEqual(words[:3], ["exec", "python3", "scripts/run_tests.py"])
        run_tests = load_script("run_tests")
        with mock.patch.object(sys, "argv", words[2:]):
            self.assertEqual([name for name, _ in run_tests.chosen(run_tests.parse())],
                             ["lint", "torch213", "torch215"])

    def test_scripts_are_executable_and_start_with_python(self):
        """Every script that a person runs can be run by its name."""
        for path in sorted(SCRIPTS.glob("[!_]*.py")):
            with self.subTest(path.name):
                self.assertTrue(os.access(path, os.X_OK))
                self.assertTrue(path.read_text(encoding="utf-8").startswith("#!/usr/bin/env python3\n"))


class LookAtPagesTests(unittest.TestCase):
    """look_at_pages.py without a browser: what it asks for, and what it complains about."""

    class Answering:
        """Stands for the browser: has reported ``events`` of a page that is ``wide`` px wider than the window."""

        def __init__(self, events, wide):
            self.events, self.wide = events, wide

        def value(self, expression):
            return self.wide

    def complaints(self, *events, wide=0):
        browser = self.Answering([{"method": method, "params": about} for method, about in events], wide)
        return list(load_script("look_at_pages").complaints(browser, Path("/pages")))

    def test_complaints(self):
        """A page of the folder's own files is fine; a request elsewhere, a word in the console, and width are not."""
        def asks(url):
            return "Network.requestWillBeSent", {"request": {"url": url}}

        fine = (asks("file:///pages/style.css"), asks("data:,"), ("Page.loadEventFired", {}))
        self.assertEqual(self.complaints(*fine), [])
        self.assertEqual(self.complaints(*fine, asks("https://x.org/a.js"), asks("file:///pages2/a.js"), wide=7),
                         ["asks for https://x.org/a.js", "asks for file:///pages2/a.js",
                          "is 7 px wider than the window"])
        for method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.assertEqual(self.complaints((method, {"text": "no"})), ['says in the console: {"text": "no"}'])

    def test_what_it_needs(self):
        """Without pages, and without a browser, it ends with 2 and says what to do."""
        with tempfile.TemporaryDirectory() as folder:
            for name, said in (("", "fxpect catalogue --out"), ("index.html", "apt-get install chromium")):
                if name:
                    Path(folder, name).write_text("")
                ran = subprocess.run([sys.executable, SCRIPTS / "look_at_pages.py", folder, "--browser", "no-such"],
                                     capture_output=True, text=True)

                self.assertEqual(ran.returncode, 2, ran.stderr)
                self.assertIn(said, ran.stderr)


if __name__ == "__main__":
    unittest.main()
