"""Passes that are right whatever comes near their models: no check of them may ever report anything."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from fxpect import T
from test.quality import passes_aten, passes_modules, passes_torch

x28, x44 = T(2, 8), T(4, 4)
integers = T(2, 8, dtype=torch.int64)
HEADS = (T(3, 4), T(3), T(2, 4), T(2))


@dataclasses.dataclass(frozen=True, eq=False)
class CorrectPass:
    """A pass and the innocent models that it is explored from, each with its inputs.

    ``fires`` is False where the pass leaves every such graph's text as it is.
    """

    function: Callable[..., Any]
    models: tuple[tuple[Any, tuple[Any, ...]], ...]
    capture: str = "export"
    fires: bool = True

    @property
    def name(self) -> str:
        """The name of the function."""
        return self.function.__name__


class Block(nn.Module):
    """A linear, an activation and what evaluation takes out."""

    def __init__(self) -> None:
        super().__init__()
        self.keep, self.linear, self.relu, self.dropout = nn.Identity(), nn.Linear(4, 3), nn.ReLU(), nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the negated activation."""
        return self.dropout(self.relu(-self.linear(self.keep(x)))) + 1


DEAD = """
def forward(self, x: "f32[2, 8]"):
    relu: "f32[2, 8]" = torch.ops.aten.relu.default(x)
    neg: "f32[2, 8]" = torch.ops.aten.neg.default(relu)
    exp: "f32[2, 8]" = torch.ops.aten.exp.default(neg)
    sin: "f32[2, 8]" = torch.ops.aten.sin.default(x)
    return (relu,)
"""


def _negated(x: torch.Tensor) -> torch.Tensor:
    return (-x).neg() + 1


def _transposed(x: torch.Tensor) -> torch.Tensor:
    return x.transpose(0, 1).transpose(1, 0) * 2


def _activated(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(torch.relu(x)) * 2


def _shifted(x: torch.Tensor) -> torch.Tensor:
    return ((x - 0.0) * 2 + 0) * 3


def _shifted_integers(x: torch.Tensor) -> torch.Tensor:
    return (x + 0) * 2 - 0


def _scaled(x: torch.Tensor) -> torch.Tensor:
    return torch.sin(x * 1) / 1 + 2


def _repeated(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.sin(x + y) * torch.exp(x + y)


def _filled(x: torch.Tensor) -> torch.Tensor:
    return x + (torch.full((2, 8), 2) + 3)


def _one_part(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x], 0) + 1


def _joined(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.relu(torch.cat([x, y], 1)) * 2


def _cut_and_joined(x: torch.Tensor) -> torch.Tensor:
    return torch.cat(x.split(2, 1), 1) + 1


def _viewed(x: torch.Tensor) -> torch.Tensor:
    return x.view(4, 4).view(2, 2, 4) + 1


def _viewed_by_size(x: torch.Tensor) -> torch.Tensor:
    return x.view(-1).view(x.shape[0] * 2, 4) + 1


def _permuted(x: torch.Tensor) -> torch.Tensor:
    return x.permute(1, 2, 0).permute(1, 2, 0) + 1


def _cut(x: torch.Tensor) -> torch.Tensor:
    first, second, third = x.split([1, 2, 5], 1)
    return first * second.sum() + third.sum()


def _undropped(x: torch.Tensor) -> torch.Tensor:
    return F.dropout(x, 0.5, training=False) + 1


def _early(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    first, second = torch.sin(x), torch.exp(y)
    return torch.relu(second) * 2 + first


def _method_relu(x: torch.Tensor) -> torch.Tensor:
    return (x * 2).relu() + F.relu(x)


def _concat(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.concat([x, y], -1) * 2


def _sum_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (x + y).add(y) * 2


def _ratio(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (x / y).div(y) * 2


def _product(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.einsum("ij,jk->ik", x, y) + 1


def _heads(x: torch.Tensor, *state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return F.linear(x, *state[:2]), torch.relu(F.linear(x, *state[2:]))


def _flat(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x).view(-1) + 1


def _correct_passes() -> list[CorrectPass]:
    aten, torch_level, modules = passes_aten, passes_torch, passes_modules
    return [
        CorrectPass(aten.keep_everything, ((_joined, (x28, T(2, 4))),), fires=False),
        CorrectPass(aten.rename_values, ((_joined, (x28, T(2, 4))),), fires=False),
        CorrectPass(aten.remove_dead_code, ((DEAD, (x28,)),)),
        CorrectPass(aten.remove_double_negation, ((_negated, (x28,)),)),
        CorrectPass(aten.remove_transpose_pairs, ((_transposed, (x28,)),)),
        CorrectPass(aten.remove_repeated_relu, ((_activated, (x28,)),)),
        CorrectPass(aten.remove_added_zero, ((_shifted, (x28,)), (_shifted_integers, (integers,)))),
        CorrectPass(aten.remove_factor_one, ((_scaled, (x28,)),)),
        CorrectPass(aten.share_equal_calls, ((_repeated, (x28, x28)),)),
        CorrectPass(aten.fold_constant_sums, ((_filled, (integers,)),)),
        CorrectPass(aten.copy_single_cat, ((_one_part, (x28,)),)),
        CorrectPass(aten.sink_cat_below_relu, ((_joined, (x28, T(2, 4))),)),
        CorrectPass(aten.copy_split_cat, ((_cut_and_joined, (x28,)),)),
        CorrectPass(aten.merge_views, ((_viewed, (x28,)), (_viewed_by_size, (x28,)))),
        CorrectPass(aten.merge_permutes, ((_permuted, (T(2, 3, 4),)),)),
        CorrectPass(aten.slice_for_split, ((_cut, (x28,)),)),
        CorrectPass(aten.drop_inert_dropout, ((_undropped, (x28,)),)),
        CorrectPass(aten.postpone_calls, ((_early, (x28, x28)),)),
        CorrectPass(aten.replace_single_relus, ((_activated, (x28,)),)),
        CorrectPass(torch_level.spell_relu_as_function, ((_method_relu, (x28,)),), "dynamo"),
        CorrectPass(torch_level.spell_cat_with_dim, ((_concat, (x28, T(2, 4))),), "dynamo"),
        CorrectPass(torch_level.spell_add_as_function, ((_sum_of, (x28, x28)),), "dynamo"),
        CorrectPass(torch_level.spell_division_as_function, ((_ratio, (x28, x28)),), "dynamo"),
        CorrectPass(torch_level.drop_dropout_of_evaluation, ((_undropped, (x28,)),), "dynamo"),
        CorrectPass(torch_level.multiply_for_einsum, ((_product, (T(2, 3), T(3, 4))),), "dynamo"),
        CorrectPass(torch_level.narrow_for_split, ((_cut, (x28,)),), "dynamo"),
        CorrectPass(torch_level.merge_linears, ((_heads, (x44, *HEADS)),), "dynamo"),
        CorrectPass(torch_level.say_sizes_of_flatten, ((_flat, (x28,)),), "dynamo"),
        CorrectPass(modules.drop_inert_modules, ((Block().eval(), (x44,)),), "symbolic"),
        CorrectPass(modules.call_relu_for_module, ((Block().eval(), (x44,)),), "symbolic"),
        CorrectPass(modules.negate_inside_linear, ((Block().eval(), (x44,)),), "symbolic"),
    ]


CORRECT = {entry.name: entry for entry in _correct_passes()}
