"""What a failed check says is the same in every process."""

import pickle
import unittest

from fxpect.errors import CheckFailure


class CheckFailureTests(unittest.TestCase):
    """The message of a failure."""

    def test_nothing_of_this_process(self):
        """Addresses and the numbers of generated code are left out, other numbers stay."""
        failure = CheckFailure("crash", "got <built-in method conv1d of type object at 0x7f55e7ecea40>, "
                                        "SyntaxError (<eval_with_key>.88, line 10), at 0 of 0x10", pass_name="p")

        self.assertEqual(failure.message, "got <built-in method conv1d of type object>, "
                                          "SyntaxError (<eval_with_key>, line 10), at 0 of 0x10")
        self.assertEqual(str(failure), f"[crash] pass p: {failure.message}")
        self.assertEqual(str(pickle.loads(pickle.dumps(failure))), str(failure))


if __name__ == "__main__":
    unittest.main()
