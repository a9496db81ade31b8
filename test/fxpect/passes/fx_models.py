"""Small models for the passes of torch.fx and functorch, traced symbolically or to ATen."""
# ruff: noqa: D102

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

aten = torch.ops.aten

# ---- traced symbolically


def positional_calls(x, y):
    """Calls whose arguments have names to be found out."""
    return torch.add(F.relu(x), y), torch.flatten(x, 1)


def torch_arithmetic(x, y):
    """Arithmetic by torch's functions, which operators spell too."""
    return torch.div(torch.mul(torch.add(x, y), x), torch.sub(y, 3.0)), torch.gt(x, y)


def two_matmuls(x, y, w):
    """Two products with one right operand."""
    return torch.matmul(x, w) + 1, torch.matmul(y, w) * 2


def unused_value(x):
    """A value that nobody uses."""
    torch.sin(x)
    return torch.cos(x) + 1


def pool_with_places(x):
    """A pooling that also says where its values were, a pair by its annotation."""
    values, places = F.adaptive_max_pool1d_with_indices(F.relu(x), 2)
    return values + 1, places * 2


def chain(x, y):
    """A chain of operations with a branch."""
    a = torch.relu(x) + y
    b = torch.sigmoid(a) * y
    return b - torch.tanh(a), b


def branches(x, y):
    """Two branches that meet at the end."""
    left = torch.sin(x)
    right = torch.cos(y)
    return left + right, left * right


def negated_sum(x, y):
    """Add the negation of something."""
    return torch.add(y, torch.neg(x)) * 2


def pool_indexed(x):
    """A pooling whose values and places are indexed themselves."""
    values, places = F.adaptive_max_pool1d_with_indices(F.relu(x), 2)
    return values[0] + 1, places[:, :1] * 2


def late_rows(x, y):
    """A row and a slice that are taken late, of tensors."""
    first = torch.sin(x)
    second = torch.cos(y) + 1
    return second.sum() + first[0], second[1:]


def late_getitem(x):
    """Pieces that are taken out late."""
    pair = torch.topk(x, 2)
    other = torch.sin(x) + 1
    return other.sum() + pair[0], pair[1] * 2


# ---- traced to ATen


def same_twice(x):
    """One value computed twice."""
    return torch.sin(x) + 1, torch.sin(x) * 2


def same_chain_twice(x, y):
    """A chain computed twice from the same values."""
    return ((x + y).relu().sum(1), (x + y).relu().amax(1))


def same_pair_twice(x):
    """A call of two results made twice, of each of which one is read."""
    return x.max(1).values + 1, x.max(1).indices * 2


def overwrite_intermediate(x):
    """Values that could be written where their operand was."""
    y = x + 1
    return torch.relu(y * 2)


def add_constant(x):
    """A constant beside an input, and values that could be written where their operand was."""
    y = x + torch.tensor([1.0, 2.0, 3.0, 4.0])
    return torch.relu(y * 2)


def scale_by_size(x):
    """A size of the input as a number, and values that could be written where their operand was."""
    y = x * x.shape[0]
    return torch.relu(y + x.shape[1])


def write_through_view(x):
    """A functional write to part of an intermediate."""
    y = x.clone()
    return aten.slice_scatter.default(y, aten.slice.Tensor(y, 0, 0, 2) * 2, 0, 0, 2) + 1


def convert(x):
    """A conversion of dtype."""
    return x.to(torch.float64) * 2


def loss(x, w):
    """A loss whose backward needs the forward's values."""
    return torch.sigmoid(torch.tanh(x @ w)).sum()


def partly_trained(x, w):
    """A loss of which one input asks for no gradient, and a value besides."""
    y = torch.relu(x @ w)
    return (y * torch.exp(y)).mean(), y


# ---- modules


class Dropped(nn.Module):
    """A linear, a dropout and a relu."""

    def __init__(self):
        super().__init__()
        self.linear, self.drop = nn.Linear(3, 4), nn.Dropout(0.3)

    def forward(self, x):
        return F.relu(self.drop(self.linear(x)))


class ConvReLU(nn.Module):
    """A convolution, a batch norm and a relu."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()

    def forward(self, x):
        return self.act(self.norm(self.conv(x)))


class LinearReLU(nn.Module):
    """A linear and a relu."""

    def __init__(self):
        super().__init__()
        self.linear, self.act = nn.Linear(3, 4), nn.ReLU()

    def forward(self, x):
        return self.act(self.linear(x)) + 1


class ConvStack(nn.Module):
    """Convolution, batch norm, dropout, relu and pooling."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.2), nn.ReLU(),
                                    nn.MaxPool2d(2), nn.Conv2d(4, 2, 1), nn.ReLU())

    def forward(self, x):
        return self.layers(x)


class ConvAverage(nn.Module):
    """A convolution, a relu and an average over places, with a sum and a function of torch after."""

    def __init__(self):
        super().__init__()
        self.conv, self.act, self.pool = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)

    def forward(self, x):
        pooled = self.pool(self.act(self.conv(x)))
        return torch.tanh(pooled + pooled)


class SumOfConvs(nn.Module):
    """Two convolutions of one input, added, and a maximum over places."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        return self.pool(F.relu(self.first(x) + self.second(x)))


class FoldableWeight(nn.Module):
    """Constants combined before the input meets them."""

    def __init__(self):
        super().__init__()
        self.weight, self.gain = nn.Parameter(torch.ones(4, 5)), nn.Parameter(torch.ones(4, 5))

    def forward(self, x):
        return x @ (self.weight + self.gain) + self.gain.sum()


class FoldedAndReturned(nn.Module):
    """A computed constant that is returned, too."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 4), requires_grad=False)
        self.gain = nn.Parameter(torch.ones(4, 4), requires_grad=False)

    def forward(self, x):
        table = self.weight + self.gain
        return x @ table, table


class PositionalModules(nn.Module):
    """Modules called by position."""

    def __init__(self):
        super().__init__()
        self.linear, self.act = nn.Linear(3, 4), nn.LeakyReLU(0.1)

    def forward(self, x):
        return self.act(self.linear(x))


class GatedModules(nn.Module):
    """Two gates, whose values and weights come of modules."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(3, 4)

    def forward(self, x):
        gate = self.first(x)
        return torch.sigmoid(gate) * self.second(x), torch.sigmoid(gate) * gate
