"""Ten thousand stored cases are read and compared in less than a second, without torch."""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from fxpect.fixtures.case import Case
from fxpect.fixtures.format import Document, format_document

FILES, CASES = 250, 40
LIMIT_SECONDS = 1.0
LINES = [f'    relu_{number}: "f32[2, 8]" = torch.ops.aten.relu.default(x)' for number in range(6)]
GRAPH = "\n".join(['def forward(self, x: "f32[2, 8]", y: "f32[2, 2]"):', *LINES, "    return (x,)"])
READ = """
import sys, time
from pathlib import Path
from fxpect.fixtures.compare import compare
from fxpect.fixtures.store import Store

here, files, seconds = Path(sys.argv[1]), int(sys.argv[2]), []
for _ in range(2):
    start, count = time.process_time(), 0
    for number in range(files):
        stored = Store.for_test(here / "test/test_x.py", "X", f"test_{number}")
        for case in stored.cases:
            before, after = case.before + chr(10), case.after + chr(10)
            count += not compare(case, before=before, after=after, must=stored.must)
    seconds.append(time.process_time() - start)
assert "torch" not in sys.modules and "hypothesis" not in sys.modules, "imported"
print(count, min(seconds))
"""


class SpeedTests(unittest.TestCase):

    def test_ten_thousand_cases_in_a_second(self):
        """Reading, checking and comparing 10,000 cases in 250 files takes less than a second of CPU time."""
        with tempfile.TemporaryDirectory() as folder:
            here = Path(folder)
            (here / "test").mkdir()
            for number in range(FILES):
                cases = [Case.make(f"{GRAPH}\n# {number} {count}", inputs="x=f32[2, 8], y=f32[2, 2]",
                                   options=f"capture=dynamo, n={count}", title="case", after=GRAPH)
                         for count in range(CASES)]
                document = Document(f"test_x.py X.test_{number}", "speed")
                document = document.with_cases({case.key: case for case in cases})
                path = here / f"fixtures/test_x/X.test_{number}.fx"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(format_document(document))

            done = subprocess.run([sys.executable, "-c", READ, folder, str(FILES)],
                                  env={**os.environ, "FXPECT_FIXTURES": ""}, capture_output=True, text=True)

        self.assertEqual(done.returncode, 0, done.stderr)
        count, seconds = done.stdout.split()
        self.assertEqual(int(count), FILES * CASES)
        self.assertLess(float(seconds), LIMIT_SECONDS)


if __name__ == "__main__":
    unittest.main()
