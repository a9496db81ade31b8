"""The work that ``bench.py`` measures: what fxpect does, and what a person would write by hand instead."""

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path


def ten_operators(seed: int):
    """Return a module of ten operators over two tensors of one shape, two of which a pass can drop."""
    import torch

    rng = random.Random(seed)
    choice = [(rng.choice((torch.add, torch.mul, torch.sub, torch.maximum)), rng.random()) for _ in range(4)]

    class Model(torch.nn.Module):
        def forward(self, x, y):
            for operator, number in choice:
                x = torch.tanh(operator(x, y) + number) if number < 0.5 else operator(x, y).relu()
            return x.relu().relu() + 1, y

    return Model()


def drop_double_relu(gm) -> None:
    """Replace relu(relu(x)) by relu(x)."""
    import torch

    relu = torch.ops.aten.relu.default
    for node in gm.graph.find_nodes(op="call_function", target=relu):
        if node.args[0].target is relu:
            node.replace_all_uses_with(node.args[0])
            gm.graph.erase_node(node)


def explored(models: list, count: int) -> Callable[[], None]:
    """Return a property over ``models``, each on ``count`` inputs."""
    from hypothesis import strategies as st

    import fxpect
    from fxpect import T

    @fxpect.explore(st.integers(0, len(models) - 1), max_examples=len(models))
    def check(number):
        fxpect.assert_preserves(drop_double_relu, models[number], T(4, 8), T(4, 8), capture="export-nonstrict",
                                seeds=count)
    return check


def bare_property(models: list, count: int) -> None:
    """Do what a person would write by hand instead."""
    import torch

    for model in models:
        before = torch.export.export(model, (torch.randn(4, 8), torch.randn(4, 8)), strict=False).graph_module
        after = rewritten(before, drop_double_relu)
        generator = torch.Generator().manual_seed(0)
        for _ in range(count):
            inputs = [torch.randn(4, 8, generator=generator) for _ in range(2)]
            compare(before(*inputs), after(*inputs))


def rewritten(before, pass_):
    """Return what a pass makes of a copy of the graph, compiled."""
    import torch

    graph = torch.fx.Graph()
    graph.output(graph.graph_copy(before.graph, {}))
    after = torch.fx.GraphModule(before, graph)
    pass_(after)
    after.recompile()
    return after


def compare(expected, got) -> None:
    """Compare the outputs of two graphs."""
    import torch

    for one, other in zip(expected, got):
        if not torch.equal(one, other):
            torch.testing.assert_close(one, other, equal_nan=True)


def bare_near(pass_, recorded: list) -> None:
    """Rebuild, type, rewrite, compile, run and compare each example; what does not run or differs is counted."""
    import torch
    from torch.fx.passes.fake_tensor_prop import FakeTensorProp

    broken = 0
    for example, inputs in recorded:
        try:
            with torch.no_grad():
                before = rewritten(example.graph_module, lambda gm: None)
                fakes = [node.meta["example_value"] for node in before.graph.find_nodes(op="placeholder")]
                mode = next(fake.fake_mode for fake in fakes if isinstance(fake, torch.Tensor))
                FakeTensorProp(before, mode).propagate_dont_convert_inputs(*fakes)
                after = rewritten(before, pass_)
                compare(*(gm.forward(*(value.clone() if isinstance(value, torch.Tensor) else value for value in inputs))
                          for gm in (before, after)))
        except Exception:
            broken += 1
    if 5 * broken > len(recorded):
        raise AssertionError(f"{broken} of {len(recorded)} examples are not judged")


def captured_anew(pass_, start) -> None:
    """Capture a model and judge the pass on it: what an example costs that is no edit of another one."""
    import fxpect
    from fxpect.capture import capture

    fxpect.judge(pass_, capture(start.model, start.inputs, capture=start.capture))


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


def write_proposals(root: Path) -> dict[Path, bytes]:
    """Propose another result for each case below ``root``; return every file of store and proposals as it is then."""
    import dataclasses

    from fxpect.fixtures.format import Document, digest, format_case
    from fxpect.fixtures.pending import AFTER_CHANGED, Entry
    from fxpect.fixtures.store import Store

    store = Store(root)
    lines = []
    for path, document in store.documents():
        assert isinstance(document, Document)
        for case in document.cases:
            new = dataclasses.replace(case, after=(case.after or "").replace("torch.sub", "torch.mul"))
            lines.append(Entry(path, document.test, case.key, AFTER_CHANGED, format_case(new), compared=case.key,
                               digest=digest(case), torch="2.13.0", run="bench", pid=1, attempt=1).to_json())
    file = store.pending.folder / "bench" / "1.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {path: path.read_bytes() for path in (file, *root.rglob("*.fx"))}


def accept_store(root: Path, files: dict[Path, bytes]) -> None:
    """Put the files back, and accept everything that is proposed, as ``fxpect accept --all`` does."""
    from fxpect.fixtures.accept import ACCEPTED, accept
    from fxpect.fixtures.store import Store

    for path, data in files.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    outcomes = accept(root, Store(root).pending.live(), deep_sweep=True)
    if not outcomes or any(outcome.status != ACCEPTED for outcome in outcomes) or Store(root).pending.live():
        raise AssertionError(f"not everything proposed below {root} was accepted")


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
