"""What the oracles look at: one graph before a pass, one after it, and what running them shows."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import torch

from fxpect.errors import CheckFailure
from fxpect.oracles.arbiter import Arbiter
from fxpect.oracles.causes import crash_cause
from fxpect.oracles.difference import form_difference, same_bits
from fxpect.oracles.epilogue import Epilogue
from fxpect.oracles.observe import Observation, observe
from fxpect.oracles.randomness import flat_outputs, random_outputs
from fxpect.oracles.state import state_of
from fxpect.oracles.tracing import TracingRun

ERROR, NOTE = "error", "note"


class Evidence:
    """One rewrite and everything about it that an oracle may ask for; each run happens at most once.

    ``before`` and ``after`` are the graphs, ``args`` fresh flat arguments (never written to). ``ran`` is
    the run of the generated code after the pass, ``interpreted`` the node-by-node run of the same graph.
    ``grads`` runs the graphs with autograd on, ``backward`` also through it. ``returns_as_is`` says that a caller
    gets the very tensors that the graph returns, as from Dynamo's graphs; AOTAutograd makes views of inputs anew.
    ``called_by_name`` says that a caller may give inputs by keyword, as those of what was traced symbolically do.
    """

    def __init__(
        self,
        before: torch.fx.GraphModule,
        after: torch.fx.GraphModule,
        args: Sequence[Any],
        *,
        pass_name: str | None = None,
        meta_key: str = "val",
        seed: int = 0,
        grads: bool = False,
        backward: bool = True,
        epilogues: tuple[Epilogue | None, Epilogue | None] = (None, None),
        returns_as_is: bool = False,
        called_by_name: bool = False,
    ):
        self.before, self.after, self.args = before, after, list(args)
        self.pass_name, self.meta_key, self.seed = pass_name, meta_key, seed
        self.grads, self.backward = grads, backward
        self.epilogues = epilogues
        self.returns_as_is, self.called_by_name = returns_as_is, called_by_name

    def at(self, args: Sequence[Any], after: torch.fx.GraphModule | None = None, *, grads: bool = False) -> Evidence:
        """Return the evidence of the same rewrite at other arguments, without a backward; ``grads`` is autograd on."""
        return Evidence(
            self.before,
            after or self.after,
            args,
            pass_name=self.pass_name,
            meta_key=self.meta_key,
            seed=self.seed,
            grads=grads,
            backward=False,
            epilogues=self.epilogues,
            returns_as_is=self.returns_as_is,
            called_by_name=self.called_by_name,
        )

    def observe_before(self, **options: Any) -> Observation:
        """Run the graph before the pass; the options are those of ``observe``."""
        return observe(self.before, self.args, **{"seed": self.seed, "epilogue": self.epilogues[0], **options})

    def observe_after(self, **options: Any) -> Observation:
        """Run the graph after the pass; the options are those of ``observe``."""
        return observe(self.after, self.args, **{"seed": self.seed, "epilogue": self.epilogues[1], **options})

    @functools.cached_property
    def expected(self) -> Observation:
        """The run of the graph before the pass."""
        return self.observe_before(grads=self.grads, backward=self.backward)

    @functools.cached_property
    def ran(self) -> Observation:
        """The run of the generated code of the graph after the pass."""
        return self.observe_after(grads=self.grads, backward=self.backward)

    @functools.cached_property
    def interpreted(self) -> Observation:
        """The node-by-node run of the graph after the pass, with a trace of every node."""
        runs: list[TracingRun] = []

        def make(gm: torch.fx.GraphModule) -> TracingRun:
            runs.append(TracingRun(gm))
            return runs[-1]

        draws = self.ran.error is not None or self.ran.drew
        options = {} if draws else {"seed": None}
        seen = self.observe_after(grads=self.grads, backward=False, interpreter=make, **options)
        seen.trace, seen.stopped_at, seen.reshaped = runs[0].trace, runs[0].current, runs[0].reshaped
        return seen

    @functools.cached_property
    def state_before(self) -> dict[str, torch.Tensor]:
        """The module's tensors before the pass, as they are before a run."""
        return state_of(self.before)

    @functools.cached_property
    def state_after(self) -> dict[str, torch.Tensor]:
        """The module's tensors after the pass, as they are before a run."""
        return state_of(self.after)

    @functools.cached_property
    def changed_attributes(self) -> set[str]:
        """Paths of the module's tensors that the pass changed, added or took away."""
        old, new = self.state_before, self.state_after
        if not old and not new:
            return set()
        return (old.keys() ^ new.keys()) | {
            path
            for path in old.keys() & new.keys()
            if form_difference(old[path], new[path]) is not None or not same_bits(old[path], new[path])
        }

    @functools.cached_property
    def random_outputs(self) -> set[int]:
        """The flat outputs of the graph before the pass that depend on random numbers."""
        return random_outputs(self)

    @property
    def actual(self) -> Observation:
        """The run that the graph is judged by: its code, or node by node where the code does not run."""
        return self.ran if self.ran.error is None else self.interpreted

    @functools.cached_property
    def arbiter(self) -> Arbiter:
        """Tells wrong numbers from rounded ones; costs nothing until it is asked."""
        options = {"grads": self.grads, "backward": self.backward}
        rewritten = Arbiter(self.after, functools.partial(self.observe_after, **options))
        return Arbiter(self.before, functools.partial(self.observe_before, **options), rewritten=rewritten)

    def output_name(self, index: int, *, before: bool = False) -> str | None:
        """Return the name of the node that gives one flat output."""
        if before:
            counts = {node.name: len(given.values) for node, given in self.arbiter.clean.items()}
        else:
            counts = {name: len(forms) for name, forms in self.interpreted.trace.items()}
        leaves = flat_outputs(self.before if before else self.after, counts)
        node = leaves[index] if index < len(leaves) else None
        return node.name if isinstance(node, torch.fx.Node) else None

    def failure(
        self,
        oracle: str,
        cause: str,
        message: str,
        *,
        node: str | None = None,
        severity: str = ERROR,
        kind: type[CheckFailure] = CheckFailure,
    ) -> CheckFailure:
        """Return a failure of this rewrite; ``cause`` is completed to "oracle:cause"."""
        made = kind(oracle, message, pass_name=self.pass_name, node=node, cause=f"{oracle}:{cause}")
        return stamped(made, severity)

    def crash(
        self,
        what: str,
        error: Exception,
        message: str,
        *,
        node: str | None = None,
        function: str | None = None,
        kind: type[CheckFailure] = CheckFailure,
    ) -> CheckFailure:
        """Return the failure for something that raised; the exception is its cause."""
        made = self.failure("crash", "", message, node=node, kind=kind)
        made.cause = crash_cause(what, error, function)
        made.__cause__ = error
        return made


Failure = TypeVar("Failure", bound=CheckFailure)


def stamped(failure: Failure, severity: str) -> Failure:
    """Return the failure marked as an "error" (wrong result, crash, metadata) or a "note" (hygiene)."""
    vars(failure)["severity"] = severity
    return failure


def severity_of(failure: CheckFailure) -> str:
    """Return how a failure weighs: "error" unless it was stamped otherwise."""
    return vars(failure).get("severity", ERROR)


def raise_first(failures: Iterable[CheckFailure]) -> None:
    """Raise the first of these failures that is an error; notes stay silent."""
    for failure in failures:
        if severity_of(failure) == ERROR:
            raise failure
