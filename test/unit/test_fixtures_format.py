"""The text of a stored file: what is printed is read back, and whatever else stands there is an error."""

import unittest

from hypothesis import given, settings
from hypothesis import strategies as st

from fxpect.errors import FixtureError
from fxpect.fixtures.case import Case
from fxpect.fixtures.format import (
    MAX_BYTES,
    Document,
    format_case,
    format_document,
    parse_bytes,
    parse_case,
    parse_document,
)

BEFORE = 'def forward(self, x: "f32[2, 8]"):\n    relu: "f32[2, 8]" = torch.relu(x)\n    return (relu,)'
AFTER = 'def forward(self, x: "f32[2, 8]"):\n    return (x,)'
ONE = Case.make(BEFORE, inputs="x=f32[2, 8]", options="capture=dynamo", title="one input",
                must=["not torch.cat"],
                after=AFTER, afters=[("torch>=2.15", BEFORE)])
TWO = Case.make(AFTER, raises="ValueError: no relu")
DOCUMENT = Document("dynamo/test_x.py XTests.test_y", "relu goes", ("has torch.relu",), ()).with_cases(
    {case.key: case for case in (ONE, TWO)})
TEXT = format_document(DOCUMENT)


def line_of(text, part):
    """Return the 1-based line on which ``part`` first stands."""
    return text[:text.index(part)].count("\n") + 1


words = st.text("abc_.=<> \"'#:é", min_size=1,
                max_size=12).map(lambda text: " ".join(text.split())).filter(bool)
bodies = st.lists(st.tuples(st.integers(0, 3), words), min_size=1, max_size=5).map(
    lambda lines: "\n".join("    " * depth + text for depth, text in lines))


@st.composite
def cases(draw):
    """Draw a case that ``Case.make`` accepts."""
    if draw(st.booleans()):
        return Case.make(draw(bodies), title=draw(words), raises=draw(words))
    afters = draw(st.dictionaries(st.sampled_from(["torch>=2.13", "torch>=2.15", "torch<2.12"]), bodies))
    after = draw(st.none() | bodies)
    return Case.make(draw(bodies), title=draw(words), after=after, afters=afters.items(),
                     inputs=draw(st.sampled_from(["", "x=f32[2, 8]", "x=1, y=[f32[2], 'a,b']"])),
                     options=draw(st.sampled_from(["", "b=1, a=2"])))


class FormatTests(unittest.TestCase):

    def test_prints_the_documented_layout(self):
        """The layout is the one that the module's docstring shows."""
        self.assertEqual(format_case(ONE), f"""\
## {ONE.key}  one input
inputs: x=f32[2, 8]
options: capture=dynamo
must: not torch.cat
before:
    def forward(self, x: "f32[2, 8]"):
        relu: "f32[2, 8]" = torch.relu(x)
        return (relu,)
after:
    def forward(self, x: "f32[2, 8]"):
        return (x,)
after torch>=2.15:
    def forward(self, x: "f32[2, 8]"):
        relu: "f32[2, 8]" = torch.relu(x)
        return (relu,)
""")
        self.assertTrue(TEXT.startswith("# fxpect 1\ntest: dynamo/test_x.py XTests.test_y\nwhy: relu goes\n"
                                        "must: has torch.relu\n\n## "))

    def test_reads_back_what_it_prints(self):
        """A printed document reads back as itself and prints as the same text."""
        self.assertEqual(parse_document(TEXT), DOCUMENT)
        self.assertEqual(format_document(parse_document(TEXT)), TEXT)

    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(st.lists(cases(), max_size=3), words)
    def test_reads_back_any_document(self, some, why):
        """Every document of valid cases reads back as itself, unless a body looks like a merge conflict."""
        document = Document("a.py A.b", why,
                            ("has torch.relu",)).with_cases({case.key: case for case in some})

        text = format_document(document)

        self.assertEqual(parse_document(text), document)
        self.assertTrue(text.endswith("\n") and not text.endswith("\n\n"))

    def test_tolerates_what_editors_change(self):
        """CRLF, spaces at the end of lines and additional blank lines read as the same document."""
        for text in (TEXT.replace("\n", "\r\n"), TEXT.replace("\n", "  \n"),
                     TEXT.replace("\n## ", "\n\n\n## "),
                     TEXT + "\n\n", TEXT.rstrip("\n")):
            self.assertEqual(parse_document(text), DOCUMENT)

    def test_blank_line_inside_a_body_is_kept(self):
        """A blank line between two lines of a body belongs to the body."""
        case = Case.make("a\n\n\n    b", after="c")

        self.assertEqual(parse_case(format_case(case)), case)
        self.assertEqual(case.before, "a\n\n\n    b")

    def test_order_of_conditions_and_options_is_free_on_reading(self):
        """Sections with a condition, and options, may stand in any order and are printed in one."""
        case = Case.make(BEFORE, options="b=2, a=1", after="x",
                         afters=[("torch<2.12", "z"), ("torch>=2.15", "y")])
        text = format_case(case)
        low, high = "after torch<2.12:\n    z\n", "after torch>=2.15:\n    y\n"
        self.assertIn(low + high, text)

        other = text.replace(low + high, high + low).replace("a=1, b=2", "b=2,a=1")

        self.assertEqual(parse_case(other), case)


class RefusalTests(unittest.TestCase):

    def refuse(self, text, message, line=None):
        """Expect ``FixtureError`` with a message and a line."""
        with self.assertRaisesRegex(FixtureError, message) as caught:
            parse_document(text, "a.fx")
        self.assertEqual(caught.exception.line, line, caught.exception)
        self.assertEqual(caught.exception.path, "a.fx")
        self.assertTrue(str(caught.exception).startswith(f"a.fx:{line}: "), caught.exception)

    def test_conflict_marker_anywhere_is_an_error(self):
        """A marker of a merge conflict is refused before every line of a file, at the margin and indented."""
        lines = TEXT.split("\n")
        for marker in ("<<<<<<< HEAD", "=======", ">>>>>>> theirs", "||||||| base", "    <<<<<<< HEAD"):
            for at in range(len(lines)):
                text = "\n".join([*lines[:at], marker, *lines[at:]])
                self.refuse(text, "no marker of a merge conflict", at + 1)

    def test_every_broken_line_is_named(self):
        """Each way to break a file is refused with the line where it stands."""
        table = [
            ("# fxpect 1\n", "# fxpect 2\n", "newer fxpect", None),
            ("# fxpect 1\n", "", "expected '# fxpect 1' first", None),
            ("# fxpect 1\n", "\n# fxpect 1\n", "on the first line", "# fxpect 1"),
            ("test: ", "tset: ", "expected test:, why:, must: or a case; got 'tset:", "tset"),
            ("why: relu goes\n", "why: relu goes\nwhy: twice\n", "in this order", "why: twice"),
            ("why: relu goes\n", "why:\n", "expected a value after why:", "why:"),
            ("why: relu goes\n", "why: relu goes\n    more\n", "on one line", "why:"),
            ("why: relu goes\n", "why: relu goes\ntest: b.py B.c\n", "in this order", "test: b.py"),
            ("must: has torch.relu", "must: hass torch.relu", "must: 'hass torch.relu'", "must: hass"),
            ("must: has torch.relu", "mst: has torch.relu", "got 'mst:", "mst:"),
            ("must: not torch.cat", "must: nott torch.cat", "nott", "must: nott"),
            (f"## {ONE.key}  one", f"## {ONE.key} one", "two spaces and a title", f"## {ONE.key} one"),
            (f"## {ONE.key}", "## 12345", "10 hexadecimal digits", "## 12345"),
            (f"## {ONE.key}", f"### {ONE.key}", "10 hexadecimal digits", "###"),
            (f"## {ONE.key}", "## 0000000000", f"expected the key of what is written under it, {ONE.key}",
             "## 0"),
            ("inputs: x=f32[2, 8]", "inputs: x=f32[2, 8", "expected ']'", f"## {ONE.key}"),
            ("options: capture=dynamo", "options: dynamo", "name=value", f"## {ONE.key}"),
            ("options: capture=dynamo\n", "options: capture=dynamo\noptions: capture=dynamo\n",
             "each section once",
             "options: capture=dynamo\nmust"),
            ("options: capture=dynamo\n", "", "expected the key", f"## {ONE.key}"),
            ("before:\n", "before: x\n", "alone on its line", "before: x"),
            ("before:\n", "befor:\n", "got 'befor:'", "befor:"),
            ("after torch>=2.15:", "after torch>2.15:", "expected a condition", "after torch>2.15:"),
            ("after torch>=2.15:", "after 2.15:", "expected a condition", "after 2.15:"),
            ("after torch>=2.15:", "after:", "each section once",
             "after:\n    def forward(self, x: \"f32[2, 8]\"):\n"
             "        relu"),
            ("after torch>=2.15:", "expect:", "got 'expect:'", "expect:"),
            ("    return (x,)", "\treturn (x,)", "no control character, tab", "\treturn"),
            ("        return (x,)", "   return (x,)", "at the margin or indented by 4", "   return (x,)"),
            ("        return (x,)", "return (x,)", "got 'return ", "return (x,)"),
            ("why: relu goes", "why: relu\rgoes", "no control character", "why:"),
            ("why: relu goes", "why: relu\u2028goes", "no control character", "why:"),
            ("raises: ", "after:\n    x\nraises: ", "after: or raises:, not both", f"## {TWO.key}"),
        ]
        for old, new, message, where in table:
            with self.subTest(old=old, new=new):
                self.assertEqual(TEXT.count(old) >= 1, True, old)
                text = TEXT.replace(old, new, 1)
                self.refuse(text, message, 1 if where is None else line_of(text, where))

    def test_indented_line_that_belongs_to_nothing_is_an_error(self):
        """An indented line under the header or under a case's title is refused."""
        self.refuse(TEXT.replace("# fxpect 1\n", "# fxpect 1\n    x\n"), "got an indented line", 1)
        title = f"## {ONE.key}  one input\n"
        self.refuse(TEXT.replace(title, title + "    x\n"), "got an indented line", line_of(TEXT, title))

    def test_duplicate_key_and_wrong_order_are_errors(self):
        """A case that stands twice, or after one of a greater key, is refused at its own line."""
        head, first, second = TEXT.split("\n## ")
        swapped = "\n## ".join([head, second.rstrip("\n") + "\n", first])
        self.refuse(swapped, "cases sorted by key", line_of(swapped, "## " + first[:10]))
        twice = "\n## ".join([head, first, first])
        self.refuse(twice, "each key once",
                    twice.rindex("## ") and twice[:twice.rindex("## ")].count("\n") + 1)

    def test_overlapping_sections_are_an_error(self):
        """Two conditions that overlap, neither inside the other, are refused."""
        text = TEXT.replace("after torch>=2.15:", "after torch<2.16:\n    y\nafter torch>=2.15:")
        self.refuse(text, "exactly one section for each torch", line_of(text, f"## {ONE.key}"))

    def test_bytes_that_are_not_utf8_or_too_many_are_errors(self):
        """Bytes that are not UTF-8 are refused with their line; a file over the limit is refused unread."""
        with self.assertRaisesRegex(FixtureError, "a.fx:3: expected UTF-8"):
            parse_bytes(TEXT.encode().replace(b"relu goes", b"relu \xff goes"), "a.fx")
        with self.assertRaisesRegex(FixtureError, "at most 1000000 bytes; got 1000001"):
            parse_bytes(b"#" * (MAX_BYTES + 1))
        with self.assertRaisesRegex(FixtureError, "byte order mark"):
            parse_bytes(b"\xef\xbb\xbf" + TEXT.encode())

    def test_empty_file_is_an_error(self):
        """An empty file is broken, not a file without cases."""
        self.refuse("", "expected '# fxpect 1' first", 1)
        self.refuse("# fxpect 1\n", "expected a test: line", 1)

    def test_what_could_not_be_read_back_is_never_printed(self):
        """A document is printed only if it reads back as itself."""
        for case in (Case(key="0123456789"), Case.make("a", after="b\tc"), Case.make("a", after=""),
                     Case.make("<<<<<<< HEAD", after="b"), Case.make("a", title="b\udc80", after="c")):
            with self.subTest(case=case), self.assertRaises(FixtureError):
                format_document(Document("a.py A.b", cases=(case,)))
        for document in (Document(""), Document("a\nb"), Document("a", " why"),
                         Document("a", must=("hs x",))):
            with self.subTest(document=document), self.assertRaises(FixtureError):
                format_document(document)


if __name__ == "__main__":
    unittest.main()
