"""What dynamo says where it cannot go on: the reason, its id, the user's lines, and nothing by accident.

Mirrors test/dynamo/test_error_messages.py of PyTorch. It guards that people are told what to change and where: every
reason is one of the registry, the log of a graph break and the error of ``fullgraph`` give the same one, the
frames are the user's, what export suggests can be done, and errors that are the user's own come out unchanged. It would
have caught messages that point nowhere (https://github.com/pytorch/pytorch/issues/150435) and reasons that got lost
(https://github.com/pytorch/pytorch/issues/138004). The messages of C++ extensions need a compiler, those of optree
that package.
"""

import functools
import json
import re
import string
from pathlib import Path

import torch
from hypothesis import strategies as st
from torch._inductor.fx_passes import pre_grad
from torch.export import Dim
from torch.export.dynamic_shapes import refine_dynamic_shapes_from_suggested_fixes

import fxpect
from fxpect import T
from fxpect.compiling import Reason, graphs_of, munge, user_frames

explore = functools.partial(fxpect.explore, max_examples=6)
SIZES = st.integers(2, 5)
REGISTRY = json.loads((Path(torch._dynamo.__file__).parent / "graph_break_registry.json").read_text(encoding="utf-8"))


class Noisy:
    """A context manager that dynamo cannot enter."""

    def __enter__(self):
        print(end="")

    def __exit__(self, *args):
        pass


def prints(x):
    print(end="")
    return x + 1


def opens(x):
    with open(__file__):
        return x + 1


def reads_input(x):
    return x + len(input())


def branches(x):
    return x + 1 if x.sum() > 0 else x - 1


def breaks(x):
    torch._dynamo.graph_break(msg="on purpose")
    return x + 1


def sorts(x):
    return sorted([x, x + 1])[0]


def adds_an_address(x):
    return x + id(Noisy())


def goes_backward(x):
    x.sum().backward()
    return x + 1


def enters(x):
    with Noisy():
        return x + 1


def executes(x):
    exec("y = 1")
    return x + 1


def reads_globals(x):
    return x + 1 if globals() else x


def spells(x):
    return x + len(str(x))


def disables(x):
    return torch._dynamo.disable(lambda y: y + 1)(x)


def lists(x):
    return x + x.tolist()[0]


CONSTRUCTS = {function.__name__: function for function in
              (prints, opens, reads_input, branches, breaks, sorts, adds_an_address, goes_backward, enters, executes,
               reads_globals, spells, disables, lists)}  # fmt: skip
CONSTRUCT = st.sampled_from(sorted(CONSTRUCTS))
GOES_ON = ("branches", "breaks", "disables", "enters", "executes", "lists", "opens", "prints", "reads_globals")


def refused(function, *args):
    """Return the error of ``fullgraph=True``."""
    torch._dynamo.reset()
    try:
        torch.compile(function, backend="eager", fullgraph=True)(*args)
    except torch._dynamo.exc.Unsupported as error:
        return error
    raise AssertionError(f"expected dynamo to refuse {function.__name__}; it was compiled")


class ErrorMessagesTest(fxpect.PreGradPassTestCase):
    """The message for each construct that dynamo does not trace."""

    def test_messages(self):
        """The whole message of each construct, as it is on every machine."""
        for name, function in CONSTRUCTS.items():
            with self.subTest(name):
                self.assertText(munge(refused(function, torch.ones(3))), label=name)

    @explore(CONSTRUCT, SIZES, max_examples=12)
    def test_free_of_accident(self, name, size):
        """Munged, no message holds a path, an address, an object id or a line number, whatever the sizes."""
        text = munge(refused(CONSTRUCTS[name], torch.ones(size)))

        self.assertNotRegex(text, r"(?<!</)(?:[\w.-]+/){2,}|0x[0-9a-f]{6}|\d{12}|line \d|\.py:\d|TORCHDYNAMO_VERBOSE")
        self.assertIn('File "test_error_messages.py", line N', text)
        self.assertEqual(munge(text), text)

    @explore(CONSTRUCT, max_examples=12)
    def test_registry(self, name):
        """The id stands in torch's own registry, under the title of the message and with as many hints or more."""
        reason = Reason.read(refused(CONSTRUCTS[name], torch.ones(3)))

        entries = REGISTRY[reason.id.upper()]
        self.assertTrue(any(fits(entry["Gb_type"], reason.title) for entry in entries), (reason, entries))

    @explore(CONSTRUCT, st.integers(0, 2))
    def test_user_frames(self, name, depth):
        """However deep the construct is called, the frames are the user's, outermost first, the construct last."""
        function = CONSTRUCTS[name]
        callers = [lambda x: function(x), lambda x: callers[0](x), lambda x: callers[1](x)]

        frames = user_frames(refused(callers[depth], torch.ones(3)))

        self.assertEqual([frame for frame, _ in frames[:depth + 2]], ["<lambda>"] * (depth + 1) + [name])
        self.assertTrue(all(source for _, source in frames), frames)

    @explore(st.sampled_from(GOES_ON), SIZES)
    def test_log_and_error_agree(self, name, size):
        """The graph break of a call is the error of fullgraph; a pass preserves each piece, and so all of it."""
        function = CONSTRUCTS[name]

        def model(x, y):
            return function(torch.relu(torch.cat([x, y], dim=-1)))

        args = torch.ones(size), torch.ones(2)
        sequence = graphs_of(model, *args, pass_=pre_grad.sink_cat_after_pointwise)
        expected = Reason.read(refused(model, *args))

        self.assertEqual(sequence.breaks[0].reason.title, expected.title)
        self.assertEqual(sequence.breaks[0].reason.id, expected.id)
        self.assertTrue(torch.equal(sequence.value, model(*args)))
        self.assertRewrites(pre_grad.sink_cat_after_pointwise, sequence.graphs[0].example,
                            ops={"torch.cat": (1, 1), "torch.relu": (1, 2)})  # fmt: skip

    @explore(st.text(string.ascii_letters + string.digits + " '%{}\\", min_size=1, max_size=20))
    def test_own_message(self, words):
        """The words of a user's graph break are in the message as they were given."""
        def function(x):
            torch._dynamo.graph_break(msg=words)
            return x + 1

        self.assertIn(f"Message: {words.strip()}", str(refused(function, torch.ones(2))))


def fits(template, title):
    """Whether a title is what an entry of the registry gives, with its fields filled in."""
    pattern = ".*".join(re.escape(part) for part in re.split(r"\{[^{}]*\}", template))
    return re.fullmatch(pattern, title, re.DOTALL) is not None


class NestedGraphBreakLoggingTests(fxpect.TestCase):
    """Where a break inside of a called function ends the graph of the caller."""

    @explore(st.integers(1, 3), st.booleans())
    def test_nested(self, depth, nested):
        """With nested graph breaks one break is told, however deep; without, one for each caller."""
        callers = [breaks, lambda x: callers[0](x.sin()), lambda x: callers[1](x.cos()), lambda x: callers[2](x.neg())]

        with torch._dynamo.config.patch(nested_graph_breaks=nested):
            sequence = graphs_of(callers[depth], T(3))

        told = [one.reason.id for one in sequence.breaks]
        self.assertEqual(told, ["gb0025"] * (1 if nested else depth + 1))
        x = torch.ones(3)
        self.assertTrue(torch.equal(graphs_of(callers[depth], x).value, callers[depth](x)))

    @explore(st.integers(1, 3))
    def test_skipped_function(self, count):
        """A function that cannot be resumed says that all of it is left to eager, once."""
        def loops(x):
            for _ in range(count):
                x = x + 1
                torch._dynamo.graph_break()
            return x

        sequence = graphs_of(loops, torch.zeros(2))

        self.assertEqual(sequence.outline, ["function skipped: Call to `torch._dynamo.graph_break()` (gb0025)"])
        self.assertTrue(torch.equal(sequence.value, torch.full((2,), float(count))))


class ExportErrorTests(fxpect.ExportTestCase):
    """What torch.export suggests for dynamic shapes that do not hold."""

    @explore(st.sampled_from(["fixed", "equal", "derived"]), st.integers(3, 6))
    def test_suggested_fixes(self, why, size):
        """The shapes that the message suggests are shapes with which the model exports, and computes the same."""
        models = {"fixed": lambda x, y: x + torch.ones(size), "equal": lambda x, y: x + y,
                  "derived": lambda x, y: x[1:] + y}  # fmt: skip
        model = torch.nn.Module()
        model.forward = models[why]
        args = torch.randn(size), torch.randn(size - (why == "derived"))
        shapes = {"x": {0: Dim("dx", max=64)}, "y": {0: Dim("dy", max=64)}}
        with self.assertRaises(torch._dynamo.exc.UserError) as raised:
            torch.export.export(model, args, dynamic_shapes=shapes, strict=False)

        fixed = refine_dynamic_shapes_from_suggested_fixes(raised.exception.msg, shapes)
        program = torch.export.export(model, args, dynamic_shapes=fixed, strict=False)

        self.assertTrue(torch.equal(program.module()(*args), model(*args)))
        self.assertGraph(program)
        self.assertText(munge(raised.exception), label="message")


class BackendErrorTests(fxpect.TestCase):
    """Errors of the backend, and of the model itself."""

    @explore(st.sampled_from([ValueError, KeyError, RuntimeError, AssertionError]))
    def test_backend(self, kind):
        """The error of a backend names the backend, its type and what it says."""
        def own_backend(gm, example_inputs):
            raise kind("no luck")

        with self.assertRaises(torch._dynamo.exc.BackendCompilerFailed) as raised:
            torch.compile(lambda x: x + 1, backend=own_backend)(torch.ones(2))

        self.assertRegex(str(raised.exception), f"^backend='own_backend' raised:\n{kind.__name__}: '?no luck")
        self.assertIsInstance(raised.exception.inner_exception, kind)

    @explore(st.sampled_from(["name", "attribute", "index", "key", "zero", "own"]), st.booleans())
    def test_errors_of_the_model(self, what, late):
        """An error of the model is what it is eagerly, after a graph break too."""
        class Own(Exception):
            pass

        def fails(x):
            if late:
                torch._dynamo.graph_break()
            if what == "own":
                raise Own("mine")
            return {"name": lambda: missing, "attribute": lambda: x.nothing, "index": lambda: list(x)[9],  # noqa: F821
                    "key": lambda: {}[1], "zero": lambda: 1 // 0}[what]()  # fmt: skip

        with self.assertRaises(Exception) as eager:
            fails(torch.ones(2))
        with self.assertRaises(type(eager.exception)) as raised:
            torch.compile(fails, backend="eager")(torch.ones(2))

        self.assertIs(type(raised.exception), type(eager.exception))
        self.assertEqual(str(raised.exception), str(eager.exception))


if __name__ == "__main__":
    fxpect.run_tests()
