"""Bugs of shipped passes that were met by hand: each with the example that shows it, and what a finding of it says."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from fxpect import T
from fxpect.campaign.finding import Finding
from fxpect.capture import capture
from fxpect.examples import Example
from fxpect.passes.catalogue import applies, find

aten = torch.ops.aten


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """One bug: what it is, the pass of the catalogue, a model that shows it, and by which oracles.

    ``says`` are regular expressions: a finding is of this bug where each is found in its text before, its inputs
    or its cause, and none of ``never``. ``torch`` is the condition of the versions that have it. Along ``directions``,
    ``examples`` examples find it, from the innocent models alone.
    """

    number: int
    what: str
    pass_name: str
    model: Callable[..., Any]
    inputs: tuple[Any, ...]
    oracles: tuple[str, ...]
    says: tuple[str, ...]
    directions: tuple[str, ...]
    examples: int = 100
    never: tuple[str, ...] = ()
    dynamic: bool = False
    capture: str = ""
    torch: str = ""

    @property
    def applies(self) -> bool:
        """Whether the bug is in the installed torch."""
        return applies(self.torch)

    def example(self) -> Example:
        """Return the example that shows the bug, captured as the pass wants it."""
        entry = find(self.pass_name)
        options: dict[str, Any] = {"frozen": True} if entry.frozen else {}
        if self.dynamic:
            options["dynamic"] = True
        return capture(self.model, self.inputs, capture=self.capture or entry.capture, **options)

    def explains(self, finding: Finding) -> bool:
        """Whether a finding is of this very bug."""
        text = f"{finding.cause}\n{finding.inputs}\n{finding.before}"
        return (
            finding.oracle in self.oracles
            and all(re.search(pattern, text) for pattern in self.says)
            and not any(re.search(pattern, text) for pattern in self.never)
        )


def _activated_bits(x, y):
    return torch.relu(torch.cat([x, y]).view(torch.int16))


def _into_buffers(x, y, joined, clamped):
    torch.cat([x, y], 0, out=joined)
    torch.clamp(x, 0, 1, out=clamped)
    return joined * 2, clamped * 2


def _scaled_logits(x):
    scaled = x * 0.5
    return scaled - scaled.amax(1, keepdim=True)


def _written_after_joining(x):
    doubled = x * 2
    joined = torch.cat(doubled.split(2, 0), 0)
    doubled.add_(1)
    return joined, doubled


def _scaled_bias(x, weight, bias):
    return torch.add(x @ weight, bias, alpha=3)


def _read_beside(x):
    return aten.cat([aten.select.int(x, 1, i) for i in range(2)], dim=1), aten.relu(x)


def _two_draws(x):
    return aten.exponential(x, 1.0) - aten.exponential(x, 1.0), aten.randn_like(x) - aten.randn_like(x)


class TwoScales(nn.Module):
    """Two convolutions, each times a number of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 3, 3), nn.Conv2d(2, 3, 3)

    def forward(self, x):
        return self.first(x) * 4.0, self.second(x) * 0.5


def _leaf_written(x):
    stacked = torch.stack(x.unbind(0), 0)
    stacked.mul_(2)
    return stacked + 1


def _empty_section(x):
    _, first, second, third = x.split([0, 1, 3, 2], 0)
    return torch.cat([first, second], 0), third * 2


def _rows_joined(x):
    return torch.cat(x.unbind(0), 0) * 2


def _diagonal(x, y, z):
    return torch.functional.einsum("abb,abbc->abc", x, y) + z


def _written_between(x, weight):
    source = x + 0
    first = F.linear(source, weight)
    source.mul_(3)
    return first + F.linear(source, weight)


def _not_dropped(x, y):
    return F.dropout(x, 0.5, False, False) * 2, F.dropout(y, 0.5, False, False) * 2


def _padded(x, weight, bias, mean, var):
    return F.batch_norm(F.conv2d(x, weight, bias=bias, padding=1), mean, var)


def _not_padded(x, weight, bias, mean, var):
    return F.batch_norm(torch.conv2d(x, weight, bias), mean, var)


class SharedConv(nn.Module):
    """A convolution called twice; a batch norm, which has seen data, behind the first call alone."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)
        self.norm.running_mean.fill_(0.5)
        self.norm.running_var.fill_(4.0)

    def forward(self, x, y):
        return self.norm(self.conv(x)), self.conv(y)


def _keywords(x, y):
    return torch.add(x, y, alpha=5), torch.div(x, y, rounding_mode="trunc")


def _times_zero(x):
    return x * 0


def _plus_zeros(x):
    return x + torch.zeros_like(x)


CONV = (T(2, 2, 5, 5), T(3, 2, 3, 3), T(3), T(3), T(3, values="positive"))
WRITE = r"\b(add_|mul_|zero_|setitem|iadd|imul|copy_|logical_not_)\b"

SAMPLES = (
    Sample(
        1,
        "a view of the joined bits is taken for a reshape",
        "pre_grad.sink_cat_after_pointwise",
        _activated_bits,
        (T(4), T(4)),
        ("numerics",),
        (r"\.view\((dtype=)?torch\.(int|float|bfloat)|view\.dtype", r"cat"),
        ("inserted",),
        examples=300,
    ),
    Sample(
        6,
        "a buffer given by out= is never written",
        "pre_grad.normalization_pass",
        _into_buffers,
        (T(3), T(3), T(6, values="zeros"), T(3, values="zeros")),
        ("numerics", "effects"),
        (r"out=",),
        ("out",),
    ),
    Sample(
        10,
        "a copy becomes an alias, and what it is of is written to",
        "pre_grad.split_cat_pass",
        _written_after_joining,
        (T(4, 3),),
        ("numerics", "effects", "crash", "gradients"),
        (WRITE, r"cat|stack"),
        ("writes",),
        never=(r"out=",),
    ),
    Sample(
        16,
        "the copy of a leaf becomes the leaf, and is written to",
        "pre_grad.unbind_stack_pass",
        _leaf_written,
        (T(3, 2, requires_grad=True),),
        ("crash", "gradients"),
        (r"requires_grad=True", WRITE),
        ("gradients", "writes"),
    ),
    Sample(
        20,
        "an empty section shifts the index of what is read",
        "pre_grad.merge_getitem_cat_pass",
        _empty_section,
        (T(6, 2),),
        ("numerics", "crash"),
        (r"split\w*\(.*\[(\d+, )*0(, \d+)*\]",),
        ("sections",),
    ),
    Sample(
        28,
        "symbolic sizes are written into the arguments",
        "pre_grad.unbind_cat_to_view_pass",
        _rows_joined,
        (T(2, 5),),
        ("generality", "crash", "structure"),
        (r"raw-symbol|[Ss]ym", r"SymInt|s\d+"),
        ("outputs",),
        dynamic=True,
    ),
    Sample(
        39,
        "a subscript met twice in one operand is lost",
        "pre_grad.einsum_to_pointwise_pass",
        _diagonal,
        (T(2, 3, 3), T(2, 3, 3, 4), T(2, 3, 4)),
        ("numerics", "crash"),
        (r"einsum\(.*['\",](\w*)(\w)(\w*)\2(\w*)[,-]",),
        ("equations",),
    ),
    Sample(
        47,
        "linears are merged across a write to what they read",
        "pre_grad.batch_linear_lhs",
        _written_between,
        (T(3, 4), T(5, 4)),
        ("numerics", "effects"),
        (WRITE, r"linear"),
        ("writes",),
        never=(r"out=",),
    ),
    Sample(
        51,
        "dropout that is off is turned on",
        "pre_grad.batch_dropout",
        _not_dropped,
        (T(8, values="ones"),) * 2,
        ("numerics", "effects"),
        (r"dropout\(.*False",),
        ("keywords",),
        never=(WRITE, r"out=", r"training=False"),
        torch="<2.15",
    ),
    Sample(
        64,
        "keyword arguments of the convolution are dropped",
        "pre_grad.efficient_conv_bn_eval_pass",
        _padded,
        CONV,
        ("numerics", "crash", "metadata"),
        (r"conv\dd\(.*(bias|padding|stride|dilation|weight|groups)=",),
        ("keywords",),
    ),
    Sample(
        68,
        "the code of the rewritten graph is no Python",
        "pre_grad.efficient_conv_bn_eval_pass",
        _not_padded,
        CONV,
        ("structure",),
        (r"structure:code:", r"conv"),
        ("outputs",),
    ),
    Sample(
        72,
        "a module that another call shares is folded",
        "pre_grad.fuse_conv_bn",
        SharedConv().eval(),
        (T(2, 2, 5, 5), T(2, 2, 5, 5)),
        ("numerics",),
        (r"(self\.\w*conv\w*)\((.|\n)*\1\(",),
        ("copies",),
    ),
    Sample(
        86,
        "alpha and rounding_mode are dropped",
        "fx.normalize_operators",
        _keywords,
        (T(4), T(4)),
        ("numerics",),
        (r"alpha=|rounding_mode=",),
        ("values",),
    ),
    Sample(
        95,
        "NaN and infinities times zero become zero",
        "joint.constant_fold_uniform_value",
        _times_zero,
        (T(8, values="special"),),
        ("numerics",),
        (r"numerics:nan", r"mul"),
        ("input_values",),
        examples=200,
        torch="<2.15",
    ),
    Sample(
        98,
        "an output becomes the input itself",
        "joint.remove_no_ops",
        _plus_zeros,
        (T(4),),
        ("effects",),
        (r"output-aliases-input",),
        ("removed",),
    ),
    Sample(
        104,
        "the maximum is subtracted in eight bits",
        "joint.mul_softmax_pattern",
        _scaled_logits,
        (T(2, 3, dtype=torch.int8, values=((127, -128, 5), (1, 2, 3))),),
        ("numerics",),
        (r"\b[iu]8\[",),
        ("dtypes", "input_values"),
    ),
    Sample(
        114,
        "alpha of the sum is dropped",
        "post_grad.addmm",
        _scaled_bias,
        (T(3, 4), T(4, 5), T(3, 5)),
        ("numerics",),
        (r"alpha=",),
        ("values",),
        torch="<2.15",
    ),
    Sample(
        123,
        "another reader of the tensor that is selected from",
        "post_grad.select_cat_aten_pass",
        _read_beside,
        (T(3, 2, 4),),
        ("crash",),
        (r"crash:pass", r"select"),
        ("extra_users",),
        torch="<2.15",
    ),
    Sample(
        130,
        "two draws become one",
        "functorch.fx_graph_cse",
        _two_draws,
        (T(16, values="zeros"),),
        ("numerics", "effects"),
        (r"random-values|rng", r"aten\.(\w+)[^\n]*\n(.|\n)*aten\.\1"),
        ("random",),
        capture="make_fx",
        torch="<2.15",
    ),
    Sample(
        133,
        "two numbers share one buffer",
        "freezing.binary_folding",
        TwoScales().eval(),
        (T(2, 2, 6, 6),),
        ("numerics",),
        (r"numerics:values", r"conv\w*\.default\((.|\n)*conv\w*\.default\(", r"mul|div|add|sub"),
        ("copies", "removed"),
        examples=400,
    ),
)
