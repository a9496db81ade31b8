#!/usr/bin/env python3
"""Measure the limits that the project keeps: each as a ratio of CPU times taken in one run.

Both sides of a ratio are run in turn, several times, and the median of three ratios counts, so that a busy
machine disturbs both alike. Ends with 1 where a bound is not kept. Needs an environment with fxpect in it.

    scripts/bench.py                    everything
    scripts/bench.py --only import      the benches whose name holds "import"

A new one is a function with @bench("name") that yields a Pair for each row.
"""

import argparse
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

ROUNDS = 3
# One side of a ratio is repeated until it takes this long.
MIN_SECONDS = 0.2


@dataclass
class Pair:
    """One row: the work, the work it is compared with (None: its seconds count), and the limit.

    ``scale`` divides the ratio, for work that is as much as ``scale`` times the other.
    """

    label: str
    ours: Callable[[], object]
    base: Callable[[], object] | None
    bound: float | None = None
    goal: float | None = None
    scale: float = 1.0


@dataclass
class Row:
    """What was measured: CPU seconds of one repetition on each side, and the value that the bound is for.

    ``error`` is what went wrong, where nothing could be measured.
    """

    bench: str
    label: str
    ours: float | None = None
    base: float | None = None
    value: float | None = None
    bound: float | None = None
    goal: float | None = None
    error: str = ""

    @property
    def kept(self) -> bool:
        return not self.error and (self.bound is None or self.value <= self.bound)


BENCHES: dict[str, Callable[[], Iterator[Pair]]] = {}


def bench(name: str):
    """Register a function that yields the Pairs of a bench; what it sets up is not measured."""
    def register(function: Callable[[], Iterator[Pair]]):
        BENCHES[name] = function
        return function
    return register


# ---- the benches ----------------------------------------------------------------------------------------


@bench("import")
def importing() -> Iterator[Pair]:
    """Importing the library, over importing torch."""
    names = "import torch, fxpect; [getattr(fxpect, name) for name in fxpect.__all__]"
    yield Pair("import fxpect", child("import torch, fxpect"), child("import torch"), bound=1.10)
    yield Pair("every public name", child(names), child("import torch"))


@bench("first property")
def first_property() -> Iterator[Pair]:
    """The first property of a process, from nothing to a judged example, over torch's own first export."""
    model = "class Model(torch.nn.Module):\n    def forward(self, x):\n        return torch.relu(x) + 1\n"
    ours = ("import torch, fxpect\nfrom hypothesis import given, settings\n" + model +
            "@settings(max_examples=1, database=None, deadline=None)\n"
            "@given(fxpect.near(Model(), fxpect.T(2, 8)))\n"
            "def check(example):\n    assert not fxpect.judge(lambda gm: None, example).failures\ncheck()\n")
    base = f"import torch\n{model}torch.export.export(Model(), (torch.randn(2, 8),), strict=True)\n"
    yield Pair("over import torch and export", child(ours), child(base), bound=1.10)


@bench("graph_text")
def graph_texts() -> Iterator[Pair]:
    """Printing a graph with its types, over torch's ``str(graph)``; and ten times the nodes, over one."""
    import fxpect

    graphs = {nodes: chain(nodes) for nodes in (100, 1000, 10000)}
    for nodes, module in graphs.items():
        yield Pair(f"{nodes:,} nodes over str(graph)", lambda module=module: fxpect.graph_text(module),
                   lambda module=module: str(module.graph), bound=1.0, goal=0.6)
    yield Pair("10,000 nodes over 10 times 1,000", lambda: fxpect.graph_text(graphs[10000]),
               lambda: fxpect.graph_text(graphs[1000]), bound=1.3, scale=10)


@bench("stored cases")
def stored_cases() -> Iterator[Pair]:
    """Reading every stored file and comparing every case with its equal, in seconds; without torch."""
    with tempfile.TemporaryDirectory() as folder:
        for files in (20, 100):
            write_store(Path(folder, str(files)), files, cases=100)
        yield Pair("10,000 cases (seconds)", lambda: compare_store(Path(folder, "100")), None, bound=1.0)
        yield Pair("10,000 cases over 5 times 2,000", lambda: compare_store(Path(folder, "100")),
                   lambda: compare_store(Path(folder, "20")), bound=1.3, scale=5)


# ---- what they share ------------------------------------------------------------------------------------


def child(program: str) -> Callable[[], object]:
    """Return a call that runs a program text in a new Python."""
    def run() -> None:
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return run


def chain(nodes: int):
    """Return a GraphModule of ``nodes`` typed nodes, each of which uses the one before and an earlier one."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    functions = (torch.add, torch.mul, torch.sub)
    graph = torch.fx.Graph()
    last = [graph.placeholder("x")]
    for number in range(nodes - 2):
        last.append(graph.call_function(functions[number % 3], (last[-1], last[-min(len(last), 7)])))
    with FakeTensorMode():
        for node in last:  # a tensor of its own for each node, as a capture gives it
            node.meta["val"] = torch.empty(2, 8)
    graph.output((last[-1],))
    return torch.fx.GraphModule(torch.nn.Module(), graph)


def case_texts(number: int) -> tuple[str, str]:
    """Return a graph before and after with a body of twelve lines, different for each number."""
    lines = [f'    add_{line}: "f32[{number}, {line + 1}]" = torch.add(x, y, alpha={line})'
             for line in range(10)]
    before = "\n".join(['def forward(self, x: "f32[2, 8]", y: "f32[2, 8]"):', *lines, "    return (add_9,)"])
    return before, before.replace("torch.add", "torch.sub")


def write_store(root: Path, files: int, cases: int) -> None:
    """Write a fixtures folder of ``files`` files with ``cases`` cases each."""
    from fxpect.fixtures.case import Case
    from fxpect.fixtures.format import Document, format_document

    for file in range(files):
        made = []
        for number in range(cases):
            before, after = case_texts(file * cases + number)
            made.append(Case.make(before, inputs="x=f32[2, 8], y=f32[2, 8]", options="capture=dynamo",
                                  after=after))
        document = Document(f"dynamo/test_{file}.py StoredTests.test_x", why="measures reading",
                            cases=tuple(sorted(made, key=lambda case: case.key)))
        path = root / "dynamo" / f"test_{file}" / "StoredTests.test_x.fx"
        path.parent.mkdir(parents=True)
        path.write_text(format_document(document), encoding="utf-8")


def compare_store(root: Path) -> None:
    """Read everything below ``root`` and compare each case with a result that is equal."""
    from fxpect.fixtures.case import Case
    from fxpect.fixtures.store import Store

    compared = 0
    for path, document in Store(root).documents():
        if isinstance(document, Exception):
            raise document
        for stored in document.cases:
            case = Case.make(stored.before, inputs=stored.inputs, options=stored.options, after=stored.after)
            if case.key != stored.key or case.after != stored.expected("2.13.0"):
                raise AssertionError(f"{path}: {stored.key} does not compare equal")
            compared += 1
    if not compared:
        raise AssertionError(f"nothing below {root}")


# ---- the frame ------------------------------------------------------------------------------------------


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def timed(work: Callable[[], object], times: int) -> float:
    """Return the CPU seconds of one of ``times`` repetitions."""
    gc.collect()
    began = cpu_seconds()
    for _ in range(times):
        work()
    return (cpu_seconds() - began) / times


def repetitions(work: Callable[[], object]) -> int:
    """Return how often ``work`` must be repeated to last long enough; warms it up."""
    work()
    return max(1, int(MIN_SECONDS / max(timed(work, 1), 1e-6)))


def measure(name: str, pair: Pair) -> Row:
    """Measure one pair, its sides in turn, and return the row of the median ratio."""
    sides = [pair.ours] if pair.base is None else [pair.ours, pair.base]
    times = [repetitions(side) for side in sides]
    samples = [[timed(side, often) for side, often in zip(sides, times)] for _ in range(ROUNDS)]
    values = [sample[0] / (sample[1] * pair.scale if pair.base else 1.0) for sample in samples]
    medians = [statistics.median(column) for column in zip(*samples)]
    return Row(name, pair.label, medians[0], medians[1] if pair.base else None, statistics.median(values),
               pair.bound, pair.goal)


def run_bench(name: str) -> Iterator[Row]:
    """Yield the rows of one bench; what cannot be measured is a row too, and ends the bench."""
    label = "set-up"
    try:
        for pair in BENCHES[name]():
            label = pair.label
            yield measure(name, pair)
    except Exception as error:
        yield Row(name, label, error=f"{type(error).__name__}: {error}")


def table(rows: list[Row]) -> str:
    """Return the rows as a table that may be pasted into the README."""
    heads = ("what", "ours (s)", "base (s)", "value", "bound", "goal", "kept")
    lines = [heads, ["---"] * len(heads)]
    for row in rows:
        numbers = [(row.ours, 4), (row.base, 4), (row.value, 2), (row.bound, 2), (row.goal, 2)]
        cells = ["" if number is None else f"{number:.{digits}f}" for number, digits in numbers]
        kept = row.error or ("" if row.bound is None else "yes" if row.kept else "NO")
        lines.append([f"{row.bench}: {row.label}", *cells, kept])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="NAME",
                        help="benches whose name holds NAME; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON too")
    parser.add_argument("--list", action="store_true", help="print the names and what they measure")
    arguments = parser.parse_args()
    chosen = [name for name in BENCHES if not arguments.only or any(part in name for part in arguments.only)]
    if not chosen:
        parser.error(f"--only {arguments.only}: expected part of {', '.join(BENCHES)}")
    if arguments.list:
        print("\n".join(f"{name}: {BENCHES[name].__doc__}" for name in chosen))
        return 0
    rows = []
    for name in chosen:
        for row in run_bench(name):
            rows.append(row)
            print(f"{name}: {row.label}: {row.error or round(row.value, 2)}", file=sys.stderr, flush=True)
    print(table(rows))
    if arguments.json:
        text = json.dumps([asdict(row) for row in rows], indent=1)
        arguments.json.write_text(text + "\n", encoding="utf-8")
    return 0 if all(row.kept for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
