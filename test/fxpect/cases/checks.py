"""The verbs as methods: a mixin for any ``unittest.TestCase``, torch's own included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import expecttest
import torch

from fxpect.cases.claims import PRESERVES, REWRITES, UNCHANGED, Claim, Trial
from fxpect.cases.counting import check_before, check_ops, find_after, parse_ops
from fxpect.cases.functions import hold
from fxpect.cases.goldens import Goldens
from fxpect.cases.phases import current
from fxpect.cases.recording import keep_text
from fxpect.cases.switches import accepting
from fxpect.errors import CheckFailure, FxpectError, PassDrift
from fxpect.examples import Example, copy_graph_module
from fxpect.execution import Execution, as_pass
from fxpect.fixtures.compare import line_diff
from fxpect.oracles.judge import Result
from fxpect.text.diff import in_words
from fxpect.text.printer import graph_text


class Checks:
    """The verbs for a test class; they call each other like this:

        assertRewrites / assertUnchanged / assertPreserves
            capture(model, inputs)      the graph that the pass is given
            ops, before                 InputDrift
            judge(pass, example)        every oracle
            changed or not, ops after   NoRewrite, UnexpectedRewrite
            the stored case             CaptureDrift, PassDrift, GoldenMissing

    ``capture`` is the capture of every verb that names none; ``golden`` says of every verb that names nothing
    whether a case that is not stored yet is a failure (True), or only stored ones are compared (None).
    """

    capture: str = "export"
    golden: bool | None = None

    def assertRewrites(
        self,
        pass_: Any,
        model: Any,
        *inputs: Any,
        ops: Mapping[Any, Any] | None = None,
        grads: bool | None = None,
        dynamic: bool | None = None,
        capture: str | None = None,
        golden: bool | None = None,
        label: str = "",
        **options: Any,
    ) -> Result:
        """Fail unless the pass changes the graph of ``model`` and everything still holds.

        The arguments are those of ``fxpect.assert_rewrites``. ``golden`` compares the graph after with the
        stored one (True: which must exist); ``label`` tells several calls of one test on one graph apart.
        """
        return self._hold(
            REWRITES,
            pass_,
            model,
            inputs,
            ops,
            golden,
            label,
            dict(options, grads=grads, dynamic=dynamic, capture=capture),
        )

    def assertUnchanged(
        self,
        pass_: Any,
        model: Any,
        *inputs: Any,
        ops: Mapping[Any, Any] | None = None,
        grads: bool | None = None,
        dynamic: bool | None = None,
        capture: str | None = None,
        golden: bool | None = None,
        label: str = "",
        **options: Any,
    ) -> Result:
        """Fail unless the pass leaves the canonical text as it is and everything holds."""
        return self._hold(
            UNCHANGED,
            pass_,
            model,
            inputs,
            ops,
            golden,
            label,
            dict(options, grads=grads, dynamic=dynamic, capture=capture),
        )

    def assertPreserves(
        self,
        pass_: Any,
        model: Any,
        *inputs: Any,
        ops: Mapping[Any, Any] | None = None,
        grads: bool | None = None,
        dynamic: bool | None = None,
        capture: str | None = None,
        golden: bool | None = None,
        label: str = "",
        **options: Any,
    ) -> Result:
        """Fail unless everything holds, whether the pass changes the graph or not; see ``assertRewrites``."""
        return self._hold(
            PRESERVES,
            pass_,
            model,
            inputs,
            ops,
            golden,
            label,
            dict(options, grads=grads, dynamic=dynamic, capture=capture),
        )

    def assertPipeline(
        self,
        passes: Mapping[str, Any],
        model: Any,
        *inputs: Any,
        ops: Mapping[Any, Any] | None = None,
        grads: bool | None = None,
        dynamic: bool | None = None,
        capture: str | None = None,
        golden: bool | None = None,
        **options: Any,
    ) -> dict[str, Result]:
        """Run named passes one after the other and fail at the first stage that breaks anything, by name.

        Each stage is judged on what the one before left. ``ops`` counts before the first and after the last
        stage. Returns the result of each stage by name.
        """
        if not isinstance(passes, Mapping) or not passes:
            raise FxpectError(f'expected a pipeline {{"name": pass, ...}}; got {passes!r}')
        options = dict(options, grads=grads, dynamic=dynamic, capture=capture or self.capture)
        claims = [Claim.make(PRESERVES, as_pass(fn, name=name), None, options) for name, fn in passes.items()]
        wishes = parse_ops(ops)
        example = claims[0].example(model, inputs)
        check_before(wishes, example.graph_module, pass_name=claims[0].pass_.name, capture=example.capture)
        results: dict[str, Result] = {}
        for i, claim in enumerate(claims):
            name = claim.pass_.name
            trial = hold(claim, example, f"{self._id()} stage {i + 1}/{len(claims)} {name}", name)
            self._settle(trial, name, golden)
            results[name] = trial.result
            execution = trial.result.execution
            assert execution is not None
            example = example.replace(
                graph_module=copy_graph_module(execution.after), exported=execution.exported_after
            )
        for failure in find_after(wishes, example.graph_module, pass_name=" + ".join(passes)):
            raise failure
        return results

    def assertGraph(self, graph: Any, label: str = "", *, order: str = "canonical") -> None:
        """Fail unless the canonical text of ``graph`` is the stored one of this test.

        ``graph`` is a GraphModule, a Graph, an ExportedProgram, an Example, or what a verb returned (its
        graph after). ``label`` tells several graphs of one test apart. Raises ``GoldenMissing`` where none
        is stored.
        """
        text = _text_of(graph, order)
        keep_text(text, label, graph)
        Goldens.of(self).settle_text(text, label)  # type: ignore[arg-type]

    def assertText(self, text: str, label: str = "") -> None:
        """Fail unless a text that is no graph (a message, a log of events) is the stored one of this test.

        It has to be free of accident already; ``fxpect.compiling.munge`` does that for messages of dynamo. ``label``
        and what is raised are those of ``assertGraph``.
        """
        if not isinstance(text, str) or not text.strip():
            raise FxpectError(f"expected a text to compare; got {text!r}")
        keep_text(text, label)
        Goldens.of(self).settle_text(text, label)  # type: ignore[arg-type]

    def assertExpectedGraphInline(self, graph: Any, expected: str, skip: int = 0, *, order: str = "canonical") -> None:
        """Fail unless the canonical text of ``graph`` is the string in the source.

        ``EXPECTTEST_ACCEPT=1`` writes the text into the source, which needs triple quotes. The string may be
        indented like the lines around it.
        """
        text = _text_of(graph, order)
        keep_text(text, "", graph)
        wanted = _unindented(expected)
        if wanted == text.strip("\n"):
            return
        with accepting(allowed=not current().fresh) as accepts:
            if not accepts:
                raise _inline_failure(wanted, text)
            expecttest.assert_expected_inline(text, expected, skip=skip + 1)

    def assertOps(self, graph: Any, ops: Mapping[Any, Any]) -> None:
        """Fail unless the graph holds these counts: ``{"torch.cat": 1, "aten.relu": ">=1"}``."""
        check_ops(_module_of(graph), ops)

    # ------------------------------------------------------------------ inside

    def _hold(
        self,
        verb: str,
        pass_: Any,
        model: Any,
        inputs: tuple[Any, ...],
        ops: Mapping[Any, Any] | None,
        golden: bool | None,
        label: str,
        options: dict[str, Any],
    ) -> Result:
        options["capture"] = options["capture"] or self.capture
        claim = Claim.make(verb, pass_, ops, options)
        trial = hold(claim, claim.example(model, inputs), f"{self._id()} {label}".rstrip(), label)
        self._settle(trial, label, golden)
        return trial.result

    def _settle(self, trial: Trial, label: str, golden: bool | None) -> None:
        if not isinstance(label, str):
            raise FxpectError(f"expected label= to be a string; got {label!r}")
        golden = self.golden if golden is None else golden
        if golden is not False:
            Goldens.of(self).settle_trial(trial, label, golden)  # type: ignore[arg-type]

    def _id(self) -> str:
        name = self.id() if hasattr(self, "id") else type(self).__name__
        return str(name).replace("__main__.", "")


def _module_of(graph: Any) -> torch.fx.GraphModule:
    """Return the graph module of whatever holds one."""
    if isinstance(graph, Result):
        graph = graph.execution
    if isinstance(graph, Execution):
        graph = graph.after
    if isinstance(graph, (Example, torch.export.ExportedProgram)):
        graph = graph.graph_module
    if isinstance(graph, torch.fx.Graph):
        graph = graph.owning_module
    if not isinstance(graph, torch.fx.GraphModule):
        raise FxpectError(
            "expected a GraphModule, an ExportedProgram, an Example, or what a verb returned; got "
            f"{type(graph).__name__}"
        )
    return graph


def _text_of(graph: Any, order: str) -> str:
    if isinstance(graph, (torch.export.ExportedProgram, torch.fx.Graph)):
        return graph_text(graph, order=order)
    return graph_text(_module_of(graph), order=order)


def _inline_failure(wanted: str, text: str) -> CheckFailure:
    lines = line_diff(wanted, text.strip("\n")).replace("--- stored", "--- the string in the source")
    return PassDrift(
        "inline",
        f"expected the text in the source; got another: {in_words(wanted, text)}\n"
        + "\n".join(f"    {line}" for line in lines.split("\n"))
        + "\n  next, to write it into the source:\n    EXPECTTEST_ACCEPT=1 and the same command",
        after=text,
        cause="inline text",
    )


def _unindented(text: str) -> str:
    lines = text.strip("\n").split("\n")
    depth = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join(line[depth:].rstrip() for line in lines).strip("\n")
