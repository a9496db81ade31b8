"""The environment switches: read strictly, and no writing in CI."""

import os
import unittest
from unittest import mock

from fxpect.errors import FxpectError, RefusedError
from fxpect.fixtures.switches import accept_requested, in_ci, refuse_in_ci


class SwitchesTests(unittest.TestCase):

    def test_accept_is_parsed_strictly(self):
        """1, true and yes accept; 0, false, off and nothing do not."""
        for value, expected in (("1", True), ("true", True), ("yes", True), ("TRUE", True), ("0", False),
                                ("false", False), ("off", False), ("", False)):
            with self.subTest(value=value), mock.patch.dict(os.environ, {"EXPECTTEST_ACCEPT": value}):
                self.assertIs(accept_requested(), expected)
        with mock.patch.dict(os.environ):
            os.environ.pop("EXPECTTEST_ACCEPT", None)
            self.assertIs(accept_requested(), False)

    def test_any_other_value_is_an_error(self):
        """A value that is neither is an error that shows it, never a yes."""
        for value in (" 1", "2", "y", "accept", "no ", "on"):
            with self.subTest(value=value), mock.patch.dict(os.environ, {"EXPECTTEST_ACCEPT": value}), \
                    self.assertRaisesRegex(FxpectError, f"expected EXPECTTEST_ACCEPT .* got '{value}'"):
                accept_requested()

    def test_ci_is_what_the_variable_says(self):
        """CI set to anything but false, 0 or nothing refuses; else nothing happens."""
        for value in ("", "0", "false", "False"):
            with self.subTest(value=value), mock.patch.dict(os.environ, {"CI": value}):
                self.assertFalse(in_ci())
                refuse_in_ci("accept")
        for value in ("1", "true", "yes"):
            with self.subTest(value=value), mock.patch.dict(os.environ, {"CI": value}):
                self.assertTrue(in_ci())
                with self.assertRaisesRegex(RefusedError, f"got CI='{value}', where accept is refused"):
                    refuse_in_ci("accept")


if __name__ == "__main__":
    unittest.main()
