"""What a pass did to the module itself: its tensors, its submodules' modes and hooks."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from fxpect.errors import CheckFailure
from fxpect.execution import Execution
from fxpect.oracles.difference import form_difference, same_bits
from fxpect.oracles.evidence import ERROR, NOTE, Evidence, stamped
from fxpect.oracles.memory import storage_key
from fxpect.oracles.state import state_of

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def find_attribute_changes(evidence: Evidence) -> Iterator[CheckFailure]:
    """Yield attributes that the pass changed (notes: folding does), lost writes, modes and hooks."""
    written = evidence.expected.state
    for path in sorted(evidence.changed_attributes & evidence.state_before.keys()):
        if path in evidence.state_after:
            words = f"attribute {path}: the pass gave it another value"
            yield evidence.failure("effects", "attribute-changed", words, severity=NOTE)
        elif not same_bits(written[path], evidence.state_before[path]):
            words = f"attribute {path}: expected the call to write to it, as before; got a module without it"
            yield evidence.failure("effects", "state-not-mutated", words)
    before, after = dict(evidence.before.named_modules()), dict(evidence.after.named_modules())
    called = tuple(f"{node.target}." for node in evidence.before.graph.nodes if node.op == "call_module")
    for path, old in before.items():
        new = after.get(path)
        if path and new is not None and _computes(old, new) and old.training != new.training:
            words = f"submodule {path}: expected training={old.training}; got {new.training}"
            yield evidence.failure("effects", "training-mode", words)
        if not f"{path}.".startswith(called):
            continue  # its hooks do not run
        if _hooks(old) and (new is None or _hooks(new) != _hooks(old)):
            words = f"submodule {path}: expected {_hooks(old)} hooks; got {0 if new is None else _hooks(new)}"
            yield evidence.failure("effects", "hooks", words)


def _computes(old: torch.nn.Module, new: torch.nn.Module) -> bool:
    """Whether these are one kind of module that computes something: a mere container has no mode that counts."""
    return type(old) is type(new) and type(old) is not torch.nn.Module


def _hooks(module: torch.nn.Module) -> int:
    return sum(len(getattr(module, store)) for store in _HOOKS)


def find_untied(execution: Execution) -> Iterator[CheckFailure]:
    """Yield parameters and buffers that were one tensor before the pass and are two of equal values after it.

    An optimizer would then move them apart. Both the modules and the exported programs are looked at.
    """
    programs = execution.before.exported, execution.exported_after
    pairs = [(state_of(execution.before.graph_module), state_of(execution.after))]
    if programs[0] is not None and programs[1] is not None:
        pairs.append((programs[0].state_dict, programs[1].state_dict))
    for old, new in pairs:
        first: dict[int, str] = {}
        for path, tensor in old.items():
            other = first.setdefault(id(tensor), path)
            if other != path and path in new and other in new and _untied(new[other], new[path]):
                words = f"attributes {other} and {path}: expected one tensor, as before; got two"
                yield stamped(CheckFailure("effects", words, pass_name=execution.pass_name, cause="effects:untied"),
                              ERROR)


def _untied(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors say the same in places of their own."""
    if one is other or form_difference(one, other) is not None:
        return False
    return one.is_meta or storage_key(one) != storage_key(other) and same_bits(one, other)


def find_leaks(execution: Execution) -> Iterator[CheckFailure]:
    """Yield the process-wide settings that the pass left changed; numbers it drew itself are a note."""
    for name in execution.leaks:
        words = f"expected the pass to leave the {name} as it was; got it changed"
        failure = CheckFailure("effects", words, pass_name=execution.pass_name, cause=f"effects:leak:{name}")
        yield stamped(failure, NOTE if "random" in name else ERROR)
