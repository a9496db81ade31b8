"""Files that are either old or new, also where the process dies in the middle."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path
from unittest import mock

from fxpect.errors import FxpectError
from fxpect.fixtures.atomic import append_line, locked, sweep, write_atomic


class AtomicTests(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.here = Path(folder.name)

    def test_writes_and_keeps_the_mode(self):
        """The new content stands, the mode of the old file stays, and nothing is left beside it."""
        path = self.here / "a.fx"
        write_atomic(path, b"old")
        path.chmod(0o640)

        write_atomic(path, b"new")

        self.assertEqual(path.read_bytes(), b"new")
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o640)
        self.assertEqual(os.listdir(self.here), ["a.fx"])

    def test_failed_write_leaves_the_old_file_alone(self):
        """When the disk refuses, the old content stands and no temporary file is left."""
        path = self.here / "a.fx"
        write_atomic(path, b"old")
        for name in ("fsync", "replace", "write"):
            with self.subTest(name=name), mock.patch.object(os, name, side_effect=OSError("full")), \
                    self.assertRaisesRegex(OSError, "full"):
                write_atomic(path, b"new")
            self.assertEqual(path.read_bytes(), b"old")
            self.assertEqual(os.listdir(self.here), ["a.fx"])

    def test_killed_at_each_step_the_file_is_old_or_new(self):
        """A process killed at any step of a write leaves old or new content, and sweep takes the rest."""
        program = textwrap.dedent("""
            import os, signal, sys
            from pathlib import Path
            from fxpect.fixtures.atomic import write_atomic
            step, path = sys.argv[1:]
            real = getattr(os, step.rstrip("+"))
            def die(*args):
                if step.endswith("+"):
                    real(*args)
                os.kill(os.getpid(), signal.SIGKILL)
            setattr(os, step.rstrip("+"), die)
            write_atomic(Path(path), b"new" * 1000)
        """)
        for step, expected in (("write", b"old"), ("write+", b"old"), ("fsync", b"old"), ("close", b"old"),
                               ("replace", b"old"), ("replace+", b"new" * 1000)):
            with self.subTest(step=step):
                path = self.here / "a.fx"
                path.write_bytes(b"old")

                done = subprocess.run([sys.executable, "-c", program, step, str(path)])

                self.assertEqual(done.returncode, -signal.SIGKILL)
                self.assertEqual(path.read_bytes(), expected)
                self.assertEqual(len(sweep(self.here)), int(not step.startswith("replace+")))
                self.assertEqual(os.listdir(self.here), ["a.fx"])

    def test_sweep_takes_temporary_files_only(self):
        """Other hidden and temporary files stay; folders below are swept only when asked for."""
        (self.here / "below").mkdir()
        for name in (".fxpect-1-ab.tmp", "below/.fxpect-2-cd.tmp", ".fxpect", "a.tmp", "a.fx"):
            (self.here / name).write_text("x")
        self.assertEqual([path.name for path in sweep(self.here)], [".fxpect-1-ab.tmp"])
        self.assertEqual([path.name for path in sweep(self.here, deep=True)], [".fxpect-2-cd.tmp"])
        self.assertEqual(sorted(os.listdir(self.here)), [".fxpect", "a.fx", "a.tmp", "below"])
        self.assertEqual(sweep(self.here / "nothing"), [])

    def test_lock_keeps_others_out_and_says_so(self):
        """A lock that another process holds is an error after the time given."""
        holder = subprocess.Popen(
            [sys.executable, "-c", "import sys, time\nfrom pathlib import Path\n"
             "from fxpect.fixtures.atomic import locked\n"
             "with locked(Path(sys.argv[1])):\n    print('in', flush=True)\n    time.sleep(60)",
             str(self.here / "lock")], stdout=subprocess.PIPE)
        try:
            self.assertEqual(holder.stdout.readline(), b"in\n")
            with self.assertRaisesRegex(FxpectError, "expected the lock .* another process holds it"), \
                    locked(self.here / "lock", timeout=0.05):
                self.fail("two processes in one lock")
        finally:
            holder.kill()
            holder.wait()
            holder.stdout.close()
        with locked(self.here / "lock", timeout=5):  # the system let go of it
            pass

    def test_append_closes_a_torn_line(self):
        """A line that was cut off by a kill does not swallow the next one."""
        path = self.here / "run/1.jsonl"
        append_line(path, "one")
        path.write_bytes(path.read_bytes() + b'{"to')
        append_line(path, "two")
        append_line(path, "three")
        self.assertEqual(path.read_bytes(), b'one\n{"to\ntwo\nthree\n')


if __name__ == "__main__":
    unittest.main()
