"""Small models whose exported graph holds what the passes of torch.export rewrite."""
# ruff: noqa: D102

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def linear_gelu(x, w, b):
    """Composite operators."""
    return F.gelu(F.linear(x, w, b))


def partly_without_gradients(x, w):
    """A target that is not trained, as a running teacher gives it."""
    with torch.no_grad():
        target = F.linear(x, w).sin()
    return F.gelu(F.linear(x, w)) - target


def under_autocast(x, w):
    """A product in lower precision."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        product = F.linear(x, w)
    return product + 1


def evaluated(x, w):
    """Dropout as it is in evaluation, where it returns what it is given."""
    return F.dropout(x, 0.5, False), F.gelu(w)


def linear_sine(x, w):
    """Two operators to be guarded."""
    return torch.sin(F.linear(x, w))


def attention(q, k, v):
    """A composite operator with several ways to compute it."""
    return F.scaled_dot_product_attention(q, k, v).sum(-1)


def write_input(x):
    """A write to an input."""
    x.add_(1)
    return x * 2


def write_view(x):
    """A write through a view of an intermediate."""
    y = x * 2
    y[:, 0].zero_()
    return y + 1


def views(x):
    """Several views."""
    return x.permute(2, 0, 1).unsqueeze(0).select(1, 0) + 1


def convert(x):
    """A conversion, which export guards with a check of metadata."""
    return x.sin().to(torch.float64) + 1


def mixed_dtypes(x, y):
    """Floats and integers together."""
    return torch.mul(x + y, y) - 1


def integers_and_numbers(x):
    """Integers that become floats."""
    return torch.sqrt(x * x) + 0.5


def sum_of_small(x, y):
    """Reductions and comparisons of small dtypes."""
    return x.sum(1), torch.where(y > x, y, x)


def constructor(x):
    """A tensor made inside."""
    return x + torch.ones(4)


def gather_chunks(x, y):
    """An operator that writes into a tensor it is given."""
    import torch.distributed.fsdp._fully_shard._fsdp_collectives

    out = torch.empty(2, 9)
    torch.ops.fsdp.chunk_cat.default([torch.sin(x), y], 0, 2, out=out)
    return out + 1


class Counter(nn.Module):
    """A buffer that each call adds to."""

    def __init__(self):
        super().__init__()
        self.register_buffer("total", torch.zeros(3))

    def forward(self, x):
        self.total.add_(x)
        return self.total * 2
