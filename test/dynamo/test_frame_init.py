"""Frames that run other code than their function's: arguments bound to locals, cells and free variables.

Mirrors test/dynamo/test_frame_init.py of PyTorch, whose one test replaces the code of two functions by code with
fewer or more locals through a raw callback of the frame evaluator (and installs the first of its two callbacks
twice). Guards how the evaluator copies the arguments of a call into the frame of the compiled code, which differs
from one CPython to the next, and how dynamo binds a call to a signature while it traces.

Would have caught https://github.com/pytorch/pytorch/pull/115062 and https://github.com/pytorch/pytorch/pull/96501
(arguments in the wrong locals). A compiled coroutine function kills torch 2.13 on CPython 3.11.
"""

import contextlib
import functools
import inspect
import subprocess
import sys
import textwrap

import torch
from hypothesis import strategies as st
from torch._dynamo.eval_frame import set_eval_frame
from torch._dynamo.exc import InternalTorchDynamoError
from torch._dynamo.guards import GuardManagerWrapper
from torch._dynamo.types import ConvertFrameReturn, GuardedCode, wrap_guarded_code
from torch._guards import CompileId
from torch._inductor.fx_passes import pre_grad

import fxpect
from fxpect import T
from fxpect.compiling import call_in_turn, graphs_of
from fxpect.passes.catalogue import applies

explore = functools.partial(fxpect.explore, max_examples=15)

# ---------------------------------------------------------------------- signatures and calls, as small numbers


@st.composite
def bindings(draw):
    """Draw a signature and a call that fits it.

    The signature: how many parameters are positional only, plain and keyword only, how many of the last
    positional ones have a default, whether there are ``*rest`` and ``**more``. The call: how many of those
    defaults it leaves out, how many plain parameters it passes by keyword, how many arguments it adds for
    ``*rest`` and ``**more``.
    """
    only, plain, named = draw(st.integers(0, 2)), draw(st.integers(0, 3)), draw(st.integers(0, 2))
    rest, more = draw(st.booleans()), draw(st.booleans())
    defaults = draw(st.integers(0, only + plain))
    left_out = draw(st.integers(0, defaults))
    given = only + plain - left_out
    by_name = draw(st.integers(0, max(0, given - only)))
    extra = draw(st.integers(0, 2)) if rest and not by_name and not left_out else 0
    return only, plain, named, defaults, rest, more, left_out, by_name, extra, draw(st.integers(0, 2)) if more else 0


def parameters(signature):
    """Return the names of the positional and of the keyword-only parameters."""
    only, plain, named = signature[:3]
    return [f"a{i}" for i in range(only)] + [f"b{i}" for i in range(plain)], [f"k{i}" for i in range(named)]


def header(signature):
    """Return the parameters as they stand in a ``def``."""
    only, _, named, defaults, rest, more = signature[:6]
    positional, by_name = parameters(signature)
    first = len(positional) - defaults
    words = [name if i < first else f"{name}={i}" for i, name in enumerate(positional)]
    if only:
        words.insert(only, "/")
    if rest or named:
        words.append("*rest" if rest else "*")
    return ", ".join(words + by_name + ["**more"] * more)


def values_of(signature):
    """Return the names of everything that a call binds."""
    positional, by_name = parameters(signature)
    return positional + ["rest"] * signature[4] + by_name + ["more"] * signature[5]


def arguments(signature, value=lambda i: i + 10):
    """Return the arguments of the call; ``value`` makes the i-th."""
    left_out, by_name, extra, extra_names = signature[6:]
    positional, named = parameters(signature)
    given = positional[:len(positional) - left_out]
    split = len(given) - by_name
    numbers = iter(range(100))
    args = [value(next(numbers)) for _ in given[:split]]
    args += [value(next(numbers)) for _ in range(extra)]
    names = [*given[split:], *named, *[f"z{i}" for i in range(extra_names)]]
    return args, {name: value(next(numbers)) for name in names}


def define(signature, body, **names):
    """Return the function of that signature and body, which may use ``names`` as globals."""
    text = f"def function({header(signature)}):\n{textwrap.indent(textwrap.dedent(body).strip(), '    ')}\n"
    scope = dict(names)
    exec(compile(text, "<drawn>", "exec"), scope)
    return scope["function"]


def answer(signature, marker, *before):
    """Return a body that says who it is and everything that was bound to its parameters."""
    bound = ", ".join(f"{name!r}: {name}" for name in values_of(signature))
    return "\n".join([*before, f"return {marker!r}, {{{bound}}}"])


@contextlib.contextmanager
def replaced(codes):
    """Run other code for some functions; gives the names of the frames that the evaluator asked about."""
    asked = []

    def callback(frame, cache_entry, frame_state):
        asked.append(frame.f_code.co_name)
        if frame.f_code not in codes:
            return ConvertFrameReturn()
        compile_id = CompileId(frame_id=0, frame_compile_id=0)
        return wrap_guarded_code(GuardedCode(codes[frame.f_code], GuardManagerWrapper(), compile_id))

    previous = set_eval_frame(callback)
    try:
        yield asked
    finally:
        set_eval_frame(previous)


class FrameInitTests(fxpect.TestCase):
    """Replacement code gets exactly the arguments that the function would have got."""

    @explore(bindings(), st.integers(0, 4), st.integers(0, 4), max_examples=40)
    def test_frame_init(self, signature, locals_before, locals_after):
        """Whatever the signature and the call, code with other locals answers for the function, twice."""
        original = define(signature, answer(signature, "original", *locals_of(locals_before)))
        other = define(signature, answer(signature, "other", *locals_of(locals_after)))
        args, kwargs = arguments(signature)
        expected = original(*args, **kwargs)[1]

        with replaced({original.__code__: other.__code__}) as asked:
            answers = [original(*args, **kwargs) for _ in range(2)]

        self.assertEqual(answers, [("other", expected)] * 2)
        self.assertEqual(asked.count("function"), 1)

    @explore(bindings(), st.integers(0, 3))
    def test_cells(self, signature, locals_after):
        """Arguments that an inner function reads and writes are bound to cells."""
        names = [name for name in values_of(signature) if name not in ("rest", "more")]
        writes = [f"nonlocal {', '.join(names)}", *[f"{name} = [{name}]" for name in names]] if names else ["pass"]
        inner = ["def inner():", *[f"    {line}" for line in writes], "inner()"]
        original = define(signature, answer(signature, "original", *inner))
        other = define(signature, answer(signature, "other", *locals_of(locals_after), *inner))
        args, kwargs = arguments(signature)

        with replaced({original.__code__: other.__code__}):
            marker, bound = original(*args, **kwargs)

        self.assertEqual((marker, bound), ("other", original(*args, **kwargs)[1]))
        self.assertTrue(all(isinstance(bound[name], list) for name in names))

    @explore(st.integers(1, 4), st.integers(0, 3), st.integers(0, 3))
    def test_free_variables(self, count, locals_before, locals_after):
        """The variables of a closure are those of the function, not those of the code that answers for it."""
        original, others = closure(count, locals_before, 0), closure(count, locals_after, 100)

        with replaced({original.__code__: others.__code__}):
            found = original(7)

        self.assertEqual(found, (7, *range(count)))

    @explore(bindings(), st.sampled_from(["one too few", "one too many", "unknown name", "twice"]))
    def test_calls_that_do_not_fit(self, signature, kind):
        """A call that Python refuses is refused with its own words, and the evaluator is not asked."""
        original = define(signature, answer(signature, "original"))
        args, kwargs = arguments(signature)
        positional = parameters(signature)[0]
        if kind == "one too few":
            args, kwargs = [], {}
        elif kind == "one too many":
            args = [*args, *range(len(positional) + 1)]
        elif kind == "unknown name":
            kwargs = dict(kwargs, unknown=1)
        else:
            kwargs = dict(kwargs, **{name: 1 for name in positional[:1]})
        expected = refusal(original, args, kwargs)

        with replaced({original.__code__: define(signature, answer(signature, "other")).__code__}) as asked:
            found = refusal(original, args, kwargs)

        self.assertEqual(found, expected)
        self.assertEqual(asked.count("function"), int(not expected))

    @explore(st.integers(1, 200), max_examples=6)
    def test_recursion(self, depth):
        """Each of many nested frames gets its own arguments, and the limit of recursion holds."""

        def original(n):
            return () if n == 0 else (n, *original(n - 1))

        def other(n):
            found = () if n == 0 else (n, *original(n - 1))
            return found

        def endless(n):
            return endless(n + 1)

        with replaced({original.__code__: other.__code__, endless.__code__: endless.__code__}):
            found = original(depth)
            with self.assertRaises(RecursionError):
                endless(0)

        self.assertEqual(found, tuple(range(depth, 0, -1)))


def locals_of(count):
    """Return statements that define so many locals."""
    return [f"v{i} = {f'v{i - 1}' if i else 0}" for i in range(count)]


def closure(count, locals_inside, start):
    """Return a function of one argument that reads so many free variables, numbered from ``start``."""
    names = [f"c{i}" for i in range(count)]
    lines = [f"{name} = {start + i}" for i, name in enumerate(names)]
    inside = [*locals_of(locals_inside), f"return x, {', '.join(names)}"]
    lines += ["def inner(x):", *[f"    {line}" for line in inside], "return inner"]
    return define((0, 0, 0, 0, False, False, 0, 0, 0, 0), "\n".join(lines))()


def refusal(function, args, kwargs):
    """Return the words with which Python refuses a call, "" for one that it takes."""
    try:
        function(*args, **kwargs)
    except TypeError as error:
        return str(error)
    return ""


# ---------------------------------------------------------------------- the same calls, traced


def joined(signature):
    """Return a function that joins every tensor that it is given, in the order of its signature."""
    positional, named = parameters(signature)
    words = [f"torch.full((2,), float({name})) if isinstance({name}, int) else {name}" for name in positional]
    parts = [*words, "*rest" if signature[4] else "", *named, "*more.values()" if signature[5] else ""]
    body = f"return torch.relu(torch.cat([torch.ones(1), {', '.join(filter(None, parts))}]))"
    return define(signature, body, torch=torch)


class BindingTests(fxpect.PreGradPassTestCase):
    """Dynamo binds a call to a signature as Python does."""

    @explore(bindings(), max_examples=12)
    def test_order_of_inputs(self, signature):
        """Tensors are inputs in the order of the signature, defaults are constants, and a pass sinks their join."""
        function = joined(signature)
        args, kwargs = arguments(signature, lambda i: torch.full((i + 1,), float(i) - 1))

        sequence = graphs_of(function, *args, kwargs=kwargs, fullgraph=True)

        torch.testing.assert_close(sequence.value, function(*args, **kwargs), rtol=0, atol=0)
        example = sequence.graphs[0].example
        bound = inspect.signature(function).bind(*args, **kwargs).arguments
        tensors = [value for name in values_of(signature) if name in bound
                   for value in (bound[name] if name == "rest" else
                                 bound[name].values() if name == "more" else [bound[name]])]  # fmt: skip
        sizes = [one.meta["example_value"].shape[0] for one in example.placeholders]
        self.assertEqual(sizes, [len(one) for one in tensors])
        constants, joined_ones = signature[6], 1 + len(tensors) + signature[6]
        ops = {"torch.full": (constants, constants), "torch.cat": (1, 1), "torch.relu": (1, joined_ones)}
        # One piece alone has nothing to sink below.
        verb = self.assertRewrites if joined_ones > 1 else self.assertPreserves
        verb(pre_grad.sink_cat_after_pointwise, example, ops=ops)

    @explore(bindings(), max_examples=8)
    def test_spelling_of_a_call(self, signature):
        """The same arguments by position or by keyword are one compilation."""
        function = joined(signature)
        args, kwargs = arguments(signature, lambda i: torch.full((i + 1,), float(i)))
        bound = inspect.signature(function).bind(*args, **kwargs)
        by_name = dict(list(bound.arguments.items())[signature[0]:])
        respelled = not by_name.pop("rest", ())  # which needs those before it by position
        more = by_name.pop("more", {})

        torch._dynamo.reset()
        compiled = torch.compile(function, backend="eager", fullgraph=True)
        first = compiled(*args, **kwargs)
        with torch.compiler.set_stance("fail_on_recompile"):
            second = compiled(*bound.args[:signature[0]], **by_name, **more) if respelled else compiled(*args, **kwargs)

        torch.testing.assert_close(first, second, rtol=0, atol=0)

    @explore(st.integers(1, 4), max_examples=3)
    def test_mutable_default(self, calls):
        """A default that the function writes to keeps what was written, and is guarded."""

        def appends(x, seen=[]):  # noqa: B006
            seen.append(len(seen))
            return x + len(seen)

        results = call_in_turn(appends, *[(torch.zeros(1),)] * calls)

        self.assertEqual([one.value.item() for one in results], list(range(1, calls + 1)))
        self.assertEqual(appends.__defaults__, ([*range(calls)],))
        self.assertTrue(all(one.compiled for one in results))

    @explore(st.sampled_from(["method", "class method", "static method", "partial", "callable"]), st.integers(1, 3))
    def test_kinds_of_callables(self, kind, size):
        """Methods of every kind and partials are one graph with the numbers of the call."""
        holder = Holder(3)
        callables = {"method": holder.method, "class method": Holder.of_class, "static method": Holder.of_nobody,
                     "partial": functools.partial(Holder.of_nobody, shift=5), "callable": holder}  # fmt: skip
        expected = {"method": 3, "class method": 7, "static method": 2, "partial": 5, "callable": 4}

        sequence = graphs_of(lambda x: callables[kind](x), T(size, values="integers"), fullgraph=True)

        self.assertEqual(sequence.outline, ["graph: add"])
        self.assertEqual(sequence.graphs[0].graph_module.graph.find_nodes(op="placeholder")[0].users.popitem()[0].args[1],
                         expected[kind])  # fmt: skip
        self.assertGraph(sequence.graphs[0].example)

    @explore(st.integers(0, 12), max_examples=4)
    def test_recursion_is_unrolled(self, depth):
        """A function that calls itself is traced down to the last call."""

        def down(x, n):
            return x.relu() if n == 0 else down(x + n, n - 1)

        sequence = graphs_of(down, T(2), depth, fullgraph=True)

        self.assertOps(sequence.graphs[0].example, {"operator.add": depth, ".relu": 1})

    def test_endless_recursion(self):
        """A function that never ends is an error of tracing, which names the limit."""

        def endless(x):
            return endless(x + 1)

        with self.assertRaisesRegex(InternalTorchDynamoError, "RecursionError: maximum recursion depth exceeded"):
            graphs_of(endless, T(2))


class Holder:
    """Callables of every kind."""

    CLASS_SHIFT = 7

    def __init__(self, shift):
        self.shift = shift

    def method(self, x):
        return x + self.shift

    @classmethod
    def of_class(cls, x):
        return x + cls.CLASS_SHIFT

    @staticmethod
    def of_nobody(x, *, shift=2):
        return x + shift

    def __call__(self, x):
        return x + (self.shift + 1)


COROUTINE = """
import asyncio, gc, torch
async def plus_one(x):
    return x + 1
print(asyncio.run(torch.compile(plus_one, backend="eager")(torch.ones(2))).tolist(), flush=True)
for _ in range(3):
    torch.compile(lambda x: x + 1, backend="eager", fullgraph=True)(torch.ones(2))
    torch._dynamo.reset()
    gc.collect()
"""


class SuspendedFrameTests(fxpect.TestCase):
    """Frames that stop and go on."""

    @explore(st.integers(0, 4), st.integers(0, 4), max_examples=6)
    def test_generator(self, count, taken):
        """A compiled generator function runs in eager, item by item; inlined, its items are part of the graph."""

        def numbers(x):
            for i in range(count):
                yield x * i

        def total(x):
            return sum(numbers(x)) + x

        sequence = graphs_of(numbers, T(2))
        found = [next(sequence.value, None) for _ in range(taken)]

        self.assertEqual(sequence.outline, [])
        self.assertEqual([one is None for one in found], [i >= count for i in range(taken)])
        inlined = graphs_of(total, T(2), fullgraph=True)
        self.assertOps(inlined.graphs[0].example, {"operator.mul": count})

    def test_coroutine(self):
        """A compiled coroutine function gives its value; torch before 2.15 then crashes on CPython 3.11."""
        run = subprocess.run([sys.executable, "-c", COROUTINE], capture_output=True, text=True, check=False)

        self.assertEqual(run.stdout, "[2.0, 2.0]\n")
        if applies(">=2.15"):
            self.assertEqual(run.returncode, 0, run.stderr)
        elif sys.version_info[:2] == (3, 11):
            self.assertLess(run.returncode, 0, "torch no longer crashes: this is fixed")


if __name__ == "__main__":
    fxpect.run_tests()
