"""What each pass of the catalogue makes of its innocent models, and of what lies next to them, graph for graph.

The graphs are stored below ``fixtures/``: a change of what a pass does is *pass drift*, one of what it is given
*capture drift*. What a pass must leave alone is the same before and after.
"""

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

import fxpect
from fxpect.errors import CaptureError, InputDrift, PassCrash
from fxpect.examples import Example
from fxpect.oracles.judge import ALWAYS
from fxpect.passes.catalogue import CataloguedPass, Innocent, catalogue
from fxpect.passes.firing import pass_of, start
from fxpect.passes.known_bugs import load, table_path
from fxpect.specs import TensorSpec
from fxpect.strategies.draft import Inapplicable
from fxpect.strategies.near import edits, step

BUGS = load(table_path(Path(__file__).parents[2]))
# Passes that are for float32 alone, and how they say so.
FLOAT32_ONLY = {"fx.optimize_for_inference": "this pass is only for torch.float modules"}
# Passes that compare a symbolic size with a number, a flaw that no stand-alone script shows, and how it is told.
FIXES_SIZES = {"post_grad.cat_splitwithsizes": "expected a pass that assumes nothing new of the sizes"}


class RewriteTests(fxpect.PassTestCase):
    """One test for each pass, on each of its models; the first that can be so also with the sizes of its inputs left
    open, in float64, and with the first value in it, or the middle one, returned as well.
    """

    golden = True

    def check(self, entry: CataloguedPass) -> None:
        """Hold each case of a pass to the oracles, but for known bugs, and to what is stored for it."""
        for label, example in cases_of(entry):
            with self.subTest(entry.name, case=label):
                self.check_case(entry, label, example)

    def check_case(self, entry: CataloguedPass, label: str, example: Example) -> None:
        """Hold one case to the oracles and to what is stored."""
        if label.endswith(", double") and entry.name in FLOAT32_ONLY:
            with self.assertRaisesRegex(PassCrash, FLOAT32_ONLY[entry.name]):
                fxpect.run_pass(pass_of(entry), example)
            return
        if example.is_dynamic and entry.name in FIXES_SIZES:
            with self.assertRaisesRegex(fxpect.CheckFailure, FIXES_SIZES[entry.name]):
                self.assertPreserves(pass_of(entry), example, label=label, oracles=("generality",))
            return
        result = self.assertPreserves(
            pass_of(entry), example, label=label, known=BUGS, severity=entry.severity or None,
            oracles=(*ALWAYS, "generality") if example.is_dynamic else ALWAYS,
            order="program" if entry.writes == "order" else "canonical")
        if entry.writes in ("names", "types"):  # of which a graph text holds nothing
            notes = [str(getattr(node, entry.writes[:-1])) for node in result.execution.after.graph.nodes]
            self.assertText("\n".join(notes), f"{label}, {entry.writes}")


def cases_of(entry: CataloguedPass) -> Iterator[tuple[str, Example]]:
    """Yield label and example of each case; raises ``InputDrift`` where a model is no longer captured."""
    models = sorted(entry.models, key=lambda model: bool(model.torch))  # those that every torch has come first
    innocent = {model.name: as_it_is(entry, model) for model in models}
    yield from innocent.items()
    for word, variant in {"dynamic": with_open_sizes, "double": in_double}.items():
        yield from first_that_can(entry, models, word, variant)
    found = ((name, read_again(example)) for name, example in innocent.items())
    name, variants = next(((name, variants) for name, variants in found if variants), ("", {}))
    for place, example in variants.items():
        yield f"{name}, {place} value returned too", example


def as_it_is(entry: CataloguedPass, model: Innocent) -> Example:
    """Return the model's own graph."""
    try:
        return start(entry, model)
    except CaptureError as error:
        raise InputDrift("input", f"model {model.name!r} is no longer captured with torch {torch.__version__}: {error}",
                         pass_name=entry.name) from error


def first_that_can(entry: CataloguedPass, models: list[Innocent], word: str,
                   variant: Callable[[Innocent], Innocent | None]) -> Iterator[tuple[str, Example]]:
    """Yield label and example of the first model whose variant is captured; one whose sizes all came out fixed is not.
    """
    for model in models:
        changed = variant(model)
        if changed is None:
            continue
        try:
            example = start(entry, changed)
        except CaptureError:
            continue
        if word != "dynamic" or example.is_dynamic:
            yield f"{model.name}, {word}", example
            return


def with_open_sizes(model: Innocent) -> Innocent | None:
    """Return the model with every size of its inputs left open; None for a text, which stands as it is."""
    return None if isinstance(model.model, str) else dataclasses.replace(model, dynamic=True)


def in_double(model: Innocent) -> Innocent | None:
    """Return the model with float64 in the place of float32; None where there is nothing to replace."""
    inputs = tuple(spec.replace(dtype=torch.float64) if isinstance(spec, TensorSpec) and spec.dtype == torch.float32
                   else spec for spec in model.inputs)
    if isinstance(model.model, str) or inputs == model.inputs:
        return None
    module = isinstance(model.model, torch.nn.Module)
    return dataclasses.replace(model, inputs=inputs, model=copy.deepcopy(model.model).double() if module
                               else model.model)


def read_again(example: Example) -> dict[str, Example]:
    """Return the example with the first of its inner values returned as well, and with the middle one, by place."""
    # What an empty tensor holds is not determined.
    inner = {f"{node.name} returned too" for node in example.graph_module.graph.nodes
             if node.op.startswith("call") and "empty" not in str(node.target)}
    found = []
    for edit in edits(example, ("outputs",))["outputs"]:
        if edit.what in inner:
            with contextlib.suppress(Inapplicable):  # what hangs on a tangent is no output of a forward
                found.append(step(example, edit))
    places = {len(found) // 2: "middle", 0: "first"}
    return {place: found[index] for index, place in places.items() if found}


def _add_tests() -> None:
    """Give the class one test for each pass that the installed torch has."""
    for entry in catalogue():
        def test(self, entry=entry):
            self.check(entry)

        test.__name__ = f"test_{entry.name.replace('.', '_')}"
        test.__qualname__ = f"RewriteTests.{test.__name__}"
        test.__doc__ = f"{entry.name} {entry.does}."
        setattr(RewriteTests, test.__name__, test)


_add_tests()

if __name__ == "__main__":
    fxpect.run_tests()
