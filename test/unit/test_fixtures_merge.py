"""Two versions of a stored file become the union of their cases, and a case with two results is run again."""

import shlex
import subprocess
import sys
import unittest
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from fxpect.errors import FixtureError
from fxpect.fixtures.case import Case
from fxpect.fixtures.format import Document, format_document, parse_bytes
from fxpect.fixtures.merge import has_markers, merge, sides
from fxpect.fixtures.store import Store
from test.unit.projects import ONE, THREE, TWO, ProjectCase

PATH = "test_x/XTests.test_y.fx"
CHANGED, OTHER = (ONE.with_text("", f"c = torch.{name}(x)") for name in ("sin", "cos"))
NONE = (None, (), None)
HEAD = "# fxpect 1\ntest: test_x.py XTests.test_y\nwhy: works\n"


def document(*cases, why="works", must=()):
    return Document("test_x.py XTests.test_y", why, tuple(must)).with_cases({case.key: case for case in cases})


class MergeTests(unittest.TestCase):

    def merge(self, base, ours, theirs):
        """Return what both orders of the sides give, which is the same but for what a person wrote."""
        merged, swapped = merge(base, ours, theirs), merge(base, theirs, ours)
        self.assertEqual((merged.again, [case.result for case in merged.document.cases]),
                         (swapped.again, [case.result for case in swapped.document.cases]))
        return merged

    def test_cases_of_both_sides(self):
        """What each side added is there, once."""
        for base in (None, document(ONE)):
            merged = self.merge(base, document(ONE, TWO), document(ONE, THREE))
            self.assertEqual((merged.document, merged.again, merged.notes), (document(ONE, TWO, THREE), (), ()))

    def test_one_side_changed(self):
        """With the ancestor known, the result that one side changed is taken, and the case that it took out goes."""
        merged = self.merge(document(ONE, TWO), document(CHANGED, TWO), document(ONE))
        self.assertEqual((merged.document, merged.again), (document(CHANGED), ()))

    def test_two_results_are_none(self):
        """Another result on each side, or a result beside one without an ancestor: neither is kept, the rest is."""
        titled = [Case.make(case.before, after=case.after, title="mine", must=[must])
                  for case, must in ((CHANGED, "has torch.sin"), (OTHER, "not torch.bmm"))]
        for base, ours, theirs in ((document(ONE), *titled), (None, *titled)):
            merged = self.merge(base, document(ours, TWO), document(theirs, TWO))
            case = merged.document.case(ONE.key)
            self.assertEqual((case.result, case.before, case.title), (NONE, ONE.before, "mine"))
            self.assertEqual(case.must, ("has torch.sin", "not torch.bmm"))
            self.assertEqual([key for key, _ in merged.again], [ONE.key])
            self.assertEqual(merged.document.case(TWO.key), TWO)
        for raised in (Case.make(ONE.before, raises="ValueError: no"),
                       ONE.with_text("torch>=2.15", "d = torch.sin(x)")):
            self.assertEqual(self.merge(None, document(ONE), document(raised)).document.cases[0].result, NONE)
        without = Case.make(ONE.before)
        self.assertEqual(self.merge(None, document(ONE), document(without)).again[0][0], ONE.key)

    def test_changed_and_taken_out(self):
        """A case that one side changed and the other took out is kept, to be run again."""
        merged = self.merge(document(ONE, TWO), document(CHANGED, TWO), document(TWO))
        self.assertEqual((merged.document, [key for key, _ in merged.again]), (document(CHANGED, TWO), [ONE.key]))

    def test_checks_and_intent_are_kept(self):
        """Of what both sides wrote both is kept; what one side took out is gone; what one changed is that."""
        base = document(ONE, why="old", must=["has torch.relu", "not torch.bmm"])
        merged = merge(base, document(ONE, why="ours", must=["has torch.relu", "not torch.sin"]),
                       document(ONE, why="theirs", must=["has torch.relu", "not torch.bmm", "not torch.cos"]))
        self.assertEqual(merged.document.must, ("has torch.relu", "not torch.sin", "not torch.cos"))
        self.assertEqual(merged.document.why, "ours; theirs")
        self.assertEqual(merge(base, base, document(ONE, why="new")).document.why, "new")
        self.assertEqual(merge(None, document(ONE, why="a"), document(ONE, why="")).document.why, "a")

    def test_titles(self):
        """A title that both sides changed is told; one that one side changed is taken."""
        named = [Case.make(ONE.before, after=ONE.after, title=title) for title in ("", "a", "b")]
        base, ours, theirs = map(document, named)
        self.assertEqual(merge(base, ours, base).document, ours)
        merged = merge(base, ours, theirs)
        self.assertEqual((merged.document, merged.notes), (ours, (f"{ONE.key}: titled 'b' on one side; 'a' is kept",)))

    def test_two_tests_are_refused(self):
        """Two files of different tests are not one."""
        with self.assertRaisesRegex(FixtureError, "expected one test; got 'a.py A.a' and 'b.py B.b'"):
            merge(None, Document("a.py A.a"), Document("b.py B.b"))

    @settings(max_examples=60, deadline=None)
    @given(st.data())
    def test_no_result_is_made_up(self, data):
        """Each case of the union has the result of a side or none; none but for a reason; no case added is lost."""
        graphs = [f"a{number} = torch.relu(x)" for number in range(4)]
        results = st.dictionaries(st.sampled_from(graphs), st.sampled_from(["b", "c", "d"]))
        base, ours, theirs = (
            document(*(Case.make(before, after=after) for before, after in data.draw(results).items()))
            for _ in range(3))
        known = data.draw(st.booleans())

        merged = self.merge(base if known else None, ours, theirs)

        again = dict(merged.again)
        for key in {case.key for case in (*ours.cases, *theirs.cases)}:
            found, pair = merged.document.case(key), [side.case(key) for side in (ours, theirs)]
            there = [case for case in pair if case is not None]
            if found is None:
                self.assertTrue(known and there == [base.case(key)])
            elif found.after is None:
                self.assertTrue(len(there) == 2 and there[0] != there[1] and key in again)
            else:
                self.assertIn(found, there)
                if len(there) == 2 and there[0] != there[1]:
                    self.assertTrue(known and base.case(key) in there and found != base.case(key))


class SidesTests(unittest.TestCase):

    def test_both_sides_are_read(self):
        """A conflict between two cases, with and without the ancestor, and with CRLF, gives the three documents."""
        first, second = (format_document(document(case)).partition("\n\n")[2] for case in (ONE, TWO))
        for base in ("", "||||||| base\n"):
            text = f"{HEAD}\n<<<<<<< ours\n{first}{base}=======\n{second}>>>>>>> theirs\n"
            wanted = (document() if base else None, document(ONE), document(TWO))
            for data in (text.encode(), text.replace("\n", "\r\n").encode()):
                self.assertTrue(has_markers(data))
                self.assertEqual(sides(data), wanted)

    def test_broken_markers_are_refused_with_their_line(self):
        """A marker out of order, one without its end, and a side that is no stored file are errors."""
        for text, line in (("=======\n", 4), ("<<<<<<< a\n<<<<<<< b\n", 5), (">>>>>>> a\n", 4),
                           ("<<<<<<< a\n>>>>>>> b\n", 5), ("<<<<<<< a\n=======\n", 4),
                           ("<<<<<<< a\n=======\n||||||| c\n", 6)):
            with self.subTest(text), self.assertRaises(FixtureError) as caught:
                sides((HEAD + text).encode(), "file.fx")
            self.assertEqual(caught.exception.line, line)
        with self.assertRaisesRegex(FixtureError, "to be a stored file; got ours:4: expected test:"):
            sides((HEAD + "<<<<<<< a\nx\n=======\n>>>>>>> b\n").encode(), "file.fx")


class GitCase(ProjectCase):
    """A repository in which two branches change a stored file."""

    command = "merge"

    def setUp(self):
        super().setUp()
        self.define(XTests=["test_y"])
        self.enterContext(mock.patch.dict("os.environ", {
            "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "GIT_AUTHOR_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a"}))
        self.git("init", "-q", "-b", "main")

    def git(self, *words, code=0):
        done = subprocess.run(["git", *words], capture_output=True, text=True)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout

    def branches(self, base, ours, theirs, code=1):
        """Commit three sets of cases, and merge theirs into ours; return what git says."""
        for branch, cases in (("main", base), ("theirs", theirs), ("ours", ours)):
            if branch != "main":
                self.git("checkout", "-qb", branch, "main")
            self.store(PATH, *cases)
            self.git("add", "-A")
            self.git("commit", "-qm", branch)
        return self.git("merge", "theirs", code=code)

    def driver(self):
        """Let git merge stored files through the command."""
        program = shlex.join([sys.executable, "-m", "fxpect", "merge", "--driver"])
        self.git("config", "merge.fxpect.driver", f"{program} %O %A %B %P")
        self.write(".gitattributes", "*.fx merge=fxpect\n")

    def read(self):
        return parse_bytes(self.stored()[PATH])


class CommandTests(GitCase):

    def test_both_branches_add_cases(self):
        """Conflicting additions become the union, in place, and a second merge finds nothing to do."""
        self.branches([ONE], [ONE, TWO, CHANGED_ONES[0]], [ONE, THREE, CHANGED_ONES[1]])
        self.assertIn(b"<<<<<<<", self.stored()[PATH])

        code, out, _ = self.fxpect()

        self.assertEqual((code, out), (0, f"merged: {PATH}: 5 cases\n"))
        self.assertEqual(self.read(), document(ONE, TWO, THREE, *CHANGED_ONES))
        self.assertEqual(self.fxpect(), (0, "no stored file holds conflict markers\n", ""))

    def test_two_results_are_run_again(self):
        """The case is kept without a result, 4 says so, verify too, and the next run proposes what it gives."""
        self.branches([ONE, TWO], [CHANGED, TWO], [OTHER, TWO])

        code, out, _ = self.fxpect()

        self.assertEqual(code, 4)
        self.assertEqual(out, f"merged: {PATH}: 2 cases\n  run again: {ONE.key}  (two results: none is kept)\n"
                              "  fxpect run test/test_x.py -k XTests.test_y, then fxpect review\n")
        self.assertEqual(self.read(), document(Case.make(ONE.before), TWO))
        self.command = "verify"
        self.assertIn(f"{ONE.key}: no result is stored: run its test, then fxpect accept", self.fxpect()[1])
        self.propose("XTests", "test_y", OTHER, TWO)
        self.command = "accept"
        self.assertEqual(self.fxpect("--all")[0], 0)
        self.assertEqual(self.read(), document(OTHER, TWO))

    def test_ancestor_in_the_markers(self):
        """With diff3 a case that one side took out is gone."""
        self.git("config", "merge.conflictStyle", "diff3")
        self.branches([ONE, TWO, THREE], [CHANGED, TWO, THREE], [OTHER])
        self.assertEqual((self.fxpect()[0], self.read()), (4, document(Case.make(ONE.before))))

    def test_what_cannot_be_read_stays(self):
        """A side that is broken leaves the file byte for byte, and the code is 6; the others are merged."""
        self.branches([ONE], [CHANGED], [OTHER])
        other = "fixtures/test_x/XTests.test_z.fx"
        self.write(other, f"{HEAD}<<<<<<< a\nnonsense\n=======\n>>>>>>> b\n")
        code, out, _ = self.fxpect()
        self.assertEqual((code, has_markers(self.stored()[PATH])), (6, False))
        self.assertIn("not merged: test_x/XTests.test_z.fx\n  ", out)
        self.assertIn("nonsense", (self.root / other).read_text())

    def test_named_files(self):
        """Files may be named by their path, from here or below the fixtures; one without markers is misuse."""
        self.branches([ONE], [CHANGED], [OTHER])
        for name in ("test_x/XTests.test_z.fx", "nowhere"):
            code, _, errors = self.fxpect(name)
            self.assertEqual(code, 2)
            self.assertIn(f"expected a stored file with conflict markers; got {name}", errors)
        code, rows = self.answer(f"fixtures/{PATH}")
        self.assertEqual((code, rows[0]["path"], list(rows[0]["again"])), (4, PATH, [ONE.key]))

    def test_refused_in_ci_and_where_nothing_can_be_written(self):
        """In CI the code is 3; on a disk that refuses the file stays and the reason is told."""
        self.branches([ONE], [CHANGED], [OTHER])
        before = self.stored()
        with mock.patch.dict("os.environ", {"CI": "1"}):
            self.assertEqual(self.fxpect()[0], 3)
        with mock.patch("fxpect.commands.merge.write_atomic", side_effect=OSError(28, "No space left on device")):
            code, out, _ = self.fxpect()
        self.assertEqual((code, self.stored()), (6, before))
        self.assertIn("  [Errno 28] No space left on device", out)


class DriverTests(GitCase):

    def setUp(self):
        super().setUp()
        self.driver()

    def test_branches_merge_by_themselves(self):
        """What would conflict in git's eyes is the union, without a word and without a conflict."""
        self.branches([ONE], [ONE, TWO, CHANGED_ONES[0]], [ONE, THREE, CHANGED_ONES[1]], code=0)
        self.assertEqual(self.read(), document(ONE, TWO, THREE, *CHANGED_ONES))
        self.assertEqual(self.git("status", "--short"), "")

    def test_two_results_are_a_conflict(self):
        """Git stops at a case with two results; the file has no markers, and the other cases are merged."""
        said = self.branches([ONE, TWO], [CHANGED, TWO, THREE], [OTHER])
        self.assertIn(f"run again: {ONE.key}", said)
        self.assertIn("CONFLICT", said)
        self.assertEqual(self.read(), document(Case.make(ONE.before), THREE))

    def test_both_branches_make_the_file(self):
        """Without an ancestor the cases of both are there."""
        self.git("add", "-A")
        self.git("commit", "-qm", "no stored file")
        for branch, case in (("theirs", ONE), ("ours", TWO)):
            self.git("checkout", "-qb", branch, "main")
            self.store(PATH, case)
            self.git("add", "-A")
            self.git("commit", "-qm", branch)
        self.git("merge", "theirs")
        self.assertEqual(self.read(), document(ONE, TWO))

    def test_what_is_no_stored_file_gets_markers(self):
        """Where a side cannot be read git's own markers stand in the file, and it is a conflict."""
        self.git("add", "-A")
        self.git("commit", "-qm", "no stored file")
        for branch in ("theirs", "ours"):
            self.git("checkout", "-qb", branch, "main")
            self.write(f"fixtures/{PATH}", f"nonsense of {branch}\n")
            self.git("add", "-A")
            self.git("commit", "-qm", branch)
        self.assertIn("fxpect merge: ", self.git("merge", "theirs", code=1))
        self.assertEqual(self.stored()[PATH].decode(),
                         "<<<<<<< ours\nnonsense of ours\n=======\nnonsense of theirs\n>>>>>>> theirs\n")


CHANGED_ONES = [Case.make(f"q = torch.relu({name})", after="r = torch.relu(q)") for name in "uv"]


class SpreadTests(GitCase):

    def test_cases_merge_without_conflict_in_the_common_case(self):
        """Sorted by key, single additions of two branches to a large file seldom touch: git merges them alone."""
        many = [Case.make(f"m{number} = torch.relu(x)", after="n = torch.relu(x)") for number in range(40)]
        alone = 0
        for at, (one, two) in enumerate(zip(CHANGED_MORE[::2], CHANGED_MORE[1::2], strict=True)):
            texts = [format_document(document(*many, *more)) for more in ([one], [], [two])]
            names = [f"{at}.{side}" for side in ("ours", "base", "theirs")]
            for name, text in zip(names, texts, strict=True):
                self.write(name, text)
            done = subprocess.run(["git", "merge-file", "-p", *names], capture_output=True)
            alone += done.returncode == 0 and parse_bytes(done.stdout) == document(*many, one, two)
        self.assertGreaterEqual(alone, 17)


CHANGED_MORE = [Case.make(f"p{number} = torch.relu(x)", after="q = torch.relu(x)") for number in range(40)]


class StoreTests(ProjectCase):

    def test_a_file_with_markers_is_never_missing(self):
        """A run with a conflict in its file fails with the command that mends it, and proposes nothing."""
        self.store(PATH, ONE)
        file = self.root / "fixtures" / PATH
        file.write_text(file.read_text() + "<<<<<<< ours\n")
        with self.assertRaisesRegex(FixtureError, r":10: expected no marker of a merge conflict; got '<<<<<<< ours'"
                                                  r"\n  fxpect merge$"):
            self.propose("XTests", "test_y", ONE)
        self.assertEqual(Store(self.root / "fixtures").pending.live(), [])


if __name__ == "__main__":
    unittest.main()
