"""Guards: verdicts agree with what a call does, reasons are plain, saved guards say the same."""

import unittest

import torch
from torch._dynamo.exc import PackageError

import fxpect
from fxpect.compiling.guards import call_in_turn, guard_verdict, guards_of, plain_reason, reload_guards
from fxpect.errors import FxpectError

FACTOR = 2


def times(x, n=2):
    return x * n


def times_global(x):
    return x * FACTOR


def loops(x):
    for _ in range(2):
        torch._dynamo.graph_break()
    return x


def fails(x):
    raise KeyError("gone")


class Scaled(torch.nn.Module):
    def __init__(self, by=2):
        super().__init__()
        self.by = by

    def forward(self, x):
        return x * self.by


def ones(*shape, **options):
    return torch.ones(*shape, **options)


class PlainReasonTests(unittest.TestCase):
    def test_plain(self):
        """Comments, ids and the wording of a release go; a string that holds a mark stays."""
        for text, plain in (
            ("L['n'] == 2                    # y = x * n  # file.py:8 in f", "L['n'] == 2"),
            ("L['s'] == 'a # b'  # y = s  # file.py:8 in f", "L['s'] == 'a # b'"),
            ("___check_obj_id(L['f'], 93912345)  # f()", "___check_obj_id(L['f'])"),
            ("___check_obj_id(L['f'], 93912345), type=<class 'function'>  # f()", "___check_obj_id(L['f'])"),
            ("___check_global_state() against {\"grad_mode\":true}", "___check_global_state()"),
            ("expected type of 'L['x']' to be a tensor type, ' but found <class 'int'>",
             "expected type of 'L['x']' to be a tensor, but found <class 'int'>"),
            ("expected type of 'L['x']' to be <class 'torch.Tensor'>, but found <class 'int'>",
             "expected type of 'L['x']' to be a tensor, but found <class 'int'>"),
            ("GLOBAL_STATE changed: grad_mode ", "GLOBAL_STATE changed: grad_mode"),
        ):
            with self.subTest(text):
                self.assertEqual(plain_reason(text), plain)


class VerdictTests(fxpect.TestCase):
    def test_accepts_and_refuses(self):
        """What fits is accepted, what does not is refused with the reason."""
        torch.compile(times, backend="eager")(ones(3), 2)

        self.assertTrue(guard_verdict(times, ones(3), 2))
        self.assertTrue(guard_verdict(times, ones(3)))
        for args, reason in (((ones(4), 2), "tensor 'L['x']' size mismatch at index 0. expected 3, actual 4"),
                             ((ones(3), 5), "L['n'] == 2"),
                             ((3, 2), "expected type of 'L['x']' to be a tensor, but found <class 'int'>")):
            self.assertEqual(guard_verdict(times, *args).reasons, (reason,))

    def test_nothing_compiled(self):
        """Without a compilation a call is refused, for no reason."""
        verdict = guard_verdict(times, ones(3))

        self.assertEqual((bool(verdict), verdict.reasons), (False, ()))

    def test_arguments_that_do_not_fit(self):
        """Misuse is a TypeError, as for the call itself."""
        with self.assertRaises(TypeError):
            guard_verdict(times, ones(3), 2, 3)
        with self.assertRaisesRegex(FxpectError, "expected a Python function, a method or a Module; got builtin"):
            guard_verdict(torch.add, ones(3), 2)

    def test_modules_methods_and_closures(self):
        """A module, its bound forward, what torch.compile returns, and a closure are all asked alike."""
        model = Scaled()
        compiled = torch.compile(model, backend="eager")
        compiled(ones(3))
        for function in (model, model.forward, compiled):
            self.assertTrue(guard_verdict(function, ones(3)))
            self.assertFalse(guard_verdict(function, ones(4)))
        model.by = 3
        self.assertEqual(guard_verdict(model, ones(3)).reasons, ("L['self'].by == 2",))

        by = 2

        def closure(x):
            return x * by

        torch.compile(closure, backend="eager")(ones(3))
        self.assertTrue(guard_verdict(closure, ones(3)))
        by = 3
        self.assertEqual(guard_verdict(closure, ones(3)).reasons, ("L['by'] == 2",))

    def test_guards_of(self):
        """The guards of each compilation, the newest first, without what differs between runs."""
        compiled = torch.compile(times, backend="eager", dynamic=False)
        compiled(ones(3), 2)
        compiled(ones(3), 4)

        found = guards_of(times)

        self.assertEqual(["L['n'] == 4" in found[0], "L['n'] == 2" in found[1], len(found)], [True, True, 2])
        self.assertIn("___check_global_state()", found[0])
        self.assertNotRegex(str(found), r"\d{9}| # ")


class TurnTests(fxpect.TestCase):
    def test_which_call_compiles_and_why(self):
        """Each call says whether it compiled, and what the earlier compilations did not fit."""
        calls = call_in_turn(times, (ones(3), 2), (ones(4), 2), (ones(5), 2), {"x": ones(5), "n": 3}, (ones(5), 9))

        self.assertEqual([call.compiled for call in calls], [True, True, False, True, False])
        self.assertEqual([call.graphs for call in calls], [1, 1, 0, 1, 0])
        self.assertEqual(calls[0].reasons, ())
        self.assertEqual(calls[3].reasons, ("L['n'] == 2", "tensor 'L['x']' size mismatch at index 0. "
                                                           "expected 3, actual 5"))
        self.assertTrue(torch.equal(calls[4].value, ones(5) * 9))

    def test_static(self):
        """With dynamic=False every size compiles."""
        calls = call_in_turn(times, (ones(3),), (ones(4),), (ones(5),), dynamic=False)

        self.assertEqual([call.compiled for call in calls], [True, True, True])

    def test_change_between_calls(self):
        """A function among the calls is run in its turn: what it changes is seen by the calls after it."""
        scale = ones(3)

        calls = call_in_turn(lambda x: x * scale, (ones(3),), lambda: scale.fill_(4), (ones(3),))

        self.assertEqual([call.compiled for call in calls], [True, False])
        self.assertEqual([call.value.tolist() for call in calls], [[1, 1, 1], [4, 4, 4]])

    def test_error_comes_through(self):
        """What a call raises is raised."""
        with self.assertRaisesRegex(KeyError, "gone"):
            call_in_turn(fails, (ones(3),))


class ReloadTests(fxpect.TestCase):
    def test_say_the_same(self):
        """Loaded guards accept and refuse what the live ones do, with the same reasons."""
        loaded = reload_guards(times, ones(3), 2)

        for args in ((ones(3), 2), (ones(4), 2), (ones(3), 3), (ones(3, dtype=torch.float64), 2)):
            self.assertEqual(loaded.verdict(*args), guard_verdict(times, *args))
        self.assertTrue(loaded.verdict(ones(3), 2))
        self.assertIn("CONSTANT_MATCH", loaded.kinds)
        self.assertIsInstance(loaded.state, bytes)

    def test_cannot_be_saved(self):
        """Guards on an object that lives in this process alone cannot be saved."""
        with self.assertRaisesRegex(PackageError, "cannot be serialized"):
            reload_guards(lambda x, f: x + f(2), ones(3), lambda n: n)

    def test_nothing_to_save(self):
        """A function that makes no graph has no guards to save."""
        with self.assertRaisesRegex(FxpectError, "to be compiled by the call; got no guards"):
            reload_guards(loops, ones(3))

    def test_dynamic(self):
        """A dynamic size is accepted within its range."""
        x = ones(5)
        torch._dynamo.mark_dynamic(x, 0, min=4, max=6)
        loaded = reload_guards(times, x)

        self.assertEqual([bool(loaded.verdict(ones(n))) for n in (3, 4, 6, 7)], [False, True, True, False])


if __name__ == "__main__":
    unittest.main()
