"""The pages themselves: links that lead somewhere, text that stays text, a search that finds what is there."""

import html.parser
import json
import os
import posixpath
import re
import shutil
import subprocess
import unittest
from pathlib import Path
from unittest import mock
from urllib.parse import unquote, urlsplit

from fxpect.errors import FxpectError
from fxpect.fixtures.case import Case
from fxpect.fixtures.format import Document, format_document
from fxpect.loading import find
from fxpect.pages.render import render
from fxpect.pages.suite import read_suite
from test.unit.projects import ProjectCase

ROOT = Path(__file__).resolve().parents[2]
VOID = {"meta", "link", "input", "col", "wbr", "br"}
HOSTILE = "</title></pre><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7 * 7 }} & \"' \\ud800"
HOSTILE_FILE = f'''
    """{HOSTILE}"""

    import unittest

    @(lambda case: case)
    class XTests(unittest.TestCase):
        """{HOSTILE}"""

        def test_one(self):
            """{HOSTILE} `<b>` https://example.org/<i>"""

    def helper():
        """{HOSTILE}"""
'''
BEFORE = 'def forward(self, x: "f32[2]"):\n    a = torch.sin(x)\n    b = torch.sin(x)\n    return (a + b,)'
AFTER = 'def forward(self, x: "f32[2]"):\n    a = torch.sin(x)\n    return (a + a,)'


class Page(html.parser.HTMLParser):
    """One page: its tags in order, its ids, where its links lead, and what is wrong with its form."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.loads, self.wrong, self.open, self.text = [], [], [], [], [], [], ""
        self.feed(text)
        self.close()
        self.wrong += [f"<{tag}> is not closed" for tag in self.open]
        self.wrong += [f"id {one} twice" for one in {one for one in self.ids if self.ids.count(one) > 1}]

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if tag == "a" else []
        self.loads += [value for name, value in attrs if name in ("src", "srcset", "data") or
                       (name == "href" and tag != "a")]
        self.wrong += [f"<{tag} {name}>" for name in given if name.startswith("on") or name == "style"]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}> out of place")

    def handle_data(self, data):
        self.text += data


def faults(files):
    """Yield a line for whatever is wrong with pages, a path to its bytes."""
    pages = {path: Page(data.decode()) for path, data in files.items() if path.endswith(".html")}
    for path, page in pages.items():
        yield from (f"{path}: {said}" for said in page.wrong)
        for load in page.loads:
            if load != "data:," and posixpath.normpath(posixpath.join(posixpath.dirname(path), load)) not in files:
                yield f"{path}: loads {load}"
        for link in page.links:
            if not link.startswith("https://") and not leads(link, path, pages):
                yield f"{path}: link to {link}"
    for entry in index(files)["entries"]:
        if not leads(entry[2], "index.html", pages):
            yield f"index.js: link to {entry[2]}"


def leads(link, path, pages):
    parts = urlsplit(link)
    target = posixpath.normpath(posixpath.join(posixpath.dirname(path), unquote(parts.path))) if parts.path else path
    return not parts.scheme and target in pages and (
        not parts.fragment or unquote(parts.fragment) in pages[target].ids)


def index(files):
    """Return what the search box searches."""
    return json.loads(files["index.js"].decode().removeprefix("const CATALOGUE = ").removesuffix(";\n"))


class RenderCase(ProjectCase):
    """A project in a temporary folder, which is the current one."""

    def store(self, *cases, **fields):
        """Store cases of ``XTests.test_one`` of test/test_x.py."""
        document = Document("test_x.py XTests.test_one", **fields).with_cases({case.key: case for case in cases})
        self.write("fixtures/test_x/XTests.test_one.fx", format_document(document))

    def render(self, *targets):
        return render(read_suite(find(targets or ["test"])))

    def page(self, path="test/test_x.html"):
        files = self.render()
        self.assertEqual(list(faults(files)), [])
        return Page(files[path].decode())


class WholeTests(unittest.TestCase):
    """The catalogue of every test of this project."""

    @classmethod
    def setUpClass(cls):
        cls.addClassCleanup(os.chdir, os.getcwd())
        os.chdir(ROOT)
        cls.suite = read_suite(find(["test"]))
        cls.files = render(cls.suite)

    def test_no_page_is_faulty(self):
        """Every link leads to a page and an id, ids are unique, tags are closed, nothing is loaded from outside."""
        self.assertEqual(list(faults(self.files)), [])

    def test_nothing_is_left_out(self):
        """Every file, folder, test, stored case and keyword has its place, and the search box knows it."""
        pages = {path: Page(data.decode()) for path, data in self.files.items() if path.endswith(".html")}
        known = {(kind, name) for kind, name, *_ in index(self.files)["entries"]}
        for file in self.suite.files:
            page = pages[file.path.replace(".py", ".html")]
            self.assertIn(("file", file.path), known)
            for test in file.tests:
                self.assertIn(test.id, page.ids)
                self.assertIn(("test", test.id), known)
                for case in test.stored.cases if test.stored else ():
                    self.assertIn(f"case {case.key}", page.text)
        for folder in self.suite.folders:
            self.assertIn(posixpath.normpath(f"{folder}/index.html"), pages)
        for kind, path in (("operator", "operators.html"), ("pass", "passes.html"), ("API", "apis.html")):
            words = {one for one in pages[path].ids if one.startswith(f"{kind}-")}
            self.assertEqual(words, {f"{kind}-{name}" for its, name in known if its == kind})
        self.assertIn(("pass", "pre_grad.sink_cat_after_pointwise"), known)
        self.assertIn(("operator", "torch.cat"), known)
        self.assertIn(("API", "assertRewrites"), known)

    def test_nothing_is_wrong_with_the_suite(self):
        """Every file and every stored file can be read, and every stored file has its test."""
        self.assertEqual([file.path for file in self.suite.files if file.problem or file.stale], [])
        self.assertEqual([test.problem for file in self.suite.files for test in file.tests if test.problem], [])

    def test_faults_are_noticed(self):
        """A link to nowhere, an id twice, a tag left open, a script from outside and a handler are each reported."""
        planted = '<p id="a"><i id="a" onclick="x"></p><a href="gone.html">x</a><script src="https://x.org/a.js"></script>'
        files = {"index.js": b'const CATALOGUE = {"entries": [["test", "x", "x.html#none", ""]]};\n',
                 "x.html": planted.encode(), "y.html": b'<a href="x.html#b">x</a>'}

        found = "\n".join(faults(files))

        for said in ("x.html: id a twice", "x.html: <i onclick>", "x.html: </p> out of place",
                     "x.html: <p> is not closed", "x.html: loads https://x.org/a.js",
                     "x.html: link to gone.html", "y.html: link to x.html#b", "index.js: link to x.html#none"):
            self.assertIn(said, found)

    @unittest.skipUnless(shutil.which("node"), "no JavaScript engine: apt-get install nodejs")
    def test_search(self):
        """The best hit comes first, every word must be there, keywords of a test count, and hits are limited."""
        queries = ["pre_grad.sink_cat_after_pointwise", "SINK cat after",
                   "SinkCatTests.test_every_piece_gets_the_operator", "test_hooks.py",
                   "torch.bmm permute_then", "hooks nosuchword", "  ", "test"]
        ask = f"console.log(JSON.stringify({json.dumps(queries)}.map((one) => search(CATALOGUE, one, 5))))"
        program = self.files["search.js"] + self.files["index.js"] + ask.encode()
        ran = subprocess.run(["node", "-"], input=program, capture_output=True, timeout=60)
        self.assertEqual(ran.returncode, 0, ran.stderr.decode())
        exact, words, test, file, keyword, none, empty, many = json.loads(ran.stdout)

        for answer in (exact, words):
            self.assertEqual(answer["found"][0][:2], ["pass", "pre_grad.sink_cat_after_pointwise"])
        self.assertEqual(test["found"][0][:2], ["test", queries[2]])
        self.assertEqual(file["found"][0][:2], ["file", "test/dynamo/test_hooks.py"])
        self.assertEqual(keyword["found"][0][:2], ["test", "PermuteFusionTests.test_permute_then_matmul"])
        self.assertEqual((none, empty), ({"total": 0, "found": []},) * 2)
        self.assertEqual(len(many["found"]), 5)
        self.assertGreater(many["total"], 1000)


class PageTests(RenderCase):
    """One page of a small project."""

    def test_hostile_text_stays_text(self):
        """Markup in docstrings, sources, cases, names of files and folders is shown as it stands."""
        self.write("test/test_x.py", HOSTILE_FILE)
        self.write("test/<b> & 100%#?'\"/test_<i>.py", HOSTILE_FILE)
        text = HOSTILE.replace(" \\ud800", "")
        self.store(Case.make(BEFORE, title=text, after=f"{AFTER}\n# {text}", must=("has torch.sin",)), why=text)

        files = self.render()

        self.assertEqual(list(faults(files)), [])
        for path, data in files.items():
            if path.endswith(".html"):
                page = Page(data.decode())
                self.assertEqual(page.tags.count("script"), 2, path)
                self.assertEqual({"img", "b", "i"} & set(page.tags), set(), path)
        page = Page(files["test/test_x.html"].decode())
        self.assertGreaterEqual(page.text.count("<script>alert(1)</script><img src=x onerror=alert(2)> {{ 7 * 7 }}"), 7)
        self.assertEqual([one for one in page.links if "example" in one], ["https://example.org/"] * 2)

    def test_before_and_after(self):
        """Lines that differ have a sign, a class and marked words; a condition, a check and an error are shown."""
        self.write("test/test_x.py", HOSTILE_FILE)
        changed = Case.make(BEFORE, title="the change", inputs="x=f32[2]", options="capture=dynamo", after=AFTER,
                            afters=[("torch>=2.15", BEFORE)], must=("count torch.sin == 1",))
        self.store(changed, Case.make(BEFORE, title="kept", options="kept=1", after=BEFORE),
                   Case.make(BEFORE, title="fails", options="fails=1", raises="ValueError: no"),
                   Case.make("", title="alone", after="a message"))

        files = self.render()
        page = self.page()

        for said in ("case " + changed.key, "the change", "2 lines removed, 1 added", "kept unchanged",
                     "fails an error", "ValueError: no", "count torch.sin == 1",
                     "before and after, unchanged on torch>=2.15", "before and after, unchanged", "a message",
                     "inputs", "capture=dynamo", "−", "+"):
            self.assertIn(said, page.text)
        self.assertEqual(page.tags.count("table"), 1)
        text = files["test/test_x.html"].decode()
        self.assertEqual(re.findall(r"<(?:del|ins)>(.*?)</", text), ["b", "a"])
        opened = re.findall(r'<details class="case"( open)?><summary>case <code>(\w+)', text)
        self.assertEqual([key for is_open, key in opened if is_open], [changed.key])

    def test_related_and_keywords(self):
        """Tests that share an operator name each other, and the operator's list names both."""
        self.write("test/test_x.py", HOSTILE_FILE)
        self.write("test/test_y.py", """
            import unittest
            import torch

            class YTests(unittest.TestCase):
                def test_two(self):
                    torch.sin(1)
        """)
        self.store(Case.make(BEFORE, after=AFTER))

        files = self.render()

        self.assertIn("../test/test_y.html#YTests.test_two", Page(files["test/test_x.html"].decode()).links)
        self.assertIn("../test/test_x.html", Page(files["test/test_y.html"].decode()).links)
        self.assertIn("operator-torch.sin", Page(files["operators.html"].decode()).ids)
        self.assertEqual({"test/test_x.html#XTests.test_one", "test/test_y.html#YTests.test_two"},
                         {one for one in Page(files["operators.html"].decode()).links if ".html#" in one})

    def test_a_file_whose_tests_are_added_later(self):
        """Its keywords are those of its helpers; the lists name the file where no test of it can be named."""
        self.write("test/test_x.py", """
            import unittest
            import torch

            class XTests(unittest.TestCase): ...

            for size in range(3):
                setattr(XTests, f"test_{size}", lambda self: torch.cat([]))
        """)

        page = self.page()

        self.assertIn("0 tests and more that are added", page.text)
        self.assertIn("none that shares more", page.text)
        self.assertIn("../apis.html#API-torch.cat", page.links)
        self.assertIn("test/test_x.html", self.page("apis.html").links)

    def test_trouble_is_shown(self):
        """A file and a stored file that cannot be read, a stale one and a class that grows are told on the page."""
        self.write("test/test_bad.py", "def :")
        self.write("test/test_x.py", HOSTILE_FILE + "    setattr(XTests, 'test_more', print)\n")
        self.write("fixtures/test_x/XTests.test_one.fx", "# fxpect 1\n\tx\n")
        self.write("fixtures/test_x/Gone.test_y.fx", "")

        page = self.page()

        self.assertRegex(page.text, "cannot be read: .*XTests.test_one.fx:2: ")
        self.assertIn("Stored for a test that is not here: test_x/Gone.test_y.fx", page.text)
        self.assertIn("More tests are added", page.text)
        self.assertIn("line 1: invalid syntax", self.page("test/test_bad.html").text)
        self.assertIn("cannot be read", self.page("test/index.html").text)

    def test_docstrings(self):
        """Paragraphs, code, links and indented blocks of a docstring are shown as such."""
        self.write("test/test_x.py", '''
            """First `x` and ``y``.

            See https://example.org/a_(b), it helps.

                an example
                    of code
            """
        ''')

        text = self.render()["test/test_x.html"].decode()

        self.assertIn("<p>First <code>x</code> and <code>y</code>.</p>", text)
        self.assertIn('<a href="https://example.org/a_(b">https://example.org/a_(b</a>), it helps.', text)
        self.assertIn("<pre>    an example\n        of code</pre>", text)

    def test_without_jinja2(self):
        """Where jinja2 is missing, the error says how to get it."""
        self.write("test/test_x.py", HOSTILE_FILE)
        with mock.patch.dict("sys.modules", jinja2=None):
            with self.assertRaisesRegex(FxpectError, "pip install jinja2"):
                self.render()


if __name__ == "__main__":
    unittest.main()
