"""The page of a drift report: pictures with places that do not move, hostile names, large graphs, a real browser."""

import base64
import hashlib
import html.parser
import itertools
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from fxpect.drift.comparing import KINDS, compare_runs
from fxpect.drift.drawing import SIGNS, pictures_of
from fxpect.drift.layout import GAP, Layout, spread
from fxpect.drift.page import MAX_BOXES, MAX_ROWS, MEANINGS, compared, page
from fxpect.drift.pairing import MAX_DRAWN, unions
from fxpect.errors import FxpectError
from fxpect.records import CaseRun
from fxpect.report.verdicts import PASSED, RunReport, Verdict
from fxpect.text.statements import read

ROOT = Path(__file__).resolve().parents[2]
BROWSER = next(filter(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome")), None)
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}]]>&lt;"
ONE = '''def forward(self, x: "f32[4]", y: "f32[4]"):
    relu: "f32[4]" = torch.relu(x)
    add: "f32[4]" = torch.add(relu, y, alpha=1)
    sin: "f32[4]" = torch.sin(add)
    mul: "f32[4]" = torch.mul(sin, relu)
    return (mul,)
'''
TWO = '''def forward(self, x: "f32[4]", y: "f32[4]"):
    relu: "f32[4]" = torch.relu(x)
    add: "f32[4]" = torch.add(relu, y, alpha=2)
    cos: "f32[4]" = torch.cos(relu)
    exp: "f32[4]" = torch.exp(cos)
    mul: "f32[4]" = torch.mul(add, y)
    return (mul, exp)
'''


def chain(count, *, changed=(), seed=0):
    """Return the text of a graph of ``count`` calls; those at ``changed`` call something else."""
    chooser, lines, names = random.Random(seed), ['def forward(self, x: "f32[2, 8]"):'], ["x"]
    for number in range(count):
        callee = chooser.choice(("add", "mul", "sub"))
        other = chooser.choice(names[-20:])
        callee = "pow" if number in changed else callee
        lines.append(f'    v{number}: "f32[2, 8]" = torch.{callee}({names[-1]}, {other})')
        names.append(f"v{number}")
    return "\n".join([*lines, f"    return ({names[-1]},)"]) + "\n"


def drift_of(*pairs, before="", **fields):
    """Return the drift of a run in which each first text became the second one."""
    runs = []
    for side in (0, 1):
        cases = [CaseRun("some.pass", f"capture=export, label='case {number}'", "f32[4]", before or pair[0], pair[side],
                         **fields) for number, pair in enumerate(pairs)]
        verdict = Verdict("test.test_x.XTests.test_one", PASSED, file="test/test_x.py", cases=tuple(cases))
        runs.append(RunReport.of([verdict], versions={"torch": ("2.13.0", "2.15.0")[side]}, graphs=True))
    return compare_runs(*runs)


class Page(html.parser.HTMLParser):
    """What is on a page: tags with their attributes, text, ids; ``faults`` are tags that do not fit."""

    EMPTY = {"meta", "link", "input", "col", "path", "rect", "circle", "line"}

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.faults, self.open = [], [], [], []
        self.feed(text)
        self.close()
        self.faults += [f"<{tag}> is not closed" for tag in self.open]
        ids = [given["id"] for _, given in self.tags if "id" in given]
        self.faults += [f"id {one} twice" for one in set(ids) if ids.count(one) > 1]

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> out of place")

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag, **wanted):
        return [given for found, given in self.tags if found == tag
                and all(value in (given.get(key) or "").split() for key, value in wanted.items())]


class UnionTests(unittest.TestCase):
    """Two graphs as one."""

    def test_states(self):
        """What is in both, changed in its place, or in one graph alone is told apart, and so are edges."""
        (union,) = unions(read(ONE), read(TWO))
        states = {(node.first or node.second)[0]: node.state for node in union.nodes}
        self.assertEqual(states, {"x": "same", "y": "same", "relu": "same", "add": "first", "sin": "changed",
                                  "mul": "same", "return": "changed", "cos": "second", "exp": "second"})
        names = [(node.first or node.second)[0] for node in union.nodes]
        only = {(names[one], names[other]) for one, other in union.first - union.second}
        # What mul reads first was sin(add) and is another add, which stands in the place of sin.
        self.assertEqual(only, {("relu", "add"), ("y", "add"), ("add", "sin"), ("relu", "mul")})

    def test_nested_graphs(self):
        """Of graphs in a graph those that differ are shown, one that only one side has included."""
        text = ('def forward(self, x: "f32[4]"):\n    def true_graph(x: "f32[4]"):\n        a = torch.{}(x)\n'
                "        return (a,)\n    c = torch.cond(x, true_graph)\n    return (c,)\n")
        one, two = text.format("sin"), text.format("cos")
        found = list(unions(read(one), read(two)))
        self.assertEqual([(union.title, union.differs) for union in found], [("", False), ("true_graph", True)])
        self.assertEqual([picture.title for picture in pictures_of(one, two)], ["true_graph"])
        lone = one.replace("true_graph", "other_graph")
        self.assertEqual([union.title for union in unions(read(one), read(lone))], ["", "true_graph", "other_graph"])

    def test_what_is_near(self):
        """A large graph is drawn where it differs, with what is next to that; one value read by all draws none in."""
        (union,) = unions(read(chain(5000)), read(chain(5000, changed=(2500,))))
        chosen = union.near()
        self.assertIn(2501, chosen)
        self.assertLess(len(chosen), MAX_DRAWN)
        self.assertTrue(all(abs(at - 2501) <= 60 for at in chosen), chosen)
        (all_of_it,) = unions(read(chain(5000)), read(chain(5000, changed=range(5000))))
        self.assertEqual(len(all_of_it.near()), MAX_DRAWN)
        hub = "def forward(self, x):\n" + "".join(f"    v{at} = torch.add(x, {at})\n" for at in range(500))
        hub += f"    return ({', '.join(f'v{at}' for at in range(500))})\n"
        (one_of_many,) = unions(read(hub), read(hub.replace("torch.add(x, 7)", "torch.sub(x, 7)")))
        self.assertEqual(len(one_of_many.near()), 3)  # the value, its input, its only user

    def test_sizes_are_not_drawn(self):
        """A size that is the same in both is named by the expressions; one that differs is drawn."""
        text = ('def forward(self, s0: "SymInt(s0)", x: "f32[s0]"):\n    mul: "SymInt(2*s0)" = operator.mul(s0, {})\n'
                '    view: "f32[s0]" = x.view({})\n    return (view,)\n')
        (union,) = unions(read(text.format(2, "mul")), read(text.format(2, "s0")))
        self.assertEqual(len(union.nodes) - len(union.near()), 2)
        (picture,) = pictures_of(text.format(2, "mul"), text.format(2, "s0"))
        self.assertEqual((picture.sizes, picture.left_out), (2, 0))
        self.assertEqual([box.cut for box in picture.sides[0].boxes], [(), (), ()])
        (union,) = unions(read(text.format(2, "mul")), read(text.format(3, "mul")))
        self.assertEqual(len(union.nodes) - len(union.near()), 1)


class LayoutTests(unittest.TestCase):
    """Where boxes stand."""

    def check(self, count, edges, seed=0):
        """Lay out boxes and hold the result to what every layout must keep."""
        chooser = random.Random(seed)
        sizes = {at: (chooser.randrange(40, 260), chooser.randrange(20, 90)) for at in range(count)}
        layout = Layout(sizes, edges)
        places = [(layout.boxes[at], layout.sizes[at]) for at in range(count)]
        for ((x, y), (width, height)), ((x2, y2), (width2, height2)) in itertools.combinations(places, 2):
            apart = x + width <= x2 or x2 + width2 <= x or y + height <= y2 or y2 + height2 <= y
            self.assertTrue(apart, "two boxes overlap")
        for (one, other), points in layout.routes.items():
            self.assertLess(layout.boxes[one][1], layout.boxes[other][1], "an edge leads up")
            self.assertEqual(points, sorted(points, key=lambda point: point[1]))
        for (x, y), (width, height) in places:
            self.assertTrue(0 <= x and x + width <= layout.width + 1e-6, "a box is outside")
            self.assertTrue(0 <= y and y + height <= layout.height + 1e-6, "a box is outside")
        return layout

    def test_any_graph(self):
        """No two boxes overlap, every edge leads down, and all is inside, whatever the graph."""
        for seed in range(12):
            chooser = random.Random(seed)
            count = chooser.randrange(1, 60)
            edges = [tuple(sorted(chooser.sample(range(count), 2))) for _ in range(2 * count)] if count > 1 else []
            layout = self.check(count, edges, seed)
            self.assertEqual(layout.routes.keys(), set(edges))

    def test_none(self):
        """No box is no picture, and no error."""
        layout = Layout({}, [])
        self.assertEqual((layout.width, layout.height, layout.boxes), (0, 0, {}))

    def test_circles(self):
        """Two graphs over each other may form a circle: one edge of it is left to be drawn otherwise."""
        layout = self.check(3, [(0, 1), (1, 2), (2, 0), (1, 1)])
        self.assertEqual(len(layout.routes), 2)

    def test_a_chain_is_straight(self):
        """Boxes of one size, each read by the next, stand below each other."""
        layout = Layout({at: (80, 30) for at in range(6)}, [(at, at + 1) for at in range(5)])
        self.assertEqual({x for x, _ in layout.boxes.values()}, {0})

    def test_few_crossings(self):
        """Two chains that were given crossed are drawn beside each other."""
        layout = Layout({at: (80, 30) for at in range(6)}, [(0, 3), (1, 2), (2, 5), (3, 4)])
        x = {at: place[0] for at, place in layout.boxes.items()}
        self.assertEqual((x[0] < x[1], x[3] < x[2], x[4] < x[5]), (x[0] < x[1],) * 3)

    def test_spread(self):
        """Places keep their order and gaps, and are where they were wanted where there is room."""
        self.assertEqual(spread([0, 0, 100], [10, 10, 10]), [-(10 + GAP) / 2, (10 + GAP) / 2, 100])
        self.assertEqual(spread([], []), [])


class PictureTests(unittest.TestCase):
    """What is drawn of two graphs."""

    def test_places(self):
        """What is in both graphs stands at the same place in both pictures."""
        (picture,) = pictures_of(ONE, TWO)
        here, there = ({box.at: (box.x, box.y) for box in side.boxes} for side in picture.sides)
        self.assertEqual({at: here[at] for at in here.keys() & there}, {at: there[at] for at in here.keys() & there})
        self.assertEqual((len(here), len(there), len(here.keys() & there)), (7, 8, 6))

    def test_marks(self):
        """Each box that differs has a sign and words; an edge that was rewired is marked, one of a new box is not."""
        (picture,) = pictures_of(ONE, TWO)
        first, second = picture.sides
        told = {box.lines[0].text: (box.sign, box.told) for box in first.boxes}
        self.assertEqual(told["sin"], ("≠", "changed: sin = torch.sin(add), f32[4]"))
        self.assertEqual(told["add"], ("−", "only here: add = torch.add(relu, y, alpha=1), f32[4]"))
        self.assertEqual(told["relu"][0], "")
        self.assertEqual((first.marked, second.marked, first.count, second.count), (3, 4, 7, 8))
        self.assertEqual([sum(arrow.alone for arrow in side.arrows) for side in picture.sides], [1, 3])
        self.assertEqual(len(set(SIGNS.values())), 4)

    def test_texts_that_are_no_graph(self):
        """There is no picture of a message."""
        self.assertEqual(pictures_of("a message", ONE), [])
        self.assertEqual(pictures_of(ONE, ONE), [])


class PageTests(unittest.TestCase):
    """The page as a text."""

    def page(self, *drifts):
        text = page(drifts)
        found = Page(text)
        self.assertEqual(found.faults, [])
        return text, found

    def test_it_loads_nothing(self):
        """One file: no address in it but in prose, one script and one style, allowed by their hashes alone."""
        text, found = self.page(drift_of((ONE, TWO)))
        self.assertEqual([len(found.all(tag)) for tag in ("script", "style", "img", "iframe")], [1, 1, 0, 0])
        self.assertEqual([given for tag, given in found.tags for key in given if key in ("src", "srcset", "style")
                          or key.startswith("on")], [])
        self.assertEqual([given["href"] for tag, given in found.tags if "href" in given], ["data:,", "#content"])
        self.assertNotRegex(text, r"url\(|@import|https?://")
        policy = found.all("meta")[1]["content"]
        for tag in ("script", "style"):
            inside = re.search(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[1]
            digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
            self.assertIn(f"{tag}-src 'sha256-{digest}'", policy)
        self.assertIn("default-src 'none'", policy)

    def test_hostile_names(self):
        """Markup in names of files, tests, cases, passes, graphs and messages is shown as it stands."""
        evil_graph = ONE.replace("alpha=1", f"alpha={EVIL!r}").replace('"f32[4]" = torch.sin', f'"{EVIL}" = torch.sin')
        runs = []
        for side, torch in ((evil_graph, "2.13.0"), (f"{EVIL} x", f"9{EVIL}")):
            cases = [CaseRun(f"pass {EVIL}", f"label={EVIL!r}", EVIL, ONE, after) for after in (side, EVIL + side)]
            other = evil_graph if torch == "2.13.0" else TWO.replace("alpha=2", repr(EVIL))
            cases += [CaseRun(EVIL, "text", "", side), CaseRun("", "graph=0", "", other)]
            verdict = Verdict(f"test.{EVIL}.test", PASSED, file=f"test/{EVIL}.py", cases=tuple(cases))
            runs.append(RunReport.of([verdict], versions={"torch": torch}, graphs=True))

        _, found = self.page(compare_runs(*runs))

        self.assertEqual([len(found.all(tag)) for tag in ("script", "img")], [1, 0])
        self.assertGreater(len(found.all("svg")), 1)
        shown = "".join(found.texts)
        self.assertGreater(shown.count(EVIL), 10)
        self.assertIn("{{ 7 * 7 }}", shown)
        self.assertTrue(any(EVIL in (given.get("aria-label") or "") for given in found.all("g")))

    def test_marks_without_color(self):
        """Each state has a class with another outline, a sign in the picture, and words for those who hear it."""
        text, found = self.page(drift_of((ONE, TWO)))
        for state in ("first", "second", "changed"):
            boxes = found.all("g", **{"class": state})
            self.assertTrue(boxes and all(one["aria-label"] and one["role"] == "img" for one in boxes), state)
        self.assertEqual({one["tabindex"] for one in found.all("g") if "tabindex" in one}, {"0", "-1"})
        self.assertEqual(sum(one.get("tabindex") == "0" for one in found.all("g")), 2)  # one way into each picture
        for rule in (r"svg \.first rect \{[^}]*stroke-dasharray", r"prefers-color-scheme: dark", r":focus-visible"):
            self.assertRegex(text, rule)

    def test_what_is_said(self):
        """Kinds, counts, words, lines, the graph before, the tests, and what each kind means are on the page."""
        _, found = self.page(drift_of((ONE, TWO), (ONE, ONE)))
        shown = " ".join(" ".join(found.texts).split())
        for said in ("torch 2.13.0 → torch 2.15.0", "1 test with 2 cases", "pass drift", "some.pass",
                     "1 case of 1 test", "case 0", "the graph that the pass is given, the same in both", "torch.sin",
                     *MEANINGS.values()):
            self.assertIn(said, shown)
        self.assertEqual(set(MEANINGS), set(KINDS))
        self.assertEqual(len(found.all("details", **{"class": "cause"})), 1)

    def test_nothing_differs(self):
        """A page of equal runs says so; of three runs there are two parts with a way to each."""
        _, found = self.page(drift_of((ONE, ONE)), drift_of((ONE, TWO)))
        self.assertIn("1 test with 1 case; nothing differs.", "".join(found.texts))
        self.assertEqual([given["href"] for given in found.all("a")], ["#content", "#pair-1", "#pair-2"])

    def test_large_graphs(self):
        """Of graphs of 5,000 values the page holds what differs, and stays small; so where everything differs."""
        few, found = self.page(drift_of((chain(5000), chain(5000, changed=(7, 2500, 4990)))))
        self.assertLess(len(few), 1_500_000)
        self.assertLess(len(found.all("g")), 2 * MAX_DRAWN + 1)
        self.assertRegex("".join(found.texts), r"Not drawn: [\d,]+ values far from what differs")
        self.assertGreater(len(found.all("line", **{"class": "stub"})), 0)
        many, found = self.page(drift_of((chain(5000), chain(5000, changed=range(5000)))))
        self.assertLess(len(many), 2_500_000)
        self.assertIn("more lines: fxpect compare --json FILE has the whole texts", "".join(found.texts))
        self.assertLessEqual(len(found.all("tr")), MAX_ROWS + 10)

    def test_many_causes(self):
        """Beyond a number of boxes the pictures are left out, and it is said."""
        with mock.patch("fxpect.drift.page.MAX_BOXES", 30):
            others = ((ONE, ONE.replace("sin", "tan")), (ONE, ONE.replace("mul", "div")))
            _, found = self.page(drift_of((ONE, TWO), *others))
        self.assertEqual(len(found.all("svg")), 4)
        self.assertIn("Not drawn: this page has enough pictures.", "".join(found.texts))
        self.assertGreater(MAX_BOXES, 30)

    def test_folded_lines(self):
        """Equal lines far from a change are one row; a text that is no graph is compared as it stands."""
        found = compared(chain(100), chain(100, changed=(50,)))
        self.assertEqual([row if isinstance(row, int) else row.same for row in found],
                         [49, True, True, True, False, True, True, True, 47])
        self.assertEqual([row.same for row in compared("a\nto b", "a\nto c")], [True, False])

    def test_without_jinja2(self):
        """Where jinja2 is missing, the error says how to get it."""
        with mock.patch.dict("sys.modules", jinja2=None):
            with self.assertRaisesRegex(FxpectError, "pip install jinja2"):
                page([drift_of((ONE, TWO))])

    @unittest.skipUnless(shutil.which("node"), "no JavaScript engine: apt-get install nodejs")
    def test_script_is_valid(self):
        """The script of the page can be read."""
        script = (Path(sys.modules["fxpect.drift.page"].__file__).parent / "templates/drift.js").read_text()
        ran = subprocess.run(["node", "-e", f"new Function({json.dumps(script)})"], capture_output=True, text=True)
        self.assertEqual((ran.returncode, ran.stderr), (0, ""))

    @unittest.skipUnless(BROWSER, "no browser: apt-get install chromium")
    def test_in_a_browser(self):
        """Light and dark, wide and narrow, nothing is amiss, and everything can be done from the keyboard."""
        with tempfile.TemporaryDirectory() as folder:
            drift = drift_of((ONE, TWO), (chain(5000), chain(5000, changed=(7, 2500, 4990))),
                             (ONE, ONE.replace("alpha=1", f"alpha={EVIL!r}")))
            Path(folder, "drift.html").write_text(page([drift]), encoding="utf-8")
            ran = subprocess.run([sys.executable, ROOT / "scripts/look_at_pages.py", f"{folder}/drift.html",
                                  "--browser", BROWSER, "--pictures", f"{folder}/pictures"],
                                 capture_output=True, text=True, timeout=240)
            self.assertEqual((ran.returncode, ran.stdout, ran.stderr), (0, "pages 1, wrong 0\n", ""))
            self.assertEqual(len(list(Path(folder, "pictures").glob("*.png"))), 4)


if __name__ == "__main__":
    unittest.main()
