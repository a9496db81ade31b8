"""What a pass did to the module itself: its tensors, its submodules' modes and hooks."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from fxpect.errors import CheckFailure
from fxpect.execution import Execution
from fxpect.oracles.difference import same_bits
from fxpect.oracles.evidence import ERROR, NOTE, Evidence, stamped

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
    for path, old in before.items():
        new = after.get(path)
        if path and new is not None and _computes(old, new) and old.training != new.training:
            words = f"submodule {path}: expected training={old.training}; got {new.training}"
            yield evidence.failure("effects", "training-mode", words)
        if path and _hooks(old) and (new is None or _hooks(new) != _hooks(old)):
            words = f"submodule {path}: expected {_hooks(old)} hooks; got {0 if new is None else _hooks(new)}"
            yield evidence.failure("effects", "hooks", words)


def _computes(old: torch.nn.Module, new: torch.nn.Module) -> bool:
    """Whether these are one kind of module that computes something: a mere container has no mode that counts."""
    return type(old) is type(new) and type(old) is not torch.nn.Module


def _hooks(module: torch.nn.Module) -> int:
    return sum(len(getattr(module, store)) for store in _HOOKS)


def find_leaks(execution: Execution) -> Iterator[CheckFailure]:
    """Yield the process-wide settings that the pass left changed; numbers it drew itself are a note."""
    for name in execution.leaks:
        words = f"expected the pass to leave the {name} as it was; got it changed"
        failure = CheckFailure("effects", words, pass_name=execution.pass_name, cause=f"effects:leak:{name}")
        yield stamped(failure, NOTE if "random" in name else ERROR)
