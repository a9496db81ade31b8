"""autocast_kept: a region that is left by an exception is closed, whatever it changed."""

import unittest

import torch
from torch.amp.autocast_mode import _enter_autocast, _exit_autocast

from fxpect.autocast import autocast_depth, autocast_kept, leave_autocast


def state():
    return (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"), torch.is_autocast_cache_enabled(),
            autocast_depth())


class KeptTests(unittest.TestCase):
    """The state after the block is that before it."""

    def test_a_region_that_is_never_left(self):
        """Mode, dtype, cache and depth are put back, with and without an exception; without the block they stay."""
        before = state()
        for error in (None, RuntimeError):
            with self.subTest(error=error), self.assertRaises(error) if error else autocast_kept():
                with autocast_kept():
                    _enter_autocast("cpu", torch.float16, True, False)
                    self.assertEqual(state(), (True, torch.float16, False, before[3] + 1))
                    if error:
                        raise error
            self.assertEqual(state(), before)

    def test_a_region_of_the_caller_stays_open(self):
        """Inside autocast the block leaves autocast as the caller has it, and the cache of casts with it."""
        outside = state()
        region = _enter_autocast("cpu", torch.bfloat16, True, True)
        before = state()
        with autocast_kept():
            _enter_autocast("cpu", torch.bfloat16, False, True)
            self.assertNotEqual(state(), before)
        self.assertEqual(state(), before)
        _exit_autocast(region)
        self.assertEqual(state(), outside)

    def test_depth(self):
        """Regions are counted, and closed from the innermost."""
        start = autocast_depth()
        with autocast_kept():
            _enter_autocast("cpu", torch.bfloat16, True, True)
            _enter_autocast("cpu", torch.bfloat16, True, True)
            self.assertEqual(autocast_depth(), start + 2)
            leave_autocast(start + 1)
            self.assertEqual(autocast_depth(), start + 1)


if __name__ == "__main__":
    unittest.main()
