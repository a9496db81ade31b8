"""Small modules for the passes that work on parameters, initialised from a fixed seed."""
# ruff: noqa: D102

from __future__ import annotations

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def seeded(cls: type[Module], *args: object, seed: int = 0, train: bool = False) -> Module:
    """Return ``cls(*args)`` with parameters and buffers drawn from a generator of its own.

    Running variances and scales are positive and far from one, so that folding them shows.
    """
    with torch.random.fork_rng(devices=[]):
        module = cls(*args)
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if not tensor.is_floating_point():
            continue
        with torch.no_grad():
            if name.rpartition(".")[2] == "running_var":
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            else:
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.5)
    return module.train(train)


class ConvNorm(nn.Module):
    """Convolution and batch norm."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x):
        return self.norm(self.conv(x))


class ConvNorm1d(nn.Module):
    """The same in one dim, without bias."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv1d(3, 4, 3, bias=False), nn.BatchNorm1d(4)

    def forward(self, x):
        return F.relu(self.norm(self.conv(x)))


class ConvNormFunction(nn.Module):
    """A convolution module and a functional batch norm over buffers."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.weight, self.bias = nn.Parameter(torch.ones(4)), nn.Parameter(torch.zeros(4))
        self.register_buffer("running_mean", torch.zeros(4))
        self.register_buffer("running_var", torch.ones(4))

    def forward(self, x):
        return F.batch_norm(self.conv(x), self.running_mean, self.running_var, self.weight, self.bias,
                            False, 0.1, 1e-5)


def conv_norm_positional() -> torch.fx.GraphModule:
    """Return ``ConvNormFunction`` traced, the batch norm's arguments by position as a pass may find them."""
    gm = torch.fx.symbolic_trace(seeded(ConvNormFunction))
    for node in gm.graph.find_nodes(op="call_function", target=F.batch_norm):
        node.args, node.kwargs = (*node.args, *node.kwargs.values()), {}
    gm.recompile()
    return gm


class PaddedConvNorm1d(nn.Module):
    """Convolution and batch norm in one dim, as many places after as before."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv1d(3, 4, 3, padding=1), nn.BatchNorm1d(4)

    def forward(self, x):
        return self.norm(self.conv(x))


class TransposedConvNorm(nn.Module):
    """Transposed convolution and batch norm."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.ConvTranspose2d(3, 4, 3, stride=2), nn.BatchNorm2d(4)

    def forward(self, x):
        return self.norm(self.conv(x))


class LinearNorm(nn.Module):
    """A linear and a batch norm."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(3, 4), nn.BatchNorm1d(4)

    def forward(self, x):
        return self.norm(self.linear(x))


class NestedConvNorm(nn.Module):
    """Convolution, batch norm and a relu, a module further down."""

    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())

    def forward(self, x):
        return self.block(x)


class WithIdentity(nn.Module):
    """A linear, nothing, and a relu."""

    def __init__(self):
        super().__init__()
        self.linear, self.skip, self.act = nn.Linear(3, 4), nn.Identity(), nn.ReLU()

    def forward(self, x):
        return self.act(self.skip(self.linear(x)))


class DoubledConv(nn.Module):
    """A convolution times a number."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(x) * 2.0


class ScaledConv(nn.Module):
    """A convolution, times a constant for each channel, plus a number."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.register_buffer("scale", torch.ones(1, 4, 1, 1))

    def forward(self, x):
        return self.conv(x) * self.scale + 0.5


class ShiftedConv(nn.Module):
    """A convolution without bias, minus a constant for each channel, over a number."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.register_buffer("shift", torch.ones(4, 1, 1))

    def forward(self, x):
        return (self.conv(x) - self.shift) / 2.0


class DoubledTransposedConv(nn.Module):
    """A transposed convolution with as many channels out as in, times a number."""

    def __init__(self):
        super().__init__()
        self.conv = nn.ConvTranspose2d(4, 4, 3)

    def forward(self, x):
        return self.conv(x) * 2.0


class ScaledConv1d(nn.Module):
    """A convolution in one dim, with as many places as channels, times a constant for each channel."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(3, 4, 3, padding=1)
        self.register_buffer("scale", torch.ones(4, 1))

    def forward(self, x):
        return self.conv(x) * self.scale


class BiasedProduct(nn.Module):
    """A product with a bias, over a constant of its width."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(4, 5)), nn.Parameter(torch.ones(5))
        self.register_buffer("scale", torch.ones(1, 5))

    def forward(self, x):
        return torch.addmm(self.bias, x, self.weight) / self.scale


class ScaledLinear(nn.Module):
    """A linear and arithmetic with constants of its width."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 5)
        self.register_buffer("scale", torch.ones(5))
        self.register_buffer("shift", torch.ones(1, 5))

    def forward(self, x):
        return self.linear(x) * self.scale + self.shift


class ScaledLinear3d(nn.Module):
    """A linear without bias on a batch of sequences, scaled."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 5, bias=False)
        self.register_buffer("scale", torch.ones(5))

    def forward(self, x):
        return self.linear(x) * self.scale


class ConstantArithmetic(nn.Module):
    """Parameters combined before they meet the input."""

    def __init__(self):
        super().__init__()
        self.weight, self.gain = nn.Parameter(torch.ones(4, 5)), nn.Parameter(torch.ones(5))

    def forward(self, x):
        return x @ (self.weight * torch.tanh(self.gain))


class ConstantPieces(nn.Module):
    """Constants that are returned: a piece of one that is computed, all of another, one that is only cut."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.arange(12.0).reshape(4, 3))

    def forward(self, x):
        first, second = (self.table * 2).chunk(2)
        return x + first, second, torch.arange(3) + 1, *self.table.split(4)


class TwoLayers(nn.Module):
    """Two linears and a relu."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 2, bias=False)

    def forward(self, x):
        return self.second(F.relu(self.first(x)))


class ConvPool(nn.Module):
    """A convolution, a relu and a pooling."""

    def __init__(self):
        super().__init__()
        self.conv, self.act, self.pool = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2)

    def forward(self, x):
        return self.pool(self.act(self.conv(x)))


class TransposedConv(nn.Module):
    """A transposed convolution."""

    def __init__(self):
        super().__init__()
        self.conv = nn.ConvTranspose2d(3, 4, 3, stride=2)

    def forward(self, x):
        return self.conv(x)


class Recurrent(nn.Module):
    """An LSTM."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 5, batch_first=True)

    def forward(self, x):
        return self.lstm(x)[0] + 1


class TwoHeads(nn.Module):
    """Two projections of one input."""

    def __init__(self):
        super().__init__()
        self.query, self.key = nn.Parameter(torch.ones(4, 5)), nn.Parameter(torch.ones(4, 5))

    def forward(self, x):
        return torch.mm(x, self.query) * torch.mm(x, self.key)


class ThreeHeads(nn.Module):
    """Three linears of one input."""

    def __init__(self, bias: bool):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(4, 5, bias=bias) for _ in range(3))

    def forward(self, x):
        return torch.relu(self.query(x)) * self.key(x) - self.value(x)


class SharedLinear(nn.Module):
    """One linear used twice."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        return self.linear(F.relu(self.linear(x)))


class SameConversion(nn.Module):
    """A conversion to the dtype there is, as folding in a higher precision leaves behind."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return torch.ops.prims.convert_element_type(torch.sin(x) * self.weight, torch.float32) + 1
