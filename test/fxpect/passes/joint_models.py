"""Small models whose ATen graph holds what the joint-graph passes rewrite."""

from __future__ import annotations

import torch
import torch.nn.functional as F

aten, prims = torch.ops.aten, torch.ops.prims

# ---- operations that do nothing


def slice_all(x):
    """A slice that takes everything."""
    return torch.relu(aten.slice.Tensor(x, 0, 0, 9223372036854775807)) + 1


def clone_inside(x):
    """A copy that only this graph sees."""
    return torch.relu(torch.sin(x).clone())


def alias_inside(x):
    """An alias of an intermediate."""
    return aten.alias(torch.sin(x)) * 2


def cat_of_one(x):
    """A join of a single tensor."""
    return aten.cat([torch.sin(x)], 1) + 1


def power_of_one(x):
    """The first power."""
    return aten.pow.Tensor_Scalar(torch.sin(x), 1) + 1


def pad_nothing(x):
    """Padding of zero elements."""
    return aten.constant_pad_nd(torch.sin(x), [0, 0, 0, 0]) + 1


def repeat_once(x):
    """A repeat with all counts one."""
    return aten.repeat(torch.sin(x), [1, 1]) * 2


def convert_to_itself(x):
    """A conversion to the dtype it has."""
    return prims.convert_element_type(torch.sin(x), torch.float32) * 2


def view_as_itself(x):
    """A view to the shape it has."""
    return aten.view.default(torch.sin(x), [2, 3]) * 2


def view_dtype_as_itself(x):
    """A view to the dtype it has."""
    return aten.view.dtype(torch.sin(x), torch.float32) * 2


def round_integers(x):
    """Rounding integers."""
    return aten.ceil(x + 1) * 2


def scatter_all(x, y):
    """A slice scatter that overwrites everything."""
    return aten.slice_scatter(torch.sin(x), torch.cos(y)) + 1


def copy_over(x, y):
    """A functional copy between equals."""
    return aten.copy(torch.sin(x), torch.cos(y)) + 1


def device_put_home(x):
    """A move to the device it is on."""
    return prims.device_put(torch.sin(x), torch.device("cpu")) * 2


# ---- constants


def add_zeros(x):
    """Add a tensor of zeros."""
    return torch.relu(x + torch.zeros_like(x))


def subtract_zeros(x):
    """Subtract a tensor of zeros."""
    return torch.relu(x - torch.zeros(2, 3))


def times_ones(x):
    """Multiply by ones on the left."""
    return torch.relu(torch.ones(2, 3) * x)


def over_ones(x):
    """Divide by ones."""
    return torch.relu(x / torch.ones_like(x))


def fold_constants(x):
    """Arithmetic on constants alone."""
    return x + (torch.full((2, 3), 2.0) * 3 + 1).sqrt()


def return_constants(x):
    """Constants that are returned, one of them in pieces."""
    first, second = torch.full((4, 3), 2.0).chunk(2)
    return x + first, second, torch.ones(2, 3) * 3


def times_zero(x):
    """Integers times zero."""
    return torch.relu(x + x.neg() * 0)


# Two reinterpretations of one tensor, the second back to where it came from. It is a text because every
# capture puts something between the two.
VIEW_TWICE = """
def forward(self, x: "f32[2, 3]"):
    view: "i32[2, 3]" = torch.ops.aten.view.dtype(x, torch.int32)
    add: "i32[2, 3]" = torch.ops.aten.add.Tensor(view, 1)
    view_1: "f32[2, 3]" = torch.ops.aten.view.dtype(view, torch.float32)
    mul: "f32[2, 3]" = torch.ops.aten.mul.Tensor(view_1, 2)
    return (add, mul)
"""


def same_view_twice(x):
    """The same reinterpretation twice."""
    return aten.view.dtype(x, torch.int32) + 1, aten.view.dtype(x, torch.int32) * 2


def times_zero_of_view(x, y):
    """Bits times zero, which leaves a view that nobody uses."""
    return torch.relu(x), x.view(torch.int32) * 0 + y.neg()


# ---- views and conversions


def view_there_and_back(x):
    """A view and its inverse."""
    return aten.view.default(aten.view.default(torch.sin(x), [6]), [2, 3]) + 1


def permute_there_and_back(x):
    """A permute and its inverse."""
    return aten.permute.default(aten.permute.default(x, [1, 2, 0]), [2, 0, 1]) + 1


def convert_twice(x):
    """Up to double precision and back, as autocast leaves behind."""
    wide = prims.convert_element_type(torch.sin(x), torch.float64)
    return prims.convert_element_type(wide, torch.float32) + 1


def convert_half(x):
    """A half tensor taken through double to float."""
    return x.to(torch.float64).to(torch.float32) * 2


def convert_between_halves(x):
    """A tensor taken through half to bfloat16, which has more range."""
    return x.to(torch.float16).to(torch.bfloat16) * 2


def one_hot(index):
    """Scatter one value into a constant, as label smoothing does."""
    return torch.full((4, 5), 0.1).scatter(1, index, 0.9) * 2


# ---- softmax


def marked_place(index):
    """One place of a vector."""
    return torch.zeros(5).scatter(0, index, 1.0) * 2


def marked_rows(index):
    """One place in each row of each of several matrices, all others a constant too."""
    return torch.full((2, 3, 5), 0.5).scatter(-1, index, 0.25) * 2


def softmax_of_scaled(x):
    """A softmax with a temperature."""
    return torch.softmax(x * 0.5, -1)


def softmax_of_product(x, y):
    """A softmax of a product with one factor a row, to be scaled after."""
    return torch.softmax(y * x, -1)


def softmax_of_quotient(x):
    """A softmax of a quotient."""
    return torch.softmax(x / 3.0, dim=1)


def log_softmax_of_quotient(x, y):
    """A log softmax with one divisor a row."""
    return F.log_softmax(x / y, dim=-1)


def softmax_in_float(x):
    """Half logits scaled and turned to float, as attention does."""
    return torch.softmax(x * 0.25, -1, dtype=torch.float32)


def softmax_of_half_quotient(x):
    """Half logits divided and turned to float."""
    return torch.softmax(x / 8.0, -1, dtype=torch.float32)


# ---- attention


def attention_div(q, k, v):
    """Attention scaled by a division."""
    return torch.matmul(torch.matmul(q, k.transpose(-2, -1)).div(4.0).softmax(dim=-1), v)


def attention_mul(q, k, v):
    """Attention scaled by a product."""
    return torch.matmul(torch.matmul(q, k.transpose(-2, -1)).mul(0.25).softmax(dim=-1), v)


def attention_masked(q, k, v, mask):
    """Attention with an additive mask."""
    return torch.softmax(q @ k.transpose(-2, -1) / 4.0 + mask, dim=-1) @ v


# ---- random


def draw_two(x):
    """Two uniform draws."""
    return x + torch.rand(3, 4) * torch.rand(3, 4)


def draw_normal(x):
    """A normal draw of the input's shape."""
    return x * torch.randn_like(x)


def draw_integers(x):
    """A draw of integers."""
    return x + torch.randint(2, 9, (3, 4))


def shuffle_rows(x):
    """Rows in random order, with the order."""
    order = torch.randperm(x.shape[0])
    return x[order], order


def pick_rows(x):
    """Some rows at random, with their numbers."""
    order = torch.randperm(x.shape[0])[:2]
    return x[order], order


def add_to_picked_rows(x, y):
    """Add to some rows at random."""
    order = torch.randperm(x.shape[0])[: y.shape[0]]
    return torch.index_add(x, dim=0, source=y, index=order), order


def add_to_shuffled_rows(x, y):
    """Add to all rows in random order."""
    order = torch.randperm(x.shape[0])
    return torch.index_add(x, dim=0, source=y, index=order), order


def train_softmax(x, w):
    """A loss with a temperature, for the joint graph."""
    return torch.softmax((x @ w) * 0.5, -1).sum()


def train_noop(x):
    """A forward and backward graph with something to remove in each."""
    return (torch.relu(x.clone() + torch.zeros_like(x)) * 1.0).sum()
