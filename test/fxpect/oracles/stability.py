"""Oracle: a pass gives the same graph every time, and has nothing left to do on its own result."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import itertools
import json
import operator
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

from torch.fx import Node

from fxpect.errors import CheckFailure, FxpectError, PassCrash, SpecError
from fxpect.examples import Example, copy_graph_module
from fxpect.execution import Execution, run_pass
from fxpect.execution.fingerprint import structure
from fxpect.oracles.causes import crash_cause, first_words, in_one_line, root_of
from fxpect.oracles.evidence import ERROR, NOTE, raise_first, stamped
from fxpect.specs import parse_spec

# Numbers for nodes in the order in which they are made. Under the second a small set of nodes iterates backwards:
# CPython places a hash by its low bits, and here these are the complement of the first's.
FORWARDS = operator.pos
BACKWARDS = (2**20 - 1).__sub__


def check_stability(pass_: Any, execution: Execution) -> None:
    """Raise when the pass gives another text on another run, or still changes what it made itself.

    The pass runs twice more on fresh copies, whose nodes come out of a set once in the order in which they
    were made and once backwards (by default their order is that of addresses, so luck), and once on its own
    result. Another order of the same nodes is a note. Misses: what depends on the hashes of strings, which are
    the same all through a process (``check_hash_seeds`` looks at those), or on the addresses of other objects.
    """
    raise_first(find_stability(pass_, execution))


def find_stability(pass_: Any, execution: Execution) -> Iterator[CheckFailure]:
    """Yield what differs between runs, then what a second run over the result still changes."""
    for number in (FORWARDS, BACKWARDS):
        try:
            with node_hashes(number):
                again = run_pass(pass_, execution.before)
        except PassCrash as crash:
            yield _failure(
                execution,
                f"another-run-crashes:{_label(crash)}",
                f"expected the same result as the first run; got {in_one_line(crash)}",
            )
            break
        if again.after_text != execution.after_text:
            yield _failure(
                execution,
                "two-results",
                f"expected the same text from the same graph; got {in_words(execution.after_text, again.after_text)}",
            )
            break
        if structure(again.after) != structure(execution.after):
            yield _failure(
                execution,
                "order",
                "expected the nodes in the same order; got another order of the same nodes",
                NOTE,
            )
            break
    if execution.changed:
        yield from _second_run(pass_, execution)


@contextlib.contextmanager
def node_hashes(number: Callable[[int], int]) -> Iterator[None]:
    """Let the hash of each ``Node`` made within be ``number(n)``, where n counts them from 0, not its address.

    So sets of such nodes iterate alike in every process. Nodes that were there before keep their hash.
    """
    counter = itertools.count()
    hashes: dict[int, int] = {}
    made = Node.__init__

    def init(node: Node, *args: Any, **kwargs: Any) -> None:
        hashes[id(node)] = number(next(counter))
        made(node, *args, **kwargs)

    def hash_of(node: Node) -> int:
        known = hashes.get(id(node))
        return object.__hash__(node) if known is None else known

    with mock.patch.object(Node, "__init__", init), mock.patch.object(Node, "__hash__", hash_of):
        yield


def _second_run(pass_: Any, execution: Execution) -> Iterator[CheckFailure]:
    example = execution.before.replace(
        graph_module=copy_graph_module(execution.after), exported=execution.exported_after
    )
    try:
        second = run_pass(pass_, example)
    except PassCrash as crash:
        yield _failure(
            execution,
            f"second-run-crashes:{_label(crash)}",
            f"expected a pass that takes its own result; got {in_one_line(crash)}",
        )
        return
    if second.changed and second.after_text != execution.after_text:
        yield _failure(
            execution,
            "not-idempotent",
            f"expected a second run to change nothing; got {in_words(execution.after_text, second.after_text)}",
        )


def _failure(execution: Execution, cause: str, message: str, severity: str = ERROR) -> CheckFailure:
    return stamped(
        CheckFailure("stability", message, pass_name=execution.pass_name, cause=f"stability:{cause}"),
        severity,
    )


def in_words(one: str, other: str) -> str:
    """Return what tells two canonical texts apart, in words."""
    from fxpect.text.diff import graph_diff

    return graph_diff(one, other).summary


def check_hash_seeds(
    pass_path: str, example: Example, seeds: Sequence[int] = (1, 2), *, timeout: float = 120.0
) -> None:
    """Raise when the pass at the import path "module:name" gives another text under another hash seed.

    Each seed starts a fresh Python (seconds). Raises ``FxpectError`` when the pass cannot be run there, as
    when it is not importable by that path.
    """
    if ":" not in pass_path:
        raise FxpectError(f"expected an import path 'module:name'; got {pass_path!r}")
    portable = example.portable()
    job = {
        "pass": pass_path,
        "text": portable.text,
        "inputs": list(map(repr, portable.inputs)),
        "capture": portable.capture,
        "sizes": portable.sizes,
    }
    with ThreadPoolExecutor(len(seeds)) as pool:
        texts = list(pool.map(lambda seed: _text_under(seed, job, timeout), seeds))
    if len(set(texts)) > 1:
        raise stamped(
            CheckFailure(
                "stability",
                f"expected the same text under every hash seed; with seeds {seeds[0]} "
                f"and {seeds[1]} got {in_words(*texts[:2])}",
                pass_name=pass_path,
                cause="stability:hash-seed",
            ),
            ERROR,
        )


def _text_under(seed: int, job: dict[str, Any], timeout: float) -> str:
    environment = {
        **os.environ,
        "PYTHONHASHSEED": str(seed),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    done = subprocess.run(
        [sys.executable, "-m", "fxpect.oracles.stability"],
        input=json.dumps(job),
        text=True,
        capture_output=True,
        timeout=timeout,
        env=environment,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise FxpectError(f"{job['pass']} does not run in a fresh Python: {last}")
    return done.stdout


def _run_job(job: dict[str, Any]) -> str:
    """Run one pass on one stored example and return the text it leaves; what the fresh Python does."""
    module, _, name = job["pass"].partition(":")
    pass_ = functools.reduce(getattr, name.split("."), importlib.import_module(module))
    example = Example.from_text(
        job["text"], *map(_read_input, job["inputs"]), capture=job["capture"], sizes=job["sizes"]
    )
    return run_pass(pass_, example).after_text


def _read_input(text: str) -> Any:
    try:
        return parse_spec(text)
    except SpecError:
        return ast.literal_eval(text)


def _label(crash: PassCrash) -> str:
    error = crash.__cause__
    return crash_cause("pass", root_of(error)) if isinstance(error, Exception) else first_words(crash.message)


if __name__ == "__main__":
    sys.stdout.write(_run_job(json.load(sys.stdin)))
