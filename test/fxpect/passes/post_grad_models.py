"""Small models whose ATen graph holds what the post-grad passes rewrite."""

from __future__ import annotations

import torch

aten = torch.ops.aten

# ---- split, cat, select, view


def split_by_size(x):
    """Split by size and join some pieces, counted from the last dim."""
    a, b, c = aten.split.Tensor(x, 2, -1)
    return aten.cat.default([b, a], -1) + 1, c * 2


def split_by_sections(x):
    """Split into sections along the last dim."""
    a, b = aten.split_with_sizes.default(x, [2, 4], -1)
    return a.sum() + b.sum()


def cat_last(x, y):
    """Join along the last dim."""
    return aten.cat.default([x, y], -1) + 1


def cat_of_some_sections(x):
    """Join three of four sections."""
    a, b, c, d = aten.split_with_sizes.default(x, [1, 1, 1, 1], 1)
    return aten.cat.default([a, b, c], 1) + 1, d * 2


def cat_of_all_sections(x):
    """Join every section again, and one thing more."""
    a, b, c = aten.split_with_sizes.default(x, [1, 2, 3], 1)
    return aten.cat.default([a, b, c, x.sin()], 1)


def cat_of_selected(x):
    """Join every slice along the dim it was taken from."""
    return aten.cat.default([aten.select.int(x, 1, 0), aten.select.int(x, 1, 1), aten.select.int(x, 1, 2)],
                            1) + 1


def cat_of_viewed_sections(x):
    """View every section, then join along the same dim."""
    pieces = aten.split_with_sizes.default(x, [4, 4], 0)
    return aten.cat.default([aten.view.default(piece, [4, 6]) for piece in pieces], 0) + 1


def cat_of_viewed_image_sections(x):
    """The same of images, along the second dim."""
    pieces = aten.split_with_sizes.default(x, [2, 2], 1)
    return aten.cat.default([aten.view.default(piece, [2, 2, 6]) for piece in pieces], 1) + 1


def two_gates(a, b):
    """Two operations in a row on each of two tensors."""
    return aten.sigmoid.default(aten.tanh.default(a)) + aten.sigmoid.default(aten.tanh.default(b))


# ---- products


def row_times_matrix(x, y):
    """A product with one row."""
    return aten.mm.default(x, y) + 1


def bias_and_row_times_matrix(bias, x, y):
    """The same with a bias."""
    return aten.addmm.default(bias, x, y) * 2


def batch_of_one(x, y):
    """A batched product of batch size one."""
    return aten.bmm.default(x, y) + 1


def product_plus(x, y, z):
    """A product and a sum."""
    return x @ y + z


def plus_product(x, y, z):
    """The same the other way round, with a bias."""
    return z + x @ y


# ---- two like members with a common consumer


def two_products(a, b, w, v):
    """Two products of one shape."""
    return aten.mm.default(a, w) + aten.mm.default(b, v)


def two_biased_products(p, q, a, b, w, v):
    """Two products with biases."""
    return aten.addmm.default(p, a, w) * aten.addmm.default(q, b, v)


def two_tanh(a, b):
    """Two tanh of one shape."""
    return aten.tanh.default(a) + aten.tanh.default(b)


def two_sigmoid(a, b):
    """Two sigmoids of one shape."""
    return aten.sigmoid.default(a) * aten.sigmoid.default(b)


def two_relu(a, b):
    """Two relus of one shape."""
    return aten.relu.default(a) - aten.relu.default(b)


def two_adds(a, b, c, d):
    """Two sums of one shape."""
    return aten.relu.default(a + b) * aten.sigmoid.default(c + d)


def two_subs(a, b, c, d):
    """Two differences of one shape."""
    return aten.relu.default(a - b) + aten.sigmoid.default(c - d)


def two_muls(a, b, c, d):
    """Two products of one shape."""
    return aten.relu.default(a * b) - aten.sigmoid.default(c * d)


def two_divs(a, b, c, d):
    """Two quotients of one shape."""
    return aten.relu.default(a / b) + aten.sigmoid.default(c / d)


# ---- single patterns


def count_ones(x):
    """A running count of a constant."""
    return x + torch.ones(3, 4, dtype=torch.int64).cumsum(1)


def running_sum_of_constant(x):
    """A running sum of a constant float."""
    return x * torch.cumsum(torch.full((3, 4), 0.5), 0)


def inverse_root(x):
    """One over a square root."""
    return torch.sqrt(x).reciprocal() * 2


def variance_and_half_deviation(x):
    """A variance, and the variance of the same converted, as a standard deviation needs."""
    wide = torch.ops.prims.convert_element_type(x, torch.float64)
    return (aten.var.correction(x, [1], correction=1, keepdim=True),
            aten.var.correction(wide, [1], correction=1, keepdim=True))


def row_and_total_maximum(x):
    """A maximum of everything, and one for each row."""
    return x.max(), torch.amax(x, dim=1, keepdim=True)


# ---- sizes that are data: those of nonzero, which torch knows to be sizes whenever it types a graph again


def count_places(x):
    """A running count as long as there are places that are not zero."""
    return torch.ones(x.nonzero().size(0)).cumsum(0) + x.sum()


def places_far_apart(x, y):
    """The places of what is not zero, found long before they are used."""
    places = x.nonzero()
    middle = torch.exp(torch.cos(y))
    return middle * places.size(0), places + 1


def view_of_places(x):
    """The places of what is not zero, viewed."""
    return x.nonzero().view(-1) + 1


def write_places(x, y):
    """Write to the places of a fresh tensor where an input is not zero."""
    return aten.index_put.default(torch.sin(x), [y.nonzero().squeeze(1)], torch.zeros(3)) * 2


# ---- whole-graph work


def far_apart(x, y):
    """A value computed long before it is used."""
    early = torch.sin(x)
    middle = torch.cos(y)
    late = torch.exp(middle)
    return late + early


def view_between(x):
    """A view of an intermediate."""
    return torch.sin(x).view(6) + 1


def profiled(x):
    """A region with a name, for the profiler."""
    with torch.profiler.record_function("region"):
        y = torch.sin(x)
    return y + 1


def profiled_by_handle(x):
    """The same, spelled with a handle that is let go."""
    torch.ops.profiler._record_function_enter("region")
    return torch.sin(x) + 1


def asserted(x):
    """A check of metadata."""
    y = torch.sin(x)
    aten._assert_tensor_metadata.default(y, None, None, torch.float32)
    return y + 1


def write_rows(x, index, values):
    """Write rows of a fresh tensor."""
    return aten.index_put.default(torch.sin(x), [index], values) + 1


def add_to_rows(x, index, values):
    """Add to rows, some of them more than once."""
    return aten.index_put.default(x, [index], values, True)


def add_to_columns(x, index, values):
    """Add to columns."""
    return aten.index_put.default(x, [None, index], values, True)


def write_input_rows(x, index, values):
    """Write rows of an input, the result copied back into it."""
    x.index_put_([index], values)
    return x.sum()


def write_viewed_rows(x, index, values):
    """Write one row to several places of part of a fresh tensor, which is read as a vector."""
    part = aten.slice.Tensor(torch.sin(x), 0, 0, 4)
    return aten.view.default(aten.index_put.default(part, [index], values), [12]) + 1


def write_computed_places(x, values):
    """Write integers to places that are computed from them."""
    y = x + 1
    return aten.index_put.default(y, [y.neg()], values) * 2


def write_through_views(x, y, z):
    """Write a diagonal, and places at a stride, of fresh tensors."""
    return (aten.diagonal_scatter.default(torch.sin(x), torch.cos(y)) + 1,
            aten.as_strided_scatter.default(torch.cos(x), torch.sin(z), [2], [6]) * 2)


def write_row_of_part(x, y):
    """Write a row of a part of a fresh tensor, and the part back."""
    whole = torch.sin(x)
    part = aten.select_scatter.default(aten.slice.Tensor(whole, 0, 0, 2), y, 0, 1)
    return aten.slice_scatter.default(whole, part, 0, 0, 2) + 1


def write_input_parts(x, y):
    """Write two parts of an input, which overlap, the second read from what was written."""
    x.diagonal().add_(y)
    x.transpose(0, 1).diagonal(1).mul_(x[:3, 0])
    return x.sum(0)


def write_viewed_input(x, index, values):
    """Write places of an input that is seen as a vector."""
    x.view(-1).index_put_([index], values)
    return x * 2


def write_one_base_twice(x, index, values, others):
    """Write rows of one fresh tensor in two ways, and again into one of the results."""
    base = torch.sin(x)
    first = aten.index_put.default(base, [index], values)
    second = aten.index_put.default(base, [index], others)
    return aten.index_put.default(first, [index], others, True) + second


def step_parameters(x, y, g, h):
    """Add to two inputs at once, as an optimizer does, and tell how large they are now."""
    torch._foreach_add_([x, y], [g, h])
    return x.sum() + y.sum()


def fill_given(x, y, out):
    """Call an operator that writes into an input."""
    import torch.distributed.fsdp._fully_shard._fsdp_collectives

    torch.ops.fsdp.chunk_cat.default([torch.sin(x), y], 0, 2, out=out)
    return out.sum(0)


def fill_row(x, y):
    """Call an operator that writes into a row of a fresh tensor."""
    import torch.distributed.fsdp._fully_shard._fsdp_collectives

    rows = torch.sin(torch.ones(3, 2, 9))
    torch.ops.fsdp.chunk_cat.default([torch.sin(x), y], 0, 2, out=rows[1])
    return rows + 1


def copy_pieces(x, left, right):
    """Call an operator that writes into each of two inputs."""
    import torch.distributed.fsdp._fully_shard._fsdp_collectives

    torch.ops.fsdp.split_with_sizes_copy.default(torch.sin(x), [1, 3], 1, out=[left, right])
    return left.sum() + right.sum()


def joined_pieces(x):
    """Split, and join all the pieces again."""
    return torch.cat(torch.split(torch.sin(x), [2, 3], 1), 1) * 2


def pieces_of_join(x, y):
    """Join, and split where the parts meet."""
    first, second = torch.split(torch.cat([torch.sin(x), torch.cos(y)], 1), [2, 3], 1)
    return first * 2, second + 1


# The first half of an input written to its second. It is a text because a capture copies once more. torch 2.15
# sees that they share memory, and leaves it alone.
COPY_HALF = """
def forward(self, x: "f32[4, 3]"):
    slice_1: "f32[2, 3]" = torch.ops.aten.slice.Tensor(x, 0, 0, 2)
    slice_scatter: "f32[4, 3]" = torch.ops.aten.slice_scatter.default(x, slice_1, 0, 2, 4)
    sum_1: "f32[]" = torch.ops.aten.sum.default(slice_scatter)
    copy_: "f32[4, 3]" = torch.ops.aten.copy_.default(x, slice_scatter)
    return (sum_1,)
"""


def scatter_slices(x, y):
    """Fill a fresh tensor from two parts, chunk by chunk."""
    out = aten.empty.memory_format([4, 3], dtype=torch.float32, device=torch.device("cpu"))
    out = aten.slice_scatter.default(out, x, 0, 0, 2)
    return aten.slice_scatter.default(out, y, 0, 2, 4)


def draw_twice(x):
    """Two draws whose order matters."""
    return torch.rand(3, 4) + x, torch.bernoulli(x.sigmoid())


# One size computed twice. It is a text because tracing computes each size once.
SAME_SIZE_TWICE = """
def forward(self, s0: "SymInt(s0)", x: "f32[s0, 4]", y: "f32[s0, 4]"):
    s0: "2 <= s0"
    mul: "SymInt(4*s0)" = operator.mul(s0, 4)
    view: "f32[4*s0]" = torch.ops.aten.view.default(x, [mul])
    mul_1: "SymInt(4*s0)" = operator.mul(s0, 4)
    view_1: "f32[4*s0]" = torch.ops.aten.view.default(y, [mul_1])
    add: "f32[4*s0]" = torch.ops.aten.add.Tensor(view, view_1)
    return (add,)
"""


def running_total(x):
    """A scan that adds up rows."""
    from torch._higher_order_ops.scan import scan

    return scan(lambda carry, row: (carry + row, carry * row), torch.zeros(4), x)


def double_rows(x, y):
    """A map over rows."""
    from torch._higher_order_ops.map import map as map_rows

    return map_rows(lambda row, other: row.sin() + other, x, y)


def gather_chunks(x, y):
    """An operator that writes into a tensor it is given, made functional."""
    import torch.distributed.fsdp._fully_shard._fsdp_collectives
    from torch._higher_order_ops.auto_functionalize import auto_functionalized

    _, out = auto_functionalized(torch.ops.fsdp.chunk_cat.default, tensors=[torch.sin(x), y], dim=0,
                                 num_chunks=2,
                                 out=torch.empty(2, 9))
    return out + 1


def mlp(x, w, b, v):
    """Two layers with a bias and a relu."""
    return torch.relu(b + x @ w) @ v
