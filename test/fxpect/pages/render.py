"""The pages of a suite: one a test file, an index a folder, the keywords, and what the search box needs."""

from __future__ import annotations

import collections
import dataclasses
import json
import posixpath
import re
import shlex
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fxpect import __version__
from fxpect.errors import FxpectError
from fxpect.fixtures.case import Case
from fxpect.fixtures.format import Document
from fxpect.pages.naming import API, KINDS, OPERATOR, PASS, Keyword, keywords, targets
from fxpect.pages.related import Key, related
from fxpect.pages.sides import TEMPLATES, Row, changes, rows
from fxpect.pages.suite import Suite, Test, TestFile

if TYPE_CHECKING:
    from jinja2 import Environment

PAGES = {OPERATOR: "operators.html", PASS: "passes.html", API: "apis.html"}
TITLES = {OPERATOR: "Operators", PASS: "Passes", API: "APIs"}
UNCHANGED = "unchanged"
_ASSETS = {"style.css": ("sides.css", "style.css"), "search.js": ("search.js",)}
_PROSE = re.compile(r"(``?)(?P<code>[^`\n]+)\1|(?P<link>https?://[^\s<>\"'`]*[^\s<>\"'`.,;:!?)])")


@dataclasses.dataclass(frozen=True)
class Link:
    """Where something is shown: the page, and the id in it."""

    name: str
    page: str
    fragment: str = ""


class Site:
    """The suite with what its pages need to know of each other; a test is known by file and ``Class.method``.

    A file itself has ``""`` in the place of a test.
    """

    def __init__(self, suite: Suite):
        self.suite = suite
        called = frozenset().union(*(_operators(test) for file in suite.files for test in file.tests))
        tests, files = {}, {}
        self.links: dict[Key, Link] = {}
        for file in suite.files:
            page = page_of(file.path)
            for test in file.tests:
                tests[file.path, test.id] = keywords(test.names, _operators(test), called)
                self.links[file.path, test.id] = Link(test.id, page, test.id)
            words = {word for test in file.tests for word in tests[file.path, test.id]}
            files[file.path, ""] = tuple(sorted({*words, *keywords(file.names, (), called)}))
            self.links[file.path, ""] = Link(file.path, page)
        self.keywords: dict[Key, tuple[Keyword, ...]] = {**tests, **files}
        self.related = {**related(tests, _in_another_class), **related(files, lambda one, two: one != two)}
        self.users: dict[Keyword, list[Key]] = collections.defaultdict(list)
        for key in sorted(self.keywords):  # a file before its tests
            for word in self.keywords[key]:
                self.users[word].append(key)

    def link_of(self, word: Keyword) -> Link:
        """Return where the users of a keyword are listed."""
        return Link(word.name, PAGES[word.kind], f"{word.kind}-{word.name}")


def page_of(path: str) -> str:
    """Return the page of a test file, or of a folder."""
    return f"{path.removesuffix('.py')}.html" if path.endswith(".py") else posixpath.join(path, "index.html")


def render(suite: Suite) -> dict[str, bytes]:
    """Return every file of the catalogue by its path; the same bytes for the same suite.

    Raises ``FxpectError`` where jinja2 is not installed.
    """
    site, environment = Site(suite), _environment()
    pages = {}

    def add(path: str, template: str, **values: Any) -> None:
        root = "../" * path.count("/")

        def href(link: Link) -> str:
            # The page itself is named by the fragment alone, so that the browser does not load it again.
            where = "" if link.page == path and link.fragment else root + quote(link.page)
            return where + (f"#{quote(link.fragment)}" if link.fragment else "")

        text = environment.get_template(template).render(
            root=root, page=path, href=href, site=site, Link=Link, page_of=page_of, titles=TITLES, kind_pages=PAGES,
            version=__version__, trail=_trail(path), **values)
        pages[path] = text.encode("utf-8", "replace")

    for file in suite.files:
        add(page_of(file.path), "file.html", file=file, run=_commands(file), one=_one(file))
    for folder in suite.folders:
        add(page_of(folder if folder != "." else ""), "folder.html", folder=folder,
            parts=[part for part in (_part(suite, name) for name in _below(suite, folder)) if part[1]])
    for kind in KINDS:
        add(PAGES[kind], "keywords.html", kind=kind, words=_by_file(site, kind))
    for name, parts in _ASSETS.items():
        pages[name] = b"".join((TEMPLATES / part).read_bytes() for part in parts)
    pages["index.js"] = search_index(site).encode()
    return pages


def search_index(site: Site) -> str:
    """Return the script that gives the search box what it searches: files, then keywords, then tests."""
    words = sorted(site.users)
    position = {word: at for at, word in enumerate(words)}

    def entry(kind: str, link: Link, text: str, known: Iterable[Keyword] = ()) -> list[Any]:
        where = quote(link.page) + (f"#{quote(link.fragment)}" if link.fragment else "")
        return [kind, link.name, where, text, [position[word] for word in known]]

    # What a file uses is found through its tests, which would stand below dozens of files otherwise.
    entries = [entry("file", site.links[file.path, ""], first(file.purpose)) for file in site.suite.files]
    entries += [entry(word.kind, site.link_of(word), "") for word in words]
    entries += [entry("test", site.links[file.path, test.id], first(test.claim) or file.path,
                      site.keywords[file.path, test.id]) for file in site.suite.files for test in file.tests]
    data = {"keywords": [word.name for word in words], "entries": entries}
    return f"const CATALOGUE = {json.dumps(data, separators=(',', ':'))};\n"


def first(text: str) -> str:
    """Return the first paragraph of a docstring on one line."""
    return " ".join(text.strip().partition("\n\n")[0].split())


def _operators(test: Test) -> frozenset[str]:
    cases = test.stored.cases if test.stored else ()
    texts = (text for case in cases for text in (case.before, case.after or "", *dict(case.afters).values()))
    return frozenset().union(*map(targets, texts))


def _in_another_class(one: Key, two: Key) -> bool:
    return (one[0], one[1].partition(".")[0]) != (two[0], two[1].partition(".")[0])


def _commands(file: TestFile) -> list[tuple[str, str]]:
    """Return the ways to run a file, from the folder that its path starts in."""
    found = [("this suite's runner", f"fxpect run {shlex.quote(file.path)}"),
             ("unittest", _from_top(file, f"python -m unittest {shlex.quote(file.module)}"))]
    return [*found, ("as a script", f"python {shlex.quote(file.path)}")] if file.is_script else found


def _from_top(file: TestFile, command: str) -> str:
    return command if file.top == "." else f"(cd {shlex.quote(file.top)} && {command})"


def _one(file: TestFile) -> str:
    """Return the command that runs one test of a file, but for the name of the test."""
    parts = file.path.removesuffix(".py").split("/")
    if all(part.isidentifier() for part in parts):
        return f"fxpect run {'.'.join(parts)}."
    return f"fxpect run {shlex.quote(file.path)} -k "


def _trail(path: str) -> list[Link]:
    """Return the links from the start page down to the folder of a page."""
    parts = path.split("/")[:-1]
    return [Link("catalogue", "index.html")] + [Link(part, posixpath.join(*parts[:at], "index.html"))
                                                for at, part in enumerate(parts, 1)]


def _below(suite: Suite, folder: str) -> list[str]:
    return [name for name in suite.folders if folder in (".", name) or name.startswith(f"{folder}/")]


def _part(suite: Suite, folder: str) -> tuple[str, list[TestFile]]:
    return folder, [file for file in suite.files if (posixpath.dirname(file.path) or ".") == folder]


def _by_file(site: Site, kind: str) -> list[tuple[Keyword, list[tuple[str, list[Key]]]]]:
    """Return each keyword of a kind with the tests that use it, those of a file together."""
    found = []
    for word in sorted(word for word in site.users if word.kind == kind):
        files: dict[str, list[Key]] = collections.defaultdict(list)
        for key in site.users[word]:
            files[key[0]] += [key] if key[1] else []
        found.append((word, list(files.items())))
    return found


@dataclasses.dataclass(frozen=True)
class ShownCase:
    """A stored case as it is shown: each text of the graph after with its condition and how it stands to before."""

    case: Case
    results: tuple[tuple[str, str, list[Row]], ...]
    summary: str
    open: bool = False


def _shown(stored: Document) -> list[ShownCase]:
    """Return the cases of a document; the first that shows a change is open, else the first."""
    found = []
    for case in stored.cases:
        texts = [*([("", case.after)] if case.after is not None else []), *case.afters]
        results = tuple((condition, text, rows(case.before, text) if case.before else []) for condition, text in texts)
        found.append(ShownCase(case, results, _summary(case, results)))
    first = next((at for at, one in enumerate(found) if one.summary not in ("", UNCHANGED)), 0)
    return [dataclasses.replace(one, open=at == first) for at, one in enumerate(found)]


def _summary(case: Case, results: Sequence[tuple[str, str, list[Row]]]) -> str:
    """Return in words what becomes of the graph, "" where nothing is stored to compare."""
    if case.raises is not None:
        return "an error"
    if not (case.before and results):
        return ""
    less, more = changes(results[0][2])
    return f"{less} lines removed, {more} added" if less or more else UNCHANGED


def _environment() -> Environment:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup, escape
    except ImportError:
        raise FxpectError("expected jinja2, which writes the pages; it is not installed\n"
                          "  pip install jinja2") from None

    def prose(text: str) -> Markup:
        """Return text with its ``code`` and its links marked, and all else as it stands."""
        parts, at = [], 0
        for match in _PROSE.finditer(text):
            parts.append(escape(text[at:match.start()]))
            form = "<code>{}</code>" if match["code"] else '<a href="{0}">{0}</a>'
            parts.append(Markup(form).format(match["code"] or match["link"]))
            at = match.end()
        return Markup("").join([*parts, escape(text[at:])])

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(prose=prose, first=first, paragraphs=_paragraphs, shown=_shown,
                               breakable=lambda name: Markup("<wbr>").join(re.split(r"(?<=[._/])(?=\w)", name)))
    return environment


def _paragraphs(text: str) -> list[tuple[str, str]]:
    """Return the paragraphs of a docstring, each with "pre" where all of it is indented or a list, else "p"."""
    blocks = [block for block in re.split(r"\n[ \t]*\n", text.expandtabs(4)) if block.strip()]
    return [("pre" if all(re.match(r"  |[-*] |\d+\. |>>>", line) for line in block.split("\n")) else "p",
             block.strip("\n")) for block in blocks]

