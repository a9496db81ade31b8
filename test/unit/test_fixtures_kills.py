"""Several writers, also killed at random: nothing is lost, files stay readable, each case is old or new."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

from fxpect.fixtures.accept import accept
from fxpect.fixtures.format import Document
from fxpect.fixtures.store import Store

KILLS = 30
WRITERS = 3
FILES = 4
# Forks a writer for each "start NAME RUN" it reads, and answers with its process: none waits for imports.
# A writer owns one case of each file and gives it ever new results, so that each accept rewrites a file.
NURSERY = """
import itertools, os, sys
from pathlib import Path
from fxpect.fixtures.accept import accept
from fxpect.fixtures.case import Case
from fxpect.fixtures.store import Store
import filelock

here, files = Path(sys.argv[1]), int(sys.argv[2])

def write(writer):
    for number in itertools.count():
        stored = Store.for_test(here / "test/test_x.py", "X", f"test_{number % files}")
        body = "\\n".join(f"a{line} = torch.relu(x)  # {os.getpid()} {number}" for line in range(200))
        stored.settle(Case.make(f"graph of {writer}", after=body), torch_version="2.13.0", why="kills")
        entries = Store(here / "fixtures").pending.live()
        accept(here / "fixtures", [entry for entry in entries if entry.test == stored.test])

for line in sys.stdin:
    word, name, run = line.split()
    if word == "start":
        os.environ["FXPECT_RUN"] = run
        child = os.fork()
        if not child:
            write(name)
        print(child, flush=True)
    else:
        print(os.WTERMSIG(os.waitpid(int(name), 0)[1]), flush=True)
"""

# Stores the cases first, first + step, ... below 24, each as a run that accepts what it proposes.
SHARD = """
import sys
from pathlib import Path
from fxpect.fixtures.case import Case
from fxpect.fixtures.store import Store

here, first, step = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
for number in range(first, 24, step):
    stored = Store.for_test(here / "test/test_x.py", "X", f"test_{number % 2}")
    case = Case.make(f"graph {number}", options=f"n={number}", after="b")
    failure = stored.settle(case, torch_version="2.13.0", why="shards").failure
    assert failure is None, failure
"""


class ParallelTests(unittest.TestCase):

    def accept_with(self, processes):
        """Store 24 cases of two tests with so many processes; return the bytes of all files."""
        with tempfile.TemporaryDirectory() as folder:
            here = Path(folder).resolve()
            (here / "test").mkdir()
            (here / "fixtures").mkdir()
            environment = {**os.environ, "CI": "", "EXPECTTEST_ACCEPT": "1", "FXPECT_FIXTURES": "",
                           "FXPECT_PENDING": "", "FXPECT_RUN": "shards"}
            running = [subprocess.Popen([sys.executable, "-c", SHARD, folder, str(first), str(processes)],
                                        env=environment) for first in range(processes)]
            self.assertEqual([one.wait() for one in running], [0] * processes)
            return {path.name: path.read_bytes() for path in here.rglob("fixtures/**/*") if path.is_file()}

    def test_many_processes_store_what_one_stores(self):
        """Four processes that write the same files at once leave the bytes that one process leaves."""
        one, four = self.accept_with(1), self.accept_with(4)

        self.assertEqual(one, four)
        self.assertEqual([data.count(b"\n## ") for data in four.values()], [12, 12])


class KillsTests(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.here = Path(folder.name).resolve()
        (self.here / "test").mkdir()
        (self.here / "fixtures").mkdir()
        environment = {**os.environ, "CI": "", "EXPECTTEST_ACCEPT": "", "FXPECT_FIXTURES": "",
                       "FXPECT_PENDING": ""}
        command = [sys.executable, "-c", NURSERY, str(self.here), str(FILES)]
        self.nursery = subprocess.Popen(command, env=environment, text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        self.writers, self.runs = {}, 0
        self.addCleanup(self.stop)

    def ask(self, *words):
        """Return the nursery's answer to a line."""
        self.nursery.stdin.write(" ".join(words) + "\n")
        self.nursery.stdin.flush()
        return int(self.nursery.stdout.readline())

    def start(self, name):
        """Start a writer, as a run of its own."""
        self.runs += 1
        self.writers[name] = self.ask("start", name, f"run{self.runs}")

    def kill(self, name):
        """Kill one writer, which must not have ended by itself."""
        writer = self.writers.pop(name)
        os.kill(writer, signal.SIGKILL)
        self.assertEqual(self.ask("wait", str(writer), "-"), signal.SIGKILL)

    def stop(self):
        """Kill what is left."""
        for writer in self.writers.values():
            os.kill(writer, signal.SIGKILL)
        self.nursery.kill()
        self.nursery.wait()
        self.nursery.stdin.close()
        self.nursery.stdout.close()

    def check(self):
        """Read every stored file; a case is one writer's text as a whole."""
        for path, document in Store(self.here / "fixtures").documents():
            self.assertIsInstance(document, Document, path)
            for case in document.cases:
                lines = case.after.split("\n")
                self.assertEqual(len(lines), 200)
                self.assertEqual(len({line.partition("#")[2] for line in lines}), 1)
            self.assertLessEqual(len(document.cases), WRITERS)

    def test_thirty_kills(self):
        """After thirty kills at random moments all files parse, and one more accept leaves no trace."""
        chance = random.Random(0)
        for number in range(WRITERS):
            self.start(str(number))
        for _ in range(KILLS):
            time.sleep(chance.random() * 0.1)
            name = str(chance.randrange(WRITERS))
            self.kill(name)
            self.check()
            self.start(name)
        for name in list(self.writers):
            self.kill(name)

        root = self.here / "fixtures"
        entries, _ = Store(root).pending.all()
        with mock.patch.dict(os.environ, CI=""):  # in CI nobody may accept; here the store is the test's own
            accept(root, entries[:1], deep_sweep=True)

        self.check()
        self.assertEqual([path for path in root.rglob("*") if path.name.startswith(".")], [])
        self.assertEqual(len(list(root.rglob("*.fx"))), FILES)


if __name__ == "__main__":
    unittest.main()
