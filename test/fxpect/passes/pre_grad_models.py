"""Small torch-level models, one for each thing that a pre-grad pass rewrites."""

from __future__ import annotations

import operator

import torch
import torch.nn.functional as F

# ---- normalisation: one spelling for each operator that later passes look for


def split_chunks(x):
    """Split by size, counted from the last dim."""
    a, b, c = torch.split(x, 2, dim=-1)
    return a * b + c


def split_method(x):
    """The same as a method."""
    a, b = x.split([2, 4], 1)
    return a.sum() + b.sum()


def unbind_rows(x):
    """Take the rows apart."""
    a, b, c = x.unbind(0)
    return a * b - c


def concat_last(x, y):
    """Join under another name of cat."""
    return torch.concat([x, y], -1) * 2


def stack_positional(x, y):
    """Stack on a dim given by position."""
    return torch.stack([x, y], 1).sum(1)


def squeeze_middle(x):
    """Drop a dim of size one."""
    return x.squeeze(1) + 1


def reshape_method(x):
    """Fold two dims with a size left open."""
    return x.reshape(2, -1) + 1


def clamp_bounds(x):
    """Clamp on both sides, by position and by keyword."""
    return x.clamp(-1, 1) + torch.clamp(x, min=0.5)


def detach_branch(x):
    """Stop the gradient in one branch."""
    return x * x.detach()


# ---- split, cat, stack, unbind


def split_into_one(x):
    """A split that yields a single piece."""
    return x.split(4, 0)[0] + 1


def split_of_split(x):
    """Split a piece once more along the same dim."""
    a, b = x.split([2, 4], 0)
    c, d = b.split(2, 0)
    return a + 1, c * 2, d - 1


def stack_of_split(x):
    """Stack equal pieces."""
    return torch.stack(x.split(2, 0), 0) * 2


def cat_of_split(x):
    """Join some pieces, in order, with another tensor."""
    a, b, c = x.split(2, 1)
    return torch.cat([a, b, x.sin()], 1), c + 1


def cat_of_split_below(x):
    """Join all pieces along another dim than that of the split."""
    a, b, c = x.split(2, 1)
    return torch.cat([a, b, c], 0)


def split_of_tanh_of_cat(x, y):
    """Join, apply an activation, and take pieces of it, as a gated cell does."""
    a, b = torch.tanh(torch.cat([x, y], 1)).split(2, 1)
    return a * b


def squeeze_of_split(x):
    """Split into slices of size one and squeeze each."""
    a, b, c = x.split(1, 1)
    return a.squeeze(1) + b.squeeze(1) * c.squeeze(1)


def cat_of_some_pieces(x):
    """Join the first pieces; the rest is used by itself."""
    a, b, c = x.split(2, 0)
    return torch.cat([a, b], 0) * 2, c + 1


def cat_of_last_pieces(x):
    """Join the last pieces of uneven sections."""
    a, b, c = x.split([1, 2, 3], 1)
    return a + 1, torch.cat([b, c], dim=1).sum(1)


def cat_of_all_pieces(x):
    """Join every piece again."""
    return torch.cat(x.split(2, 0), 0) + 1


def stack_of_unbind(x):
    """Take rows apart and stack them along another dim."""
    return torch.stack(x.unbind(0), 1).sum(0)


def cat_of_unbind(x):
    """Take rows apart and join them."""
    return torch.cat(x.unbind(0), 0) + 1


def stack_of_unbind_in_place(x):
    """Take columns apart and stack them where they were."""
    return torch.stack(torch.unbind(x, dim=1), dim=1) * 2


def cat_of_unbind_along_last(x):
    """Take images apart by their last dim but one and join them along the next."""
    return torch.cat(torch.unbind(x, 2), 2) + 1


def cat_of_unbind_and_more(x, y):
    """Join the rows of one tensor with another tensor."""
    a, b, c = x.unbind(0)
    return torch.cat([a, b, c, y], 1)


def stack_of_some_rows(x):
    """Stack all rows but the first."""
    return torch.stack(x.unbind(0)[1:], 0) * 2


def cat_of_some_rows(x):
    """Join all rows but the first, along their last dim."""
    return torch.cat(x.unbind(0)[1:], dim=1)


def stack_of_some_pieces(x):
    """Stack three of four equal pieces."""
    return torch.stack(x.split(2, 1)[:3], 0).sum(1)


def reshaped_pieces(x):
    """Reshape each piece, then stack."""
    return torch.stack([piece.reshape(3, 2, 2) for piece in x.split(4, 1)], 1) + 1


def einsum_plus(a, b, c):
    """A batched vector-matrix product, added to something."""
    return torch.functional.einsum("abc,abcd->abd", a, b) + c


# ---- group and batch fusions: two like members with a common consumer


def two_linears(a, b, w, v):
    """Two linears of one shape."""
    return F.linear(a, w) + F.linear(b, v)


def two_linears_with_bias(a, b, w, v, p, q):
    """Two linears of one shape, with biases."""
    return F.linear(a, w, p) + F.linear(b, v, q)


def linears_of_one_input(a, w, v):
    """Two linears that share their input, of different widths."""
    return F.linear(a, w).sum() + F.linear(a, v).sum()


def linears_of_one_input_with_bias(a, w, v, p, q):
    """The same with biases, as query and key projections are."""
    return F.linear(a, w, p) * F.linear(a, v, q)


def two_layer_norms(a, b, w, v):
    """Two layer norms with weights."""
    return F.layer_norm(a, (4,), w) + F.layer_norm(b, (4,), v)


def two_layer_norms_with_bias(a, b, w, v, p, q):
    """Two layer norms with weights and biases."""
    return F.layer_norm(a, (4,), w, p, 1e-3) * F.layer_norm(b, (4,), v, q, 1e-3)


def two_plain_layer_norms(a, b):
    """Two layer norms without parameters."""
    return F.layer_norm(a, (4,)) - F.layer_norm(b, (4,))


def two_tanh(a, b):
    """Two tanh of one shape."""
    return torch.tanh(a) + torch.tanh(b)


def two_sigmoid(a, b):
    """Two sigmoids of one shape."""
    return torch.sigmoid(a) * torch.sigmoid(b)


def two_relu(a, b):
    """Two relus of one shape."""
    return F.relu(a) - F.relu(b)


def two_clamps(a, b):
    """Two clamps with the same bounds."""
    return torch.clamp(a, min=0, max=1) + torch.clamp(b, min=0, max=1)


def two_nan_to_num(a, b):
    """Two nan_to_num with the same replacement."""
    return torch.nan_to_num(a, nan=0.5) + torch.nan_to_num(b, nan=0.5)


def two_detach(a, b):
    """Two detached operands."""
    return torch.detach(a) * torch.detach(b)


def two_dropouts(a, b):
    """Two dropouts that are off, as in evaluation."""
    return F.dropout(a, p=0.5, training=False) + F.dropout(b, p=0.5, training=False)


def linear_of_joined(x, y, w):
    """A linear of two joined features."""
    return F.relu(F.linear(torch.cat([x, y], dim=-1), w))


def linear_of_joined_with_bias(x, y, w, b):
    """The same with a bias."""
    return torch.tanh(F.linear(torch.cat([x, y], dim=1), w, b))


# ---- always on


def relu_of_cat(x, y):
    """A pointwise op on a join."""
    return torch.relu(torch.cat([x, y], dim=-1))


def tanh_of_viewed_cat(x, y):
    """A pointwise op on a join that is viewed flat."""
    return torch.cat([x, y]).view(-1).tanh()


def sum_over_axis(x):
    """The numpy names of dim and keepdim."""
    return torch.sum(x, axis=0, keepdims=True)


def softmax_by_axis(x, y):
    """The numpy name of a second operand."""
    return torch.eq(x, other=y), torch.mean(x, axis=-1)


def sample_by_division(x):
    """Draw a category from logits, the way language models do."""
    return torch.argmax(F.softmax(x, -1) / torch.empty_like(x).exponential_(1.0), dim=-1, keepdim=True)


def conv_then_norm(x, w, b, mean, var):
    """A functional convolution and batch norm in evaluation."""
    return F.batch_norm(F.conv2d(x, w, b), mean, var)


def conv_then_affine_norm(x, w, mean, var, scale, shift):
    """A convolution without bias, padded, and an affine batch norm."""
    return F.batch_norm(F.conv2d(x, w, None, 1, 1), mean, var, scale, shift, False, 0.1, 1e-3)


def conv_in_one_dim_then_norm(x, w, mean, var, scale, shift):
    """A convolution in one dim, with as many places after as before, and batch norm with scale and shift."""
    return F.batch_norm(F.conv1d(x, w, None, 1, 1), mean, var, scale, shift)


def transposed_conv_then_norm(x, w, b, mean, var):
    """A transposed convolution and batch norm."""
    return F.batch_norm(F.conv_transpose2d(x, w, b, 2), mean, var)


def linear_then_norm(x, w, b, mean, var):
    """A linear and batch norm."""
    return F.batch_norm(F.linear(x, w, b), mean, var) + 1


def linear_then_permute(x, w):
    """Swap the last two dims of a linear's result."""
    return F.linear(x, w).permute(0, 2, 1).sum(1)


def linear_with_bias_then_permute(x, w, b):
    """The same with a bias."""
    return F.linear(x, w, b).permute(0, 2, 1).sum(-1)


def permute_then_linear(x, w, b):
    """A linear over the other dim."""
    return F.linear(x.permute(0, 2, 1), w, b)


def permute_then_bmm(x, y):
    """A batched product with its left operand swapped."""
    return torch.bmm(x.permute(0, 2, 1), y)


def permute_then_matmul(x, y):
    """A product with its right operand swapped."""
    return torch.matmul(x, y.permute(0, 2, 1))


def quantized_heads(x, w):
    """A linear, split into heads, quantized and dequantized."""
    import torch.ao.quantization.fx._decomposed

    quantized = torch.ops.quantized_decomposed
    heads = torch.ops.aten.view.default(x @ w, [2, 3, 2, 4])
    heads = torch.ops.aten.permute.default(heads, [0, 2, 1, 3])
    small = quantized.quantize_per_tensor.default(heads, 0.1, 0, -128, 127, torch.int8)
    return quantized.dequantize_per_tensor.default(small, 0.1, 0, -128, 127, torch.int8) * 2


def gated(x, y):
    """What a gate does: a join, a split, two pointwise ops."""
    a, b = torch.split(torch.cat([x, y], 1), [3, 5], dim=1)
    return torch.sigmoid(a).sum(1) + torch.tanh(b).sum(1)


def concatenate_features(x, y):
    """A join of projected features, activated."""
    return torch.tanh(torch.cat([operator.mul(x, 2), y], 1))
