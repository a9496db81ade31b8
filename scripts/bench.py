#!/usr/bin/env python3
"""Measure the limits that the project keeps: each as a ratio of CPU times taken in one run.

Both sides of a ratio are run in turn, several times, and the median of three ratios counts, so that a busy
machine disturbs both alike (the least time of a side's turns is its time). Ends with 1 where a bound is not
kept. Needs an environment with fxpect in it.

    scripts/bench.py                    everything
    scripts/bench.py --only import      the benches whose name holds "import"
    scripts/bench.py --write            everything, and the table into the README

A new one is a function with @bench("name") that yields a Pair for each row, or a Row for what is counted.
"""

import argparse
import functools
import gc
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from unittest import mock

import _bench_work as work
import _readme as readme

os.environ.setdefault("OMP_NUM_THREADS", "1")

ROUNDS = 3
# A store of the bench's own, in which a person accepts.
ACCEPTING = {"CI": "", "FXPECT_FIXTURES": "", "FXPECT_PENDING": ""}
# In a round each side takes turns for about so long, one of which takes at least so long.
MIN_SECONDS, MAX_TURNS, LEAST_SECONDS = 2.0, 10, 0.02


@dataclass
class Pair:
    """One row: the work, the work it is compared with (None: its seconds count), and the limit.

    ``scale`` divides the ratio, for work that is as much as ``scale`` times the other. With ``least`` the
    value is how many times as fast the work is, and must be at least that.
    """

    label: str
    ours: Callable[[], object]
    base: Callable[[], object] | None
    bound: float | None = None
    goal: float | None = None
    scale: float = 1.0
    least: float | None = None


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
    least: float | None = None

    @property
    def kept(self) -> bool:
        if self.error:
            return False
        return (self.bound is None or self.value <= self.bound) and (self.least is None or self.value >= self.least)


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
    yield Pair("import fxpect", work.child("import torch, fxpect"), work.child("import torch"), bound=1.10)
    yield Pair("every public name", work.child(names), work.child("import torch"))


@bench("first property")
def first_property() -> Iterator[Pair]:
    """The first property of a process, from nothing to a judged example, over torch's own first export."""
    model = "class Model(torch.nn.Module):\n    def forward(self, x):\n        return torch.relu(x) + 1\n"
    ours = ("import torch, fxpect\nfrom hypothesis import given, settings\n" + model +
            "@settings(max_examples=1, database=None, deadline=None)\n"
            "@given(fxpect.near(Model(), fxpect.T(2, 8)))\n"
            "def check(example):\n    assert not fxpect.judge(lambda gm: None, example).failures\ncheck()\n")
    base = f"import torch\n{model}torch.export.export(Model(), (torch.randn(2, 8),), strict=True)\n"
    yield Pair("over import torch and export", work.child(ours), work.child(base), bound=1.10)


@bench("graph_text")
def graph_texts() -> Iterator[Pair]:
    """Printing a graph with its types, over torch's ``str(graph)``; and ten times the nodes, over one."""
    import fxpect

    graphs = {nodes: work.chain(nodes) for nodes in (100, 1000, 10000)}
    for nodes, module in graphs.items():
        yield Pair(f"{nodes:,} nodes over str(graph)", lambda module=module: fxpect.graph_text(module),
                   lambda module=module: str(module.graph), bound=1.0, goal=0.6)
    yield Pair("10,000 nodes over 10 times 1,000", lambda: fxpect.graph_text(graphs[10000]),
               lambda: fxpect.graph_text(graphs[1000]), bound=1.3, scale=10)


@bench("graph_diff")
def graph_diffs() -> Iterator[Pair]:
    """The difference of two texts of 5,000 lines, in seconds: one line of them, and all of them."""
    import fxpect

    before = fxpect.graph_text(work.chain(5000))
    half = before.index("torch.mul", len(before) // 2)
    one = before[:half] + "torch.div" + before[half + len("torch.mul"):]
    for label, after in (("one line", one), ("every line", before.replace("torch.", "jax."))):
        yield Pair(f"{label} of 5,000 (seconds)", functools.partial(fxpect.graph_diff, before, after), None, bound=2.0)


@bench("stored cases")
def stored_cases() -> Iterator[Pair]:
    """Reading every stored file and comparing every case with its equal, in seconds; without torch."""
    with tempfile.TemporaryDirectory() as folder:
        for files in (20, 100):
            work.write_store(Path(folder, str(files)), files, cases=100)
        yield Pair("10,000 cases (seconds)", lambda: work.compare_store(Path(folder, "100")), None, bound=1.0)
        yield Pair("10,000 cases over 5 times 2,000", lambda: work.compare_store(Path(folder, "100")),
                   lambda: work.compare_store(Path(folder, "20")), bound=1.3, scale=5)


@bench("accepted cases")
def accepted_cases() -> Iterator[Pair]:
    """Accepting a new result for every stored case, proposals read and forgotten, in seconds; without torch."""
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, ACCEPTING):
        roots = {files: Path(folder, str(files), "fixtures") for files in (20, 100)}
        kept = {}
        for files, root in roots.items():
            work.write_store(root, files, cases=100)
            kept[files] = work.write_proposals(root)
        ours, base = (functools.partial(work.accept_store, roots[files], kept[files]) for files in (100, 20))
        yield Pair("10,000 cases (seconds)", ours, None, bound=5.0)
        yield Pair("10,000 cases over 5 times 2,000", ours, base, bound=1.3, scale=5)


@bench("property")
def properties() -> Iterator[Pair]:
    """A property over K inputs of each model, over a bare loop that exports, rewrites, runs and compares."""
    models = [work.ten_operators(seed) for seed in range(12)]
    ours = {count: work.explored(models, count) for count in (1, 8, 32)}
    for (count, run), bound in zip(ours.items(), (1.15, 1.08, 1.05)):
        yield Pair(f"{count} input{'s' * (count > 1)} over the bare loop", run,
                   functools.partial(work.bare_property, models, count), bound=bound)
    yield Pair("checks/s of 32 inputs over those of 1", ours[32], ours[1], least=20, scale=32)


@bench("near misses")
def near_misses() -> Iterator[Pair]:
    """A search around one model, over loops over the examples that it judged, and isolated over in process.

    The search captures its starts, makes the steps, leaves out what does not type, and makes findings small. It
    runs only the graphs that the pass changed; the bare loop runs all.
    """
    from fxpect.campaign.isolation import isolated_search
    from fxpect.campaign.search import Watcher, search
    from fxpect.campaign.starts import Start
    from fxpect.passes.catalogue import find
    from fxpect.passes.firing import pass_of

    class Recorder(Watcher):
        def may_judge(self, print_, example):
            recorded.append((example, example.realize()))
            return True

    entry = find("pre_grad.sink_cat_after_pointwise")
    pass_, start = pass_of(entry), [Start(entry.models[0].model, entry.models[0].inputs, "dynamo")]
    recorded: list = []
    search(pass_, start, examples=400, watcher=Recorder())
    ours = functools.partial(search, pass_, start, examples=400)
    yield Pair("over the bare loop", ours, lambda: work.bare_near(entry.make(), recorded), bound=1.6, goal=1.25)
    yield Pair("examples/s over those of a capture for each", ours,
               functools.partial(work.captured_anew, pass_, start[0]), least=10, scale=len(recorded))
    yield Pair("isolated over in process", functools.partial(isolated_search, pass_, start, examples=1000),
               functools.partial(search, pass_, start, examples=1000), bound=1.05)


@bench("oracles")
def oracles() -> Iterator[Pair]:
    """All oracles over numerics alone, both with the run of the pass that they judge."""
    import fxpect
    from fxpect import T
    from fxpect.capture import capture

    for label, grads in (("without gradients", False), ("with gradients", True)):
        inputs = [T(4, 8, requires_grad=grads)] * 2
        examples = [capture(work.ten_operators(seed), inputs, capture="export-nonstrict") for seed in range(12)]

        def judged(examples=examples, **options):
            for example in examples:
                result = fxpect.judge(work.drop_double_relu, example, **options)
                assert result.holds and result.changed
        yield Pair(label, judged, functools.partial(judged, oracles=("numerics",)), bound=1.2, goal=1.1)


@bench("fired")
def fired() -> Iterator[Row]:
    """The part of the innocent models of the catalogue on which their pass rewrites something."""
    from fxpect.errors import NoRewrite
    from fxpect.passes.catalogue import catalogue
    from fxpect.passes.firing import fire

    done = []
    for entry in catalogue():
        for model in entry.models:
            try:
                fire(entry, model)
                done.append(True)
            except NoRewrite:
                done.append(False)
    yield Row("", f"{sum(done)} of {len(done)} models", value=sum(done) / len(done), least=0.9)


# ---- the frame ------------------------------------------------------------------------------------------


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def timed(work: Callable[[], object], times: int) -> float:
    """Return the CPU seconds of one of ``times`` repetitions."""
    began = cpu_seconds()
    for _ in range(times):
        work()
    return (cpu_seconds() - began) / times


def measure(name: str, pair: Pair) -> Row:
    """Measure one pair and return the row of the median ratio.

    In each round the sides are run in turn, several times where they are short, and the least time of each counts:
    what disturbs a busy machine only ever adds.
    """
    sides = [pair.ours] if pair.base is None else [pair.ours, pair.base]
    for side in sides:
        side()
    spent = [timed(side, 1) for side in sides]
    times = [max(1, int(LEAST_SECONDS / max(seconds, 1e-6))) for seconds in spent]
    turns = min(MAX_TURNS, max(1, int(MIN_SECONDS / max(*spent, LEAST_SECONDS))))
    samples = []
    for _ in range(ROUNDS):
        gc.collect()
        taken = [[timed(side, often) for side, often in zip(sides, times)] for _ in range(turns)]
        samples.append([min(column) for column in zip(*taken)])
    values = [sample[0] / (sample[1] * pair.scale if pair.base else 1.0) for sample in samples]
    value = statistics.median(values)
    medians = [statistics.median(column) for column in zip(*samples)]
    return Row(name, pair.label, medians[0], medians[1] if pair.base else None,
               value if pair.least is None else 1 / value, pair.bound, pair.goal, least=pair.least)


def run_bench(name: str) -> Iterator[Row]:
    """Yield the rows of one bench; what cannot be measured is a row too, and ends the bench."""
    label = "set-up"
    try:
        for pair in BENCHES[name]():
            label = pair.label
            yield replace(pair, bench=name) if isinstance(pair, Row) else measure(name, pair)
    except Exception as error:
        yield Row(name, label, error=f"{type(error).__name__}: {error}")


def table(rows: list[Row]) -> str:
    """Return the rows as a table that may be pasted into the README."""
    heads = ("what", "ours (s)", "base (s)", "value", "bound", "goal", "kept")
    lines = []
    for row in rows:
        numbers = [(row.ours, 4), (row.base, 4), (row.value, 2), (row.bound or row.least, 2), (row.goal, 2)]
        cells = ["" if number is None else f"{number:.{digits}f}" for number, digits in numbers]
        if row.least is not None:
            cells[3] = f">= {cells[3]}"
        kept = row.error or ("" if row.bound is row.least is None else "yes" if row.kept else "NO")
        lines.append((f"{row.bench}: {row.label}", *cells, kept))
    return readme.table(heads, lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="NAME",
                        help="benches whose name holds NAME; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON too")
    parser.add_argument("--write", action="store_true", help="put the table into the README")
    parser.add_argument("--list", action="store_true", help="print the names and what they measure")
    arguments = parser.parse_args()
    chosen = [name for name in BENCHES if not arguments.only or any(part in name for part in arguments.only)]
    if not chosen:
        parser.error(f"--only {arguments.only}: expected part of {', '.join(BENCHES)}")
    if arguments.write and (arguments.only or not readme.has_place("bench")):
        parser.error("--write puts the whole table into the README: no --only, and a place for it there")
    if arguments.list:
        print("\n".join(f"{name}: {BENCHES[name].__doc__}" for name in chosen))
        return 0
    rows = []
    for name in chosen:
        for row in run_bench(name):
            rows.append(row)
            print(f"{name}: {row.label}: {row.error or round(row.value, 2)}", file=sys.stderr, flush=True)
    print(table(rows))
    if arguments.write:
        readme.put("bench", table(rows))
    if arguments.json:
        text = json.dumps([asdict(row) for row in rows], indent=1)
        arguments.json.write_text(text + "\n", encoding="utf-8")
    return 0 if all(row.kept for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
