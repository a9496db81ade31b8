#!/usr/bin/env python3
"""Open the pages of ``fxpect catalogue``, or that of ``fxpect compare``, in headless Chromium: what a reader would trip
over, and pictures.

    fxpect catalogue && scripts/look_at_pages.py --pictures .fxpect/pictures
    scripts/look_at_pages.py FOLDER --browser /usr/bin/chromium
    fxpect compare OLD.json NEW.json --html drift.html; scripts/look_at_pages.py drift.html

Every page is opened at the width of a desk and of a phone: nothing may be said in the console, nothing asked of
another place than the folder, nothing be wider than the window. Then the search box of the catalogue, or the filter,
the causes and the pictures of a drift report, are used from the keyboard. The pictures are of the pages that differ
most, light and dark. Ends with 1 where something is wrong, with 2 where there is no browser. Needs Python and Chromium
(or Chrome) alone.
"""

import argparse
import base64
import contextlib
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTHS = {"desk": 1280, "phone": 390}
SCHEMES = ("light", "dark")
TIMEOUT_SECONDS = 30
FLAGS = ("--headless", "--disable-gpu", "--no-first-run", "--hide-scrollbars", "--remote-debugging-pipe")
# A key as the browser wants to be told of it: name, code, text.
KEYS = {"/": ("/", 191, "/"), "Enter": ("Enter", 13, "\r"), "Escape": ("Escape", 27, ""),
        "ArrowDown": ("ArrowDown", 40, ""), "ArrowUp": ("ArrowUp", 38, ""), "Tab": ("Tab", 9, ""),
        "j": ("j", 74, "j"), "k": ("k", 75, "k")}


class Browser:
    """A browser that is told what to do over a pipe, in the protocol of its developer tools."""

    def __init__(self, program, home):
        theirs, to = os.pipe()
        self.answers, back = os.pipe()
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs, back)]
        self.process = subprocess.Popen(
            # As root, which is what containers run as, it does not start with its sandbox.
            [program, *FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else []), f"--user-data-dir={home}"],
            close_fds=False, stderr=subprocess.DEVNULL,
            preexec_fn=lambda: [os.dup2(end, number) for number, end in enumerate(ends, 3)])
        for end in (theirs, back, *ends):
            os.close(end)
        self.pipe, self.rest, self.numbers = to, b"", itertools.count(1)
        self.session, self.events = None, []
        target = self.tell("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.tell("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.tell(f"{domain}.enable")

    def message(self):
        """Return what the browser says next; raises ``TimeoutError`` when it says nothing."""
        while b"\0" not in self.rest:
            if not select.select([self.answers], [], [], TIMEOUT_SECONDS)[0]:
                raise TimeoutError
            data = os.read(self.answers, 1 << 20)
            if not data:
                raise SystemExit("look_at_pages: the browser has ended")
            self.rest += data
        one, _, self.rest = self.rest.partition(b"\0")
        return json.loads(one)

    def tell(self, method, **parameters):
        """Send a command and return its result; what the browser reports meanwhile is kept."""
        number = next(self.numbers)
        command = {"id": number, "method": method, "params": parameters}
        if self.session:
            command["sessionId"] = self.session
        os.write(self.pipe, json.dumps(command).encode() + b"\0")
        while True:
            message = self.message()
            if message.get("id") == number:
                if "error" in message:
                    raise SystemExit(f"look_at_pages: {method}: {message['error']}")
                return message["result"]
            self.events.append(message)

    def wait(self, method):
        """Wait until the browser reports ``method``."""
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self.message())

    def open(self, url):
        self.events.clear()
        self.tell("Page.navigate", url="about:blank")
        self.wait("Page.loadEventFired")
        self.events.clear()
        self.tell("Page.navigate", url=url)
        self.wait("Page.loadEventFired")

    def value(self, expression):
        """Return what a JavaScript expression is, as JSON can hold it."""
        return self.tell("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def look_like(self, width, scheme):
        self.tell("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1,
                  mobile=width < 600)
        self.tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def press(self, key):
        name, code, text = KEYS[key]
        for kind in ("keyDown", "keyUp"):
            self.tell("Input.dispatchKeyEvent", type=kind, key=name, windowsVirtualKeyCode=code,
                      **({"text": text} if text and kind == "keyDown" else {}))

    def picture(self, path, height=2400):
        width = self.value("innerWidth")
        area = {"x": 0, "y": self.value("scrollY"), "width": width, "height": height, "scale": 1}
        data = self.tell("Page.captureScreenshot", clip=area, captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self):
        self.process.terminate()
        self.process.wait(timeout=30)


def complaints(browser, folder):
    """Yield what is wrong with the page that is open."""
    for event in browser.events:
        about = event.get("params", {})
        if event["method"] == "Network.requestWillBeSent":
            url = about["request"]["url"]
            if not url.startswith((folder.as_uri() + "/", "data:", "about:")):
                yield f"asks for {url}"
        elif event["method"] in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            yield f"says in the console: {json.dumps(about)[:300]}"
    wide = browser.value("document.documentElement.scrollWidth - innerWidth")
    if wide > 0:
        yield f"is {wide} px wider than the window"


def search_complaints(browser, page):
    """Use the search box of a page from the keyboard; yield what does not work."""
    browser.open(page)
    shown = "!document.getElementById('results').hidden"
    browser.press("/")
    if browser.value("document.activeElement.id") != "query":
        yield "/ does not lead to the search box"
    browser.tell("Input.insertText", text="nothing is called so")
    if browser.value("document.getElementById('found').textContent") != "0 found":
        yield "it does not say that nothing is found"
    browser.press("Escape")
    if browser.value(shown):
        yield "Escape does not close the results"
    browser.value("document.getElementById('query').select()")
    name = browser.value("CATALOGUE.entries.find((entry) => entry[0] === 'test')[1]")
    browser.tell("Input.insertText", text=name)
    first = browser.value("document.querySelector('#results a').textContent")
    if first != name or not browser.value(shown):
        yield f"{name} is not what is found first for itself, but {first}"
    browser.press("ArrowDown")
    if browser.value("document.activeElement.textContent") != name:
        yield "ArrowDown does not lead to the first result"
    browser.press("ArrowUp")
    browser.events.clear()
    browser.press("Enter")
    with contextlib.suppress(TimeoutError):  # what is open then is told below
        browser.wait("Page.loadEventFired")
    if browser.value("document.getElementById(decodeURIComponent(location.hash.slice(1)))?.id") != name:
        yield f"Enter does not open the first result, but {browser.value('location.href')}"


def drift_complaints(browser, page):
    """Use the filter, the causes and the pictures of a drift report from the keyboard; yield what does not work."""
    browser.open(page)
    causes = browser.value("document.querySelectorAll('.cause').length")
    seen = "[...document.querySelectorAll('.cause')].filter((cause) => !cause.hidden).length"
    browser.press("/")
    if browser.value("document.activeElement.id") != "query":
        yield "/ does not lead to the filter"
    browser.tell("Input.insertText", text="nothing is called so")
    if browser.value(seen) != 0 or not browser.value("count.textContent").startswith("0 of "):
        yield "the filter does not hide what does not match"
    browser.press("Escape")
    if browser.value(seen) != causes:
        yield "Escape does not bring back what was filtered"
    browser.press("j")
    if causes and not browser.value("document.activeElement.matches('.cause > summary')"):
        yield "j does not lead to a cause"
    if causes > 1:
        browser.press("j")
        was = browser.value("document.activeElement.parentElement.open")
        browser.press("Enter")
        if browser.value("document.activeElement.parentElement.open") == was:
            yield "Enter does not open a cause"
        browser.press("k")
        if browser.value("document.activeElement.parentElement !== document.querySelector('.cause')"):
            yield "k does not lead back"
    browser.value("document.querySelectorAll('.cause').forEach((cause) => { cause.open = true; })")
    if browser.value("document.querySelectorAll('g.box[tabindex=\"0\"]').length") == 0:
        return
    browser.value("document.querySelector('g.box[tabindex=\"0\"]').focus()")
    if not browser.value("document.activeElement.closest('.pair').nextElementSibling.textContent"):
        yield "a box in focus is not told"
    first = browser.value("document.activeElement.dataset.at")
    many = browser.value("document.activeElement.closest('.pane').querySelectorAll('g.box[tabindex]').length > 1")
    browser.press("ArrowDown")
    if many and browser.value("document.activeElement.dataset.at") == first:
        yield "ArrowDown does not lead to the next marked box"
    twins = "document.querySelectorAll(`.twin`).length"
    if browser.value(twins) < 1 or browser.value("document.querySelectorAll('.told:not(:empty)').length") != 1:
        yield "the box in focus is not lit up, alone"


def pictured(pages):
    """Return the pages that differ most: the start, the largest test page, its folder, the largest keyword page."""
    tests = [page for page in pages if page.name.startswith("test")]
    largest = max(tests, key=lambda page: page.stat().st_size)
    return {"start": pages[0].parent / "index.html", "tests": largest, "folder": largest.parent / "index.html",
            "keywords": pages[0].parent / "operators.html"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(".fxpect", "catalogue"),
                        help="the pages of a catalogue, or the page of a drift report")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="write PNG files there")
    parser.add_argument("--browser", default=next(filter(shutil.which, BROWSERS), None), help="the program to use")
    arguments = parser.parse_args()
    given = arguments.folder.resolve()
    folder = given.parent if given.is_file() else given
    pages = [given] if given.is_file() else sorted(given.rglob("*.html"), key=lambda page: (len(page.parts), page))
    if not pages:
        parser.error(f"expected pages in {folder}; got none: fxpect catalogue --out {arguments.folder}")
    if not (arguments.browser and shutil.which(arguments.browser)):
        parser.error(f"expected one of {', '.join(BROWSERS)}; got none: apt-get install chromium, or --browser PATH")
    wrong = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home, contextlib.ExitStack() as stack:
        browser = Browser(arguments.browser, home)
        stack.callback(browser.close)
        for (size, width), page in itertools.product(WIDTHS.items(), pages):
            browser.look_like(width, "light")
            browser.open(page.as_uri())
            if given.is_file():  # what is folded away may be too wide all the same
                browser.value("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
            wrong += [f"{page.relative_to(folder)} ({size}) {said}" for said in complaints(browser, folder)]
        browser.look_like(WIDTHS["desk"], "light")
        if given.is_file():
            wrong += [f"keys: {said}" for said in drift_complaints(browser, given.as_uri())]
        else:
            wrong += [f"search: {said}" for said in search_complaints(browser, (folder / "index.html").as_uri())]
        if arguments.pictures:
            take_pictures(browser, arguments.pictures, {"drift": given} if given.is_file() else pictured(pages))
    print("\n".join([*wrong, f"pages {len(pages)}, wrong {len(wrong)}"]))
    return 1 if wrong else 0


def take_pictures(browser, to, chosen):
    to.mkdir(parents=True, exist_ok=True)
    for (size, width), scheme in itertools.product(WIDTHS.items(), SCHEMES):
        browser.look_like(width, scheme)
        for name, page in chosen.items():
            browser.open(page.as_uri())
            browser.picture(to / f"{name}-{size}-{scheme}.png")
            if name == "tests":
                browser.value("document.getElementById('tests').scrollIntoView({behavior: 'instant'})")
                browser.picture(to / f"graphs-{size}-{scheme}.png")
            if name == "start":
                browser.press("/")
                browser.tell("Input.insertText", text="sink cat")
                browser.picture(to / f"search-{size}-{scheme}.png", height=900)


if __name__ == "__main__":
    sys.exit(main())
