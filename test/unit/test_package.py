"""What gets installed: the wheel, its data, the command, and the names of the package."""

import configparser
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile
from pathlib import Path

import fxpect

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "test" / "fxpect"


def run(program, **options):
    """Run a program text in a new Python and return the finished process."""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, **options)


class NameTests(unittest.TestCase):
    """The public names, and what importing the package costs."""

    def test_every_public_name_resolves(self):
        """Each name of ``fxpect.__all__`` is there, under the name that it has where it is defined."""
        for name in fxpect.__all__:
            with self.subTest(name):
                value = getattr(fxpect, name)

                self.assertEqual(getattr(value, "__name__", name), name)
                self.assertIn(name, dir(fxpect))

    def test_an_unknown_name_is_an_attribute_error(self):
        """A misspelt name raises AttributeError and names itself."""
        with self.assertRaisesRegex(AttributeError, "module 'fxpect' has no attribute 'TestCsae'"):
            fxpect.TestCsae  # noqa: B018

    def test_the_import_is_light(self):
        """``import fxpect`` loads neither torch nor Hypothesis."""
        done = run("import sys, fxpect; print(list({'torch', 'hypothesis'} & set(sys.modules)))")

        self.assertEqual(done.stdout, "[]\n", done.stderr)

    def test_another_name_is_refused(self):
        """Imported as test.fxpect the library would exist twice, so that raises."""
        done = run(f"import sys; sys.path.insert(0, {str(ROOT)!r}); import test.fxpect", cwd=ROOT)

        self.assertIn("ImportError: import fxpect, not test.fxpect", done.stderr)


@unittest.skipUnless(importlib.util.find_spec("setuptools"), "setuptools is not installed")
class WheelTests(unittest.TestCase):
    """The wheel, built once from a copy of what it is built from."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        copy = Path(folder.name, "copy")
        for name in ("setup.cfg", "pyproject.toml", "README.md"):
            if (ROOT / name).exists():
                copy.mkdir(exist_ok=True)
                shutil.copy(ROOT / name, copy)
        shutil.copytree(ROOT / "test", copy / "test", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "scripts", copy / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
        done = run("import setuptools.build_meta as backend; print(backend.build_wheel('out'))", cwd=copy)
        if done.returncode:
            raise RuntimeError(done.stderr)
        with zipfile.ZipFile(copy / "out" / done.stdout.split()[-1]) as wheel:
            cls.names = set(wheel.namelist())
            cls.texts = {name.partition(".dist-info/")[2]: wheel.read(name).decode()
                         for name in cls.names if ".dist-info/" in name}

    def test_it_holds_the_library_alone(self):
        """Every module of the library is in the wheel, and nothing beside it but the wheel's own records."""
        ours = {name for name in self.names if not name.startswith("fxpect-")}
        modules = {path.relative_to(LIBRARY.parent).as_posix() for path in LIBRARY.rglob("*.py")}

        self.assertEqual({name for name in ours if name.endswith(".py")}, modules)
        self.assertEqual([name for name in ours if not name.startswith("fxpect/")], [])

    def test_it_holds_the_data(self):
        """The mark of a typed package and every data file of the library are in the wheel."""
        data = {path.relative_to(LIBRARY.parent).as_posix() for path in LIBRARY.rglob("*")
                if path.is_file() and path.suffix not in (".py", ".pyc")}

        self.assertIn("fxpect/py.typed", data)
        self.assertEqual(data - self.names, set())

    def test_its_metadata(self):
        """Name, version, Python, the four core dependencies and the command are what they should be."""
        metadata = self.texts["METADATA"].partition("\n\n")[0].splitlines()
        core = {line.partition(": ")[2] for line in metadata
                if line.startswith("Requires-Dist") and "extra ==" not in line}

        self.assertIn("Name: fxpect", metadata)
        self.assertIn(f"Version: {fxpect.__version__}", metadata)
        self.assertIn("Requires-Python: >=3.11", metadata)
        self.assertEqual(core, {"torch>=2.11", "expecttest", "hypothesis", "packaging"})
        self.assertIn("fxpect = fxpect.commands.main:main", self.texts["entry_points.txt"])


class SettingsTests(unittest.TestCase):
    """What setup.cfg, tox.ini and the scripts say of the same thing is the same."""

    def test_the_torch_versions_agree(self):
        """tox has an environment for each torch that setup.cfg pins; CI runs two of them."""
        setup, tox = configparser.ConfigParser(), configparser.ConfigParser(interpolation=None)
        setup.read(ROOT / "setup.cfg")
        tox.read(ROOT / "tox.ini")
        extras = setup["options.extras_require"]
        pins = {name: value for name, value in extras.items() if name.startswith("torch")}

        self.assertEqual(pins, {"torch211": "torch==2.11.0", "torch213": "torch==2.13.0",
                                "torch215": "torch==2.15.0"})
        for name in pins:
            self.assertIn(f"{name}: {name}", tox["testenv"]["extras"])
        self.assertEqual(tox["tox"]["env_list"], "torch213")
        self.assertIn("ci = lint, torch213, torch215", tox["tox"]["labels"])


if __name__ == "__main__":
    unittest.main()
