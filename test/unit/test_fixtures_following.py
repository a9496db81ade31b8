"""A test is renamed, moved, reordered, deleted or given a parameter: its stored cases follow, and none is lost."""

import importlib.util
import io
import sys
import unittest
from unittest import mock

from fxpect.fixtures.format import parse_bytes
from fxpect.fixtures.store import Store
from test.unit.projects import ProjectCase

HEAD = """\
import torch
import fxpect
from fxpect import T

def folds(gm):
    for node in gm.graph.find_nodes(op="call_function", target=torch.relu):
        if getattr(node.args[0], "target", None) is torch.relu:
            node.replace_all_uses_with(node.args[0])
            gm.graph.erase_node(node)
    gm.recompile()

def relus(x):
    return torch.relu(torch.relu(x)) + 1

def nested(x):
    return torch.relu(torch.relu(x + 1))

class {owner}(fxpect.PassTestCase):
    capture = "symbolic"
"""
FOLDS = """
    def test_folds(self):
        "Two relus become one."
        for size in SIZES:
            with self.subTest(size):
                self.assertRewrites(folds, relus, T(size), golden=True, label=f"size {size}")
"""
NESTED = """
    def test_nested(self):
        "Two relus at the end become one."
        self.assertRewrites(folds, nested, T(3), golden=True)
"""
OLD = "test_fold/FoldTests.test_folds.fx"


class FollowingTests(ProjectCase):

    command = "prune"

    def setUp(self):
        super().setUp()
        self.number = 0
        self.assertEqual(self.execute(), ["test_folds", "test_nested"])  # nothing is stored yet
        self.tell("accept", "--all")
        self.assertEqual(self.execute(), [])
        self.before = self.stored()

    def execute(self, *methods, owner="FoldTests", file="test_fold.py", sizes=(3, 4)):
        """Write a test file and run it in a run of its own; return which tests fail."""
        source = HEAD.format(owner=owner) + "".join(methods or (FOLDS, NESTED)).replace("SIZES", repr(sizes))
        path = self.write(f"test/{file}", source)
        self.number += 1
        name = f"following_{self.number}"
        spec = importlib.util.spec_from_file_location(name, path)
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        self.addCleanup(sys.modules.pop, name)
        spec.loader.exec_module(module)
        with mock.patch.dict("os.environ", {"FXPECT_RUN": name}):
            result = unittest.TextTestRunner(stream=io.StringIO()).run(
                unittest.defaultTestLoader.loadTestsFromModule(module))
        self.assertEqual(result.errors, [])
        return sorted({getattr(test, "test_case", test)._testMethodName for test, _ in result.failures})

    def tell(self, command, *words, code=0):
        """Run a command, which must end with ``code``; return what it prints."""
        self.command = command
        got, out, errors = self.fxpect(*words)
        self.assertEqual((got, errors), (code, ""), out)
        return out

    def check_all_is_well(self):
        """Check that nothing is pending, stale or corrupt, and that no result was lost."""
        self.tell("verify")
        results = [sorted((case.before, case.after) for data in stored.values() for case in parse_bytes(data).cases)
                   for stored in (self.before, self.stored())]
        self.assertEqual(*results)

    def test_class_is_renamed(self):
        """The run proposes the cases anew, verify names the stale files, prune moves them, and the next run passes."""
        self.assertEqual(self.execute(owner="FoldingTests"), ["test_folds", "test_nested"])
        self.assertIn("stale: test_fold/FoldTests.test_folds.fx: test/test_fold.py has no FoldTests.test_folds",
                      self.tell("verify", code=4))
        self.assertIn(f"move: {OLD} to test_fold/FoldingTests.test_folds.fx", self.tell("prune", code=4))
        self.tell("prune", "--move", "--delete")
        self.assertEqual(self.execute(owner="FoldingTests"), [])
        self.check_all_is_well()

    def test_file_is_moved(self):
        """A file in another folder takes its cases along; nothing is left behind."""
        (self.root / "test/test_fold.py").unlink()
        self.assertEqual(self.execute(file="deep/test_folding.py"), ["test_folds", "test_nested"])
        self.tell("prune", "--move", "--delete")
        self.assertEqual(self.execute(file="deep/test_folding.py"), [])
        self.assertFalse((self.root / "fixtures/test_fold").exists())
        self.check_all_is_well()

    def test_file_is_moved_before_anything_was_run(self):
        """Prune finds the test by its name where nothing was proposed yet."""
        (self.root / "test/test_fold.py").rename(self.root / "test/test_moved.py")
        self.tell("prune", "--move")
        self.assertEqual(self.execute(file="test_moved.py"), [])
        self.check_all_is_well()

    def test_tests_are_reordered(self):
        """Another order of tests, and of the cases in one, changes not a byte and proposes nothing."""
        self.assertEqual(self.execute(NESTED, FOLDS, sizes=(4, 3)), [])
        self.assertEqual(self.stored(), self.before)
        self.tell("verify")

    def test_test_is_deleted(self):
        """Exactly its file is stale, stays until --delete is given, and goes then; the other one is untouched."""
        self.assertEqual(self.execute(NESTED), [])
        self.assertEqual(self.tell("prune", code=4), f"delete: {OLD}\n  test/test_fold.py has no FoldTests.test_folds\n"
                                                     "stale 1, delete 1\n  fxpect prune --delete\n")
        self.assertEqual(self.stored(), self.before)
        self.tell("prune", "--delete")
        self.assertEqual(self.stored(), {path: data for path, data in self.before.items() if path != OLD})

    def test_parameter_is_added(self):
        """A case more is proposed, the others stay byte for byte, and accepting it is all that is left to do."""
        self.assertEqual(self.execute(sizes=(3, 4, 5)), ["test_folds"])
        entry, = Store(self.root / "fixtures").pending.live()
        self.assertEqual((entry.kind, entry.case.title), ("new case", "size 5"))
        self.tell("accept", "--all")
        self.assertEqual(self.execute(sizes=(3, 4, 5)), [])
        old, new = (parse_bytes(stored[OLD]).cases for stored in (self.before, self.stored()))
        self.assertEqual([case for case in new if case.title != "size 5"], list(old))

    def test_parameter_is_taken_out_or_changed(self):
        """The case that is no longer made is proposed to be taken out, once the others pass, and stays until then."""
        self.assertEqual(self.execute(sizes=(3,)), ["test_folds"])
        self.assertEqual(self.stored(), self.before)
        entry, = Store(self.root / "fixtures").pending.live()
        self.assertEqual((entry.kind, entry.case.title), ("case gone", "size 4"))
        self.assertEqual(self.execute(sizes=(3, 5)), ["test_folds"])  # a new case comes first
        self.tell("accept", "--all")
        self.assertEqual(self.execute(sizes=(3, 5)), ["test_folds"])
        self.assertIn("case gone", self.tell("review"))
        self.tell("accept", "--all")
        self.assertEqual(self.execute(sizes=(3, 5)), [])
        self.tell("verify")
        titles = sorted(case.title for case in parse_bytes(self.stored()[OLD]).cases)
        self.assertEqual(titles, ["size 3", "size 5"])

    def test_method_is_renamed(self):
        """The test that proposes the same cases takes them over."""
        renamed = FOLDS.replace("test_folds", "test_folds_two")
        path = self.root / "test/test_fold.py"
        path.write_text(path.read_text().replace("test_folds", "test_folds_two"))
        self.assertIn("run the tests first if it was renamed, such as to test_folds_two\n", self.tell("prune", code=4))
        self.assertEqual(self.execute(renamed, NESTED), ["test_folds_two"])
        self.tell("prune", "--move", "--delete")
        self.assertEqual(self.execute(renamed, NESTED), [])
        self.check_all_is_well()


if __name__ == "__main__":
    unittest.main()
