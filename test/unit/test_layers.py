"""What a module of the library may import, and the other rules that its files keep."""

import ast
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Iterator
from pathlib import Path

import fxpect

LIBRARY = Path(fxpect.__file__).parent
# A module imports only what stands on a line above its own; "fxpect" is the package with its public names.
LAYERS = (
    {"errors"},
    {"autocast", "records", "loading"},
    {"specs", "fixtures", "report"},
    {"text", "pages"},
    {"contracts", "drift"},
    {"examples"},
    {"capture"},
    {"execution"},
    {"strategies", "compiling"},
    {"oracles"},
    {"standalone"},
    {"passes"},
    {"fxpect"},
    {"cases", "campaign"},
    {"commands"},
    {"__main__"},
)
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}
WITHOUT_TORCH = ("errors", "records", "loading", "fixtures", "report", "pages", "drift", "commands")
MAX_LINES = 600
MAX_FUNCTION_LINES = 80


class LayerTests(unittest.TestCase):
    """Every rule is shown to hold, and to be noticed where a planted file breaks it."""

    maxDiff = None

    def test_imports_point_down(self):
        """No module of the library imports one on its own line of the table or below."""
        self.assertEqual(list(upward_imports(LIBRARY)), [])

    def test_upward_and_relative_imports_are_noticed(self):
        """An import of a higher layer, a relative one, and a part that the table lacks are all reported."""
        planted = {"specs/up.py": "def f():\n    from fxpect.oracles.judge import judge\n",
                   "text/relative.py": "from . import targets\n",
                   "report/beside.py": "import fxpect.fixtures.store\n",
                   "oracles/public.py": "from fxpect import T\n",
                   "novelty.py": "import ast\n",
                   "oracles/fine.py": "from fxpect.execution.running import run_pass\n"}
        with tempfile.TemporaryDirectory() as folder:
            plant(Path(folder), planted)

            found = list(upward_imports(Path(folder)))

        self.assertEqual(found, ["novelty.py: no layer is given for 'novelty'",
                                 "oracles/public.py:1: oracles imports fxpect",
                                 "report/beside.py:1: report imports fixtures",
                                 "specs/up.py:2: specs imports oracles",
                                 "text/relative.py:1: relative import"])

    def test_torch_stays_out(self):
        """The parts that answer in an instant load neither torch nor Hypothesis when they are imported."""
        modules = sorted(module for module in modules_of(LIBRARY)
                         if module.split(".")[1:] and module.split(".")[1] in WITHOUT_TORCH)

        self.assertGreater(len(modules), 10)
        self.assertEqual(who_imports_torch(modules, LIBRARY.parent), "")

    def test_torch_is_noticed(self):
        """A module that imports torch is named."""
        with tempfile.TemporaryDirectory() as folder:
            plant(Path(folder), {"torch.py": "", "quick.py": "", "slow.py": "import torch\n"})

            self.assertEqual(who_imports_torch(["quick", "slow"], Path(folder)), "slow imports torch\n")

    def test_files_are_small_and_named_for_no_runner(self):
        """No file is longer than 600 lines, no function than 80, and none looks like a test to a runner."""
        self.assertEqual(list(unfit_files(LIBRARY)), [])

    def test_unfit_files_are_noticed(self):
        """A file that is too long, one with a long function, and two names of tests are all reported."""
        planted = {"long.py": "x = 1\n" * 601, "testing.py": "", "case_test.py": "",
                   "deep.py": "def f():\n" + "    x = 1\n" * 80, "fine.py": "x = 1\n" * 600}
        with tempfile.TemporaryDirectory() as folder:
            plant(Path(folder), planted)

            found = list(unfit_files(Path(folder)))

        self.assertEqual(found, ["case_test.py: runners take this for a test", "deep.py:1: f has 81 lines",
                                 "long.py: 601 lines", "testing.py: runners take this for a test"])

    def test_no_module_hides_a_public_name(self):
        """Importing fxpect.x would overwrite a public function x, so no module bears such a name."""
        modules = {path.stem for path in LIBRARY.iterdir()}

        self.assertEqual(modules & set(fxpect.__all__), set())


def upward_imports(library: Path) -> Iterator[str]:
    """Yield a line for each import that does not point down."""
    for path in sorted(library.rglob("*.py")):
        name = path.relative_to(library).as_posix()
        part = Path(name).parts[0].removesuffix(".py")
        if part == "__init__":
            continue
        if part not in RANK:
            yield f"{name}: no layer is given for {part!r}"
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for target in imported_parts(node):
                if not target:
                    yield f"{name}:{node.lineno}: relative import"
                elif target != part and RANK.get(target, len(LAYERS)) >= RANK[part]:
                    yield f"{name}:{node.lineno}: {part} imports {target}"


def imported_parts(node: ast.AST) -> list[str]:
    """Return the parts of the library that ``node`` imports; "" stands for a relative import."""
    if isinstance(node, ast.ImportFrom) and node.level:
        return [""]
    if isinstance(node, ast.ImportFrom) and node.module == "fxpect":
        # A public name comes from wherever it is defined; a part is that part; the version is free.
        names = [alias.name for alias in node.names if alias.name != "__version__"]
        return [name if name in RANK else "fxpect" for name in names]
    modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
    modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    return [(module.split(".") + ["fxpect"])[1] for module in modules if module.split(".")[0] == "fxpect"]


def unfit_files(library: Path) -> Iterator[str]:
    """Yield a line for each file or function that is too long, or whose name misleads test runners."""
    for path in sorted(library.rglob("*.py")):
        name = path.relative_to(library).as_posix()
        text = path.read_text(encoding="utf-8")
        if path.name.startswith("test") or path.stem.endswith("_test"):
            yield f"{name}: runners take this for a test"
        if len(text.splitlines()) > MAX_LINES:
            yield f"{name}: {len(text.splitlines())} lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    yield f"{name}:{node.lineno}: {node.name} has {lines} lines"


def modules_of(library: Path) -> Iterator[str]:
    """Yield the dotted name of every module of the library."""
    for path in library.rglob("*.py"):
        parts = path.relative_to(library.parent).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def who_imports_torch(modules: list[str], folder: Path) -> str:
    """Return a line naming the first module after whose import torch or Hypothesis is loaded, or ""."""
    program = ("import importlib, sys\n"
               f"sys.path.insert(0, {str(folder)!r})\n"
               f"for module in {modules!r}:\n"
               "    importlib.import_module(module)\n"
               "    for heavy in ('torch', 'hypothesis'):\n"
               "        if heavy in sys.modules:\n"
               "            sys.exit(print(module, 'imports', heavy))\n")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    return done.stdout + done.stderr


def plant(folder: Path, files: dict[str, str]) -> None:
    """Write ``files`` below ``folder``."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    unittest.main()
