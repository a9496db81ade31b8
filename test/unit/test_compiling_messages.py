"""Messages of dynamo: what is taken out, what is read, and what is refused."""

import unittest

import torch

import fxpect
from fxpect.compiling.messages import Reason, munge, user_frames
from fxpect.errors import FxpectError

BREAK = """Encountered graph break when attempting to trace CALL: a function call, e.g. f(x, y):
Call to `torch._dynamo.graph_break()`
  Explanation: User-inserted graph break. Message: None
  Hint: Remove the `torch._dynamo.graph_break()` call.
  Hint: Another hint.

  Developer debug context: Called `torch._dynamo.graph_break()` with args `[0x7f00aa00]`, kwargs `{}`

 For more details about this graph break, please visit: https://meta-pytorch.github.io/site/gb/gb0025.html

from user code:
   File "/home/me/models/net.py", line 12, in forward
    return self.inner(x)
  File "/home/me/models/net.py", line 7, in torch_dynamo_resume_in_inner_at_31
    torch._dynamo.graph_break()
    ~~~~~~~~~~~~~~~~~~~~~~~~~^^

Set TORCHDYNAMO_VERBOSE=1 for the internal stack trace (please do this).
"""


class MungeTests(unittest.TestCase):
    def test_accidents_are_taken_out(self):
        """Paths, line numbers, addresses and object ids go; words and small numbers stay."""
        for text, plain in (
            ('File "/a/b c/net.py", line 12, in f', 'File "/a/b net.py", line N, in f'),
            ('File "/a/b/net.py", line 12, in f', 'File "net.py", line N, in f'),
            ("met at /a/b/net.py:12 in f", "met at net.py:N in f"),
            ("<Net object at 0x7f00aa00>", "<Net object at 0xADDRESS>"),
            ("___check_type_id(L['x'], 139987842855744)", "___check_type_id(L['x'], ID)"),
            ("torch_dynamo_resume_in_f_at_31", "torch_dynamo_resume_in_f_at_N"),
            ("expected 3, actual 4 of x / y", "expected 3, actual 4 of x / y"),
            ("skipped (python3.11/site-packages/torch/_dynamo)", "skipped (torch/_dynamo)"),
            ("call a() // b()", "call a() // b()"),
        ):
            with self.subTest(text):
                self.assertEqual(munge(text), plain)

    def test_traceback_keeps_its_last_line(self):
        """Of a traceback the error is left."""
        text = 'first\nTraceback (most recent call last):\n  File "a.py", line 1, in f\n    g()\n    ^^^\n' \
               "ValueError: no\nlast"

        self.assertEqual(munge(text), "first\nValueError: no\nlast")

    def test_whole_message(self):
        """What points at columns and how to see more is left out, the link is the id alone."""
        plain = munge(BREAK)

        self.assertTrue(plain.endswith("    torch._dynamo.graph_break()"), plain)
        self.assertIn("please visit: gb0025\n", plain)
        self.assertNotIn("^", plain)
        self.assertNotIn("VERBOSE", plain)

    def test_twice_is_once(self):
        """A munged message stays as it is."""
        self.assertEqual(munge(munge(BREAK)), munge(BREAK))


class UserFrameTests(unittest.TestCase):
    def test_frames(self):
        """Functions with their lines of source, outermost first; a resume function without its place."""
        self.assertEqual(user_frames(BREAK), (("forward", "return self.inner(x)"),
                                              ("torch_dynamo_resume_in_inner_at_N", "torch._dynamo.graph_break()")))

    def test_none(self):
        """A message without user code has no frames, whatever else it quotes."""
        self.assertEqual(user_frames('File "a.py", line 3, in f'), ())

    def test_frame_without_source(self):
        """A frame whose source cannot be read has an empty line."""
        text = 'from user code:\n  File "<string>", line 1, in f\n  File "a.py", line 1, in g\n    x = 1\n'

        self.assertEqual(user_frames(text), (("f", ""), ("g", "x = 1")))


class ReasonTests(fxpect.TestCase):
    def test_every_part(self):
        """Title, explanation, hints, context and id."""
        reason = Reason.read(BREAK)

        self.assertEqual(reason, Reason("Call to `torch._dynamo.graph_break()`",
                                        "User-inserted graph break. Message: None",
                                        ("Remove the `torch._dynamo.graph_break()` call.", "Another hint."),
                                        "Called `torch._dynamo.graph_break()` with args `[0xADDRESS]`, kwargs `{}`",
                                        "gb0025"))
        self.assertEqual(str(reason), "Call to `torch._dynamo.graph_break()` (gb0025)")

    def test_skipped_function(self):
        """A function that is left to eager says so."""
        text = BREAK.replace("Encountered graph break when attempting to trace CALL: a function call, e.g. f(x, y):",
                             "Failed to handle graph break gracefully. Skipping the function and falling back.")

        self.assertTrue(Reason.read(text).skipped)
        self.assertFalse(Reason.read(BREAK).skipped)

    def test_what_torch_raises(self):
        """The installed torch's own error is read."""
        def model(x):
            torch._dynamo.graph_break(msg="here")
            return x + 1

        with self.assertRaises(torch._dynamo.exc.Unsupported) as raised:
            torch.compile(model, backend="eager", fullgraph=True)(torch.ones(2))

        reason = Reason.read(raised.exception)
        self.assertEqual((reason.title, reason.id), ("Call to `torch._dynamo.graph_break()`", "gb0025"))
        self.assertIn("Message: here", reason.explanation)
        self.assertEqual(user_frames(raised.exception), (("model", 'torch._dynamo.graph_break(msg="here")'),))

    def test_another_text(self):
        """A text that explains nothing is refused with its first line."""
        for text, shown in (("size mismatch\nmore", "'size mismatch'"), ("", "''")):
            with self.assertRaisesRegex(FxpectError, f"Explanation: ...'; got .*{shown}" if text else "got ''"):
                Reason.read(text)


if __name__ == "__main__":
    unittest.main()
