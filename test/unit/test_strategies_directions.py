"""Each direction of near misses: what it offers on a stated graph, what the edit makes of it, what it refuses."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import random
import unittest
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from fxpect.campaign.starts import requiring_grad
from fxpect.capture import capture
from fxpect.examples import Example
from fxpect.specs import Same, T
from fxpect.strategies.directions.inputs import in_dtype
from fxpect.strategies.draft import FUNCTIONAL_CAPTURES, Draft, Edit, Inapplicable
from fxpect.strategies.near import DIRECTIONS, edits, step
from fxpect.text.parser import parse_graph
from fxpect.text.printer import graph_text
from fxpect.text.propagation import propagate


class Tower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.drop = nn.Linear(4, 4), nn.Linear(4, 4), nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.drop(self.second(self.first(x)))


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.mul(x, self.scale)


class Images(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool = nn.Conv2d(2, 2, 3), nn.AvgPool2d(2)
        self.up = nn.ConvTranspose2d(2, 2, 3, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.up(self.pool(self.conv(x)))


MODELS = {"tower": (Tower, T(2, 4)), "scale": (Scale, T(2, 4)), "images": (Images, T(1, 2, 6, 6))}
GRAPHS = {
    "cat": ("x, y", "cat = torch.cat([x, y], dim=-1); relu = torch.relu(cat); return (relu,)",
            (T(2, 3), T(2, 3)), "dynamo"),
    "split": ("x", "split = torch.split(x, 2, dim=-1); a = operator.getitem(split, 0); b = operator.getitem(split, 1); "
              "mul = operator.mul(a, b); return (mul,)", (T(4, 4),), "dynamo"),
    "linear": ("x, w, b", "linear = torch.nn.functional.linear(x, w, b); permute = linear.permute(1, 0); "
               "tanh = torch.tanh(permute); return (tanh,)", (T(3, 3), T(3, 3), T(3)), "dynamo"),
    "sums": ("x", "sum_1 = torch.sum(x, dim=1, keepdim=True); sum_2 = torch.sum(sum_1, dim=1); return (sum_2,)",
             (T(2, 3, 4),), "dynamo"),
    "einsum": ("x, y", "einsum = torch.einsum('ij,jk->ik', x, y); return (einsum,)", (T(3, 3), T(3, 3)), "dynamo"),
    "made": ("x", "full = torch.ops.aten.full.default([2, 3], 1); add = torch.ops.aten.add.Tensor(x, full); "
             "return (add,)", (T(2, 3),), "aten"),
    "aten": ("x, y", "add = torch.ops.aten.add.Tensor(x, y); permute = torch.ops.aten.permute.default(add, [1, 0]); "
             "return (permute,)", (T(2, 3), T(2, 3)), "aten"),
    "epilogue": ("x, y", "add = torch.ops.aten.add.Tensor(x, y); mul = torch.ops.aten.mul.Tensor(add, 2); "
                 "copy_ = torch.ops.aten.copy_.default(x, add); return (mul,)", (T(2, 3), T(2, 3)), "aten"),
    "recorded": ("x, w, b", "conv = torch.ops.aten.conv2d.default(x, w, b, [1, 1], [1, 1]); "
                 "sub = torch.ops.aten.sub.Tensor(conv, x, alpha=2); "
                 "sum_1 = torch.ops.aten.sum.dim_IntList(sub, [1], True); "
                 "clamp = torch.ops.aten.clamp.default(sum_1, None, 1); return (clamp,)",
                 (T(2, 3, 4, 4), T(3, 3, 3, 3), T(3)), "export"),
    "norms": ("x", "first = torch.nn.functional.layer_norm(x, (3,), eps=1e-05); "
              "second = torch.nn.functional.layer_norm(first, (3,), eps=1e-05); return (second,)",
              (T(2, 3),), "dynamo"),
    "vector weight": ("x, w", "linear = torch.nn.functional.linear(x, w); return (linear,)", (T(3, 4), T(5, 4)),
                      "dynamo"),
    "vector": ("x", "sin = torch.ops.aten.sin.default(x); return (sin,)", (T(3),), "aten"),
    "chunks": ("x", "chunk = torch.chunk(x, 2); a = operator.getitem(chunk, 0); b = operator.getitem(chunk, 1); "
               "reshape = a.reshape(1, 3); reshape_1 = b.reshape(1, 3); add = torch.add(reshape, reshape_1); "
               "return (add,)", (T(2, 3),), "symbolic"),
    "written": ("x, y", "put = torch.ops.aten.slice_scatter.default(x, y, 0, 1, 3); return (put,)", (T(3, 2), T(2, 2)),
                "aten"),
    "tanhs": ("x, y", "tanh = torch.tanh(x); b = torch.tanh(y); stack = torch.stack([tanh, b]); return (stack,)",
               (T(2, 3), T(2, 3)), "dynamo"),
    "stacked": ("x, y", "stack = torch.stack([x, y]); return (stack,)", (T(2), T(2)), "dynamo"),
    "method": ("x", "sum_1 = x.sum(1); return (sum_1,)", (T(2, 3),), "dynamo"),
    "two": ("x, y", "sin = torch.ops.aten.sin.default(x); exp = torch.ops.aten.exp.default(y); "
            "sub = torch.ops.aten.sub.Tensor(sin, exp); return (sub,)", (T(2, 3), T(2, 3)), "aten"),
    "grouped": ("x", "split = torch.split(x, [2, 4], dim=1); a = operator.getitem(split, 0); "
                "b = operator.getitem(split, 1); chunk = torch.split(b, 2, dim=1); c = operator.getitem(chunk, 0); "
                "add = torch.add(a, c); return (add,)", (T(3, 6),), "dynamo"),
    "converted": ("x", "to = x.to(torch.float16); to_1 = to.to(torch.float32); add = torch.add(to_1, to); "
                  "sum_1 = torch.sum(add, dtype=torch.float16); return (sum_1,)", (T(2, 3),), "dynamo"),
    "joined": ("x, y", "split = torch.split(x, 2, dim=1); a = operator.getitem(split, 0); "
               "b = operator.getitem(split, 1); cat = torch.cat([a, b, y], 1); return (cat,)",
               (T(3, 4), T(3, 5)), "dynamo"),
    "squeezed": ("x", "squeeze = torch.squeeze(x, 1); return (squeeze,)", (T(2, 1, 3),), "dynamo"),
    "pieces": ("x", "split = torch.ops.aten.split.Tensor(x, 2, 1); a = operator.getitem(split, 0); "
               "b = operator.getitem(split, 1); cat = torch.ops.aten.cat.default([a, b], 1); return (cat,)",
               (T(4, 4),), "make_fx"),
}
CAT = "cat = torch.cat([x, y], dim=-1); relu = torch.relu(cat); return (relu,)"

# direction, graph, edit, the graph after it, its inputs where they change
OFFERED: tuple[tuple[str, ...], ...] = (
    ("extra_users", "cat", "neg(cat) returned too",
     "cat = torch.cat([x, y], dim=-1); relu = torch.relu(cat); neg = torch.neg(cat); return (relu, neg)"),
    ("extra_users", "scale", "2 * scale returned too",
     'self.scale: "f32[4](parameter=True)"; scale = self.scale; mul = torch.mul(x, scale); '
     "mul_1 = operator.mul(2, scale); return (mul, mul_1)"),
    ("extra_users", "scale", "scale times its shape[0] returned too",
     'self.scale: "f32[4](parameter=True)"; scale = self.scale; mul = torch.mul(x, scale); '
     "getattr_1 = getattr(scale, 'shape'); getitem = operator.getitem(getattr_1, 0); "
     "mul_1 = operator.mul(scale, getitem); return (mul, mul_1)"),
    ("attributes", "scale", "scale returned too, whole",
     'self.scale: "f32[4](parameter=True)"; scale = self.scale; mul = torch.mul(x, scale); return (mul, scale)'),
    ("attributes", "scale", "scale returned too, in one piece",
     'self.scale: "f32[4](parameter=True)"; scale = self.scale; mul = torch.mul(x, scale); '
     "split = torch.split(scale, 4); getitem = operator.getitem(split, 0); return (mul, getitem)"),
    ("extra_users", "vector", "2 - sin returned too",
     "sin = torch.ops.aten.sin.default(x); sub = torch.ops.aten.sub.Tensor(2, sin); return (sin, sub)"),
    ("keywords", "tower", "Dropout.input as keyword",
     "self.first = torch.nn.Linear(4, 4); self.second = torch.nn.Linear(4, 4); self.drop = torch.nn.Dropout(); "
     "first = self.first(x); second = self.second(first); drop = self.drop(input=second); return drop"),
    ("keywords", "method", "sum.dim as axis=", "sum_1 = x.sum(axis=1); return (sum_1,)"),
    ("signature", "chunks", "x named input",
     "chunk = torch.chunk(input, 2); getitem = operator.getitem(chunk, 0); reshape = getitem.reshape(1, 3); "
     "getitem_1 = operator.getitem(chunk, 1); reshape_1 = getitem_1.reshape(1, 3); "
     "add = torch.add(reshape, reshape_1); return (add,)"),
    ("modules", "tower", "first named submod_1",
     "self.submod_1 = torch.nn.Linear(4, 4); self.second = torch.nn.Linear(4, 4); self.drop = torch.nn.Dropout(); "
     "submod_1 = self.submod_1(x); second = self.second(submod_1); drop = self.drop(second); return drop"),
    ("modules", "tower", "first within a module, second named like its path",
     "self.block_1.first = torch.nn.Linear(4, 4); self.block_1_first = torch.nn.Linear(4, 4); "
     "self.drop = torch.nn.Dropout(); block_1_first = self.block_1.first(x); "
     "block_1_first_1 = self.block_1_first(block_1_first); drop = self.drop(block_1_first_1); return drop"),
    ("attributes", "scale", "scale named fused_0",
     'self.fused_0: "f32[4](parameter=True)"; fused_0 = self.fused_0; mul = torch.mul(x, fused_0); return mul'),
    ("inserted", "vector", "unsqueeze last after sin",
     "sin = torch.ops.aten.sin.default(x); unsqueeze = torch.ops.aten.unsqueeze.default(sin, -1); return (unsqueeze,)"),
    ("copies", "split", "split twice, piece 0 of each returned",
     "split = torch.split(x, 2, dim=-1); getitem = operator.getitem(split, 0); getitem_1 = operator.getitem(split, 1); "
     "mul = operator.mul(getitem, getitem_1); split_1 = torch.split(x, 2, dim=-1); "
     "getitem_2 = operator.getitem(split_1, 0); getitem_3 = operator.getitem(split, 0); "
     "return (mul, getitem_2, getitem_3)"),
    ("together", "chunks", "every reshape.shape: (1, 3) -> (3, 1)",
     "chunk = torch.chunk(x, 2); getitem = operator.getitem(chunk, 0); reshape = getitem.reshape((3, 1)); "
     "getitem_1 = operator.getitem(chunk, 1); reshape_1 = getitem_1.reshape((3, 1)); "
     "add = torch.add(reshape, reshape_1); return (add,)"),
    ("literals", "grouped", "dims 0 and 1 swapped, in inputs too",
     "split = torch.split(x, [2, 4], dim=0); getitem = operator.getitem(split, 0); "
     "getitem_1 = operator.getitem(split, 1); split_1 = torch.split(getitem_1, 2, dim=0); "
     "getitem_2 = operator.getitem(split_1, 0); "
     "add = torch.add(getitem, getitem_2); return (add,)", "f32[6, 3]"),
    ("literals", "converted", "every torch.float16 -> torch.bfloat16",
     "to = x.to(torch.bfloat16); to_1 = to.to(torch.float32); add = torch.add(to_1, to); "
     "sum_1 = torch.sum(add, dtype=torch.bfloat16); return (sum_1,)"),
    ("literals", "converted", "torch.float16 and torch.float32 swapped, in inputs too",
     "to = x.to(torch.float32); to_1 = to.to(torch.float16); add = torch.add(to_1, to); "
     "sum_1 = torch.sum(add, dtype=torch.float32); return (sum_1,)", "f16[2, 3]"),
    ("regrouped", "chunks", "every reshape: flat",
     "chunk = torch.chunk(x, 2); getitem = operator.getitem(chunk, 0); reshape = getitem.reshape([3]); "
     "getitem_1 = operator.getitem(chunk, 1); reshape_1 = getitem_1.reshape([3]); "
     "add = torch.add(reshape, reshape_1); return (add,)"),
    ("regrouped", "pieces", "every member of cat viewed: dim 0 cut by 2",
     "split = torch.ops.aten.split.Tensor(x, 2, 1); getitem = operator.getitem(split, 0); "
     "reshape = torch.ops.aten.reshape.default(getitem, [2, 2, 2]); getitem_1 = operator.getitem(split, 1); "
     "reshape_1 = torch.ops.aten.reshape.default(getitem_1, [2, 2, 2]); "
     "cat = torch.ops.aten.cat.default([reshape, reshape_1], 1); return (cat,)"),
    ("runs", "pieces", "cat run of split, another within it",
     "split = torch.ops.aten.split.Tensor(x, 2, 1); getitem = operator.getitem(split, 0); "
     "split_1 = torch.ops.aten.split.Tensor(x_1, 2, 1); getitem_1 = operator.getitem(split_1, 0); "
     "getitem_2 = operator.getitem(split_1, 1); getitem_3 = operator.getitem(split, 1); "
     "cat = torch.ops.aten.cat.default([getitem, getitem_1, getitem_2, getitem_3], 1); return (cat,)",
     "f32[4, 4], f32[4, 4]"),
    ("runs", "joined", "cat members [2, 0, 1]",
     "split = torch.split(x, 2, dim=1); getitem = operator.getitem(split, 0); getitem_1 = operator.getitem(split, 1); "
     "cat = torch.cat([y, getitem, getitem_1], 1); return (cat,)"),
    ("values", "squeezed", "squeeze.dim: 1 -> (1, 0)",
     "squeeze = torch.squeeze(x, (1, 0)); return (squeeze,)"),
    ("keywords", "cat", "cat.dim by position",
     "cat = torch.cat([x, y], -1); relu = torch.relu(cat); return (relu,)"),
    ("dtypes", "cat", "x: torch.float64", CAT, "f64[2, 3], f32[2, 3]"),
    ("values", "cat", "cat.dim: -1 -> 0",
     "cat = torch.cat([x, y], dim=0); relu = torch.relu(cat); return (relu,)"),
    ("writes", "cat", "add_ on x before relu",
     "cat = torch.cat([x, y], dim=-1); add_ = x.add_(1); relu = torch.relu(cat); return (relu,)"),
    ("writes", "cat", "t_ on cat before relu",
     "cat = torch.cat([x, y], dim=-1); t_ = cat.t_(); relu = torch.relu(cat); return (relu,)"),
    ("writes", "split", "unsqueeze_ on b before mul",
     "split = torch.split(x, 2, dim=-1); getitem = operator.getitem(split, 0); "
     "getitem_1 = operator.getitem(split, 1); unsqueeze_ = getitem_1.unsqueeze_(0); "
     "mul = operator.mul(getitem, getitem_1); return (mul,)"),
    ("writes", "sums", "squeeze_ on sum_1 before sum_2",
     "sum_1 = torch.sum(x, dim=1, keepdim=True); squeeze_ = sum_1.squeeze_(1); sum_2 = torch.sum(sum_1, dim=1); "
     "return (sum_2,)"),
    ("writes", "sums", "unsqueeze_ on sum_1 last, returned",
     "sum_1 = torch.sum(x, dim=1, keepdim=True); sum_2 = torch.sum(sum_1, dim=1); "
     "unsqueeze_ = sum_1.unsqueeze_(0); return (sum_2, sum_1)"),
    ("writes", "split", "t_ on a copy of x before mul",
     "clone = x.clone(); split = torch.split(clone, 2, dim=-1); getitem = operator.getitem(split, 0); "
     "getitem_1 = operator.getitem(split, 1); t_ = clone.t_(); mul = operator.mul(getitem, getitem_1); return (mul,)"),
    ("writes", "cat", "add_ on a copy of x before cat",
     "transpose = x.transpose(0, -1); clone = transpose.clone(); add_ = clone.add_(1); "
     "cat = torch.cat([clone, y], dim=-1); relu = torch.relu(cat); return (relu,)", "f32[3, 2], f32[2, 3]"),
    ("writes", "cat", "add_ on x, a view of which is read, last",
     "transpose = x.transpose(0, -1); cat = torch.cat([transpose, y], dim=-1); relu = torch.relu(cat); "
     "add_ = x.add_(1); return (relu,)", "f32[3, 2], f32[2, 3]"),
    ("operands", "cat", "cat[0][1]: y -> x",
     "cat = torch.cat([x, x], dim=-1); relu = torch.relu(cat); return (relu,)"),
    ("copies", "cat", "two patterns on other inputs",
     "cat = torch.cat([x, y], dim=-1); relu = torch.relu(cat); cat_1 = torch.cat([x_1, y_1], dim=-1); "
     "relu_1 = torch.relu(cat_1); return (relu, relu_1)", "f32[2, 3], f32[2, 3], f32[2, 3], f32[2, 3]"),
    ("defaults", "cat", "cat.dim left out",
     "cat = torch.cat([x, y]); relu = torch.relu(cat); return (relu,)"),
    ("sizes", "cat", "every size 2 -> 3", CAT, "f32[3, 3], f32[3, 3]"),
    ("spellings", "cat", "relu as method relu",
     "cat = torch.cat([x, y], dim=-1); relu = cat.relu(); return (relu,)"),
    ("sections", "split", "split unevenly: [3, 1]",
     "split = torch.split(x, [3, 1], dim=-1); getitem = operator.getitem(split, 0); "
     "getitem_1 = operator.getitem(split, 1); mul = operator.mul(getitem, getitem_1); return (mul,)"),
    ("sections", "pieces", "split into one piece more: [1, 1, 2]",
     "split_with_sizes = torch.ops.aten.split_with_sizes.default(x, [1, 1, 2], 1); "
     "getitem = operator.getitem(split_with_sizes, 0); getitem_1 = operator.getitem(split_with_sizes, 2); "
     "cat = torch.ops.aten.cat.default([getitem, getitem_1], 1); return (cat,)"),
    ("sections", "pieces", "split by 3: 1 left",
     "split = torch.ops.aten.split.Tensor(x, 3, 1); getitem = operator.getitem(split, 0); "
     "getitem_1 = operator.getitem(split, 1); cat = torch.ops.aten.cat.default([getitem, getitem_1], 1); "
     "return (cat,)"),
    ("sections", "pieces", "split of 3",
     "slice_1 = torch.ops.aten.slice.Tensor(x, 1, 0, 3); split = torch.ops.aten.split.Tensor(slice_1, 2, 1); "
     "getitem = operator.getitem(split, 0); getitem_1 = operator.getitem(split, 1); "
     "cat = torch.ops.aten.cat.default([getitem, getitem_1], 1); return (cat,)"),
    ("sections", "split", "split beside a split by 3",
     "split = torch.split(x, 2, dim=-1); getitem = operator.getitem(split, 0); getitem_1 = operator.getitem(split, 1); "
     "mul = operator.mul(getitem, getitem_1); split_1 = torch.split(x, 3, dim=-1); "
     "getitem_2 = operator.getitem(split_1, 0); getitem_3 = operator.getitem(split_1, 1); "
     "return (mul, getitem_2, getitem_3)"),
    ("outputs", "cat", "cat returned first",
     "cat = torch.cat([x, y], dim=-1); relu = torch.relu(cat); return (cat, relu)"),
    ("outputs", "tower", "outputs packed in a dict by the generated code",
     "self.first = torch.nn.Linear(4, 4); self.second = torch.nn.Linear(4, 4); self.drop = torch.nn.Dropout(); "
     "first = self.first(x); second = self.second(first); drop = self.drop(second); "
     "return pytree({'value_0': drop})"),
    ("reads", "split", "a by index -2",
     "split = torch.split(x, 2, dim=-1); getitem = operator.getitem(split, -2); "
     "getitem_1 = operator.getitem(split, 1); mul = operator.mul(getitem, getitem_1); return (mul,)"),
    ("reads", "split", "b of split called again on another x",
     "split = torch.split(x, 2, dim=-1); getitem = operator.getitem(split, 0); split_1 = torch.split(x_1, 2, dim=-1); "
     "getitem_1 = operator.getitem(split_1, 1); mul = operator.mul(getitem, getitem_1); return (mul,)",
     "f32[4, 4], f32[4, 4]"),
    ("inserted", "cat", "neg after cat",
     "cat = torch.cat([x, y], dim=-1); neg = torch.neg(cat); relu = torch.relu(neg); return (relu,)"),
    ("inserted", "aten", "clone after add",
     "add = torch.ops.aten.add.Tensor(x, y); clone = torch.ops.aten.clone.default(add); "
     "permute = torch.ops.aten.permute.default(clone, [1, 0]); return (permute,)"),
    ("operand_lists", "cat", "cat operands [1, 0]",
     "cat = torch.cat([y, x], dim=-1); relu = torch.relu(cat); return (relu,)"),
    ("members", "cat", "cat: a slice (slice(None, None, None), slice(3, 6, None)) of f32[2, 7] added at 1",
     "getitem = operator.getitem(x_1, (slice(None, None, None), slice(3, 6, None))); "
     "cat = torch.cat([x, getitem, y], dim=-1); relu = torch.relu(cat); return (relu,)",
     "f32[2, 3], f32[2, 3], f32[2, 7]"),
    ("members", "pieces", "cat: a piece of another unbind [1] of f32[3, 4, 2] in the place of 1",
     "split = torch.ops.aten.split.Tensor(x, 2, 1); getitem = operator.getitem(split, 0); "
     "unbind = torch.ops.aten.unbind.int(x_1); getitem_1 = operator.getitem(unbind, 1); "
     "cat = torch.ops.aten.cat.default([getitem, getitem_1], 1); return (cat,)", "f32[4, 4], f32[3, 4, 2]"),
    ("members", "pieces", "cat: a piece of another split, two apart [0, 1] of f32[4, 4] added at 0",
     "split_with_sizes = torch.ops.aten.split_with_sizes.default(x_1, [2, 2], 1); "
     "getitem = operator.getitem(split_with_sizes, 0); split = torch.ops.aten.split.Tensor(x, 2, 1); "
     "getitem_1 = operator.getitem(split, 0); getitem_2 = operator.getitem(split_with_sizes, 1); "
     "getitem_3 = operator.getitem(split, 1); "
     "cat = torch.ops.aten.cat.default([getitem, getitem_1, getitem_2, getitem_3], 1); return (cat,)",
     "f32[4, 4], f32[4, 4]"),
    ("members", "tanhs", "stack: the tanh of another input of f32[2, 3] in the place of 1",
     "tanh = torch.tanh(x); tanh_1 = torch.tanh(x_1); stack = torch.stack([tanh, tanh_1]); return (stack,)",
     "f32[2, 3], f32[2, 3], f32[2, 3]"),
    ("members", "cat", "cat: an empty vector of f32[0] added at 2",
     "cat = torch.cat([x, y, x_1], dim=-1); relu = torch.relu(cat); return (relu,)", "f32[2, 3], f32[2, 3], f32[0]"),
    ("input_values", "cat", "x: special", CAT, 'f32[2, 3](values="special"), f32[2, 3]'),
    ("input_values", "cat", "x: large", CAT, 'f32[2, 3](values="large"), f32[2, 3]'),
    ("input_values", "linear", "3 inputs: torch.float16, w large",
     "linear = torch.nn.functional.linear(x, w, b); permute = linear.permute(1, 0); tanh = torch.tanh(permute); "
     "return (tanh,)", 'f16[3, 3], f16[3, 3](values="large"), f16[3]'),
    ("modules", "tower", "second.out_features: 4 -> 5",
     "self.first = torch.nn.Linear(4, 4); self.second_1 = torch.nn.Linear(4, 5); self.drop = torch.nn.Dropout(); "
     "first = self.first(x); second_1 = self.second_1(first); drop = self.drop(second_1); return drop"),
    ("modules", "tower", "first with a hook on its output",
     'self.first_1 = torch.nn.Linear(4, 4).hooked("output"); self.second = torch.nn.Linear(4, 4); '
     "self.drop = torch.nn.Dropout(); first_1 = self.first_1(x); second = self.second(first_1); "
     "drop = self.drop(second); return drop"),
    ("modules", "tower", "second within a module",
     "self.first = torch.nn.Linear(4, 4); self.block_1.second = torch.nn.Linear(4, 4); "
     "self.drop = torch.nn.Dropout(); first = self.first(x); block_1_second = self.block_1.second(first); "
     "drop = self.drop(block_1_second); return drop"),
    ("modules", "images", "up.padding: (0, 0) -> (1, 1)",
     "self.conv = torch.nn.Conv2d(2, 2, (3, 3)); self.pool = torch.nn.AvgPool2d(2, stride=2); "
     "self.up_1 = torch.nn.ConvTranspose2d(2, 2, (3, 3), stride=(2, 2), padding=(1, 1)); conv = self.conv(x); "
     "pool = self.pool(conv); up_1 = self.up_1(pool); return up_1"),
    ("modules", "images", "up.output_size = [6, 6] by position",
     "self.conv = torch.nn.Conv2d(2, 2, (3, 3)); self.pool = torch.nn.AvgPool2d(2, stride=2); "
     "self.up = torch.nn.ConvTranspose2d(2, 2, (3, 3), stride=(2, 2)); conv = self.conv(x); "
     "pool = self.pool(conv); up = self.up(pool, [6, 6]); return up"),
    ("modules", "images", "conv.padding_mode: 'zeros' -> 'circular'",
     "self.conv_1 = torch.nn.Conv2d(2, 2, (3, 3), padding=(1, 1), padding_mode='circular'); "
     "self.pool = torch.nn.AvgPool2d(2, stride=2); "
     "self.up = torch.nn.ConvTranspose2d(2, 2, (3, 3), stride=(2, 2)); conv_1 = self.conv_1(x); "
     "pool = self.pool(conv_1); up = self.up(pool); return up"),
    ("modules", "images", "conv.padding: (0, 0) -> 'same'",
     "self.conv_1 = torch.nn.Conv2d(2, 2, (3, 3), padding='same'); "
     "self.pool = torch.nn.AvgPool2d(2, stride=2); "
     "self.up = torch.nn.ConvTranspose2d(2, 2, (3, 3), stride=(2, 2)); conv_1 = self.conv_1(x); "
     "pool = self.pool(conv_1); up = self.up(pool); return up"),
    ("modules", "images", "pool.divisor_override: None -> 3",
     "self.conv = torch.nn.Conv2d(2, 2, (3, 3)); self.pool_1 = torch.nn.AvgPool2d(2, stride=2, divisor_override=3); "
     "self.up = torch.nn.ConvTranspose2d(2, 2, (3, 3), stride=(2, 2)); conv = self.conv(x); "
     "pool_1 = self.pool_1(conv); up = self.up(pool_1); return up"),
    ("modes", "tower", "drop in eval mode",
     "self.first = torch.nn.Linear(4, 4); self.second = torch.nn.Linear(4, 4); "
     "self.drop_1 = torch.nn.Dropout().eval(); first = self.first(x); second = self.second(first); "
     "drop_1 = self.drop_1(second); return drop_1"),
    ("sharing", "tower", "second calls first",
     "self.first = torch.nn.Linear(4, 4); self.drop = torch.nn.Dropout(); first = self.first(x); "
     "first_1 = self.first(first); drop = self.drop(first_1); return drop"),
    ("single_site", "sums", "sum_1.dim: 1 -> 2",
     "sum_1 = torch.sum(x, keepdim=True, dim=2); sum_2 = torch.sum(sum_1, dim=1); return (sum_2,)"),
    ("fresh_operands", "cat", "cat[0][0]: x -> f64[2, 3]",
     "cat = torch.cat([x_1, y], dim=-1); relu = torch.relu(cat); return (relu,)", "f32[2, 3], f32[2, 3], f64[2, 3]"),
    ("random", "cat", "1 rand_like(x) returned",
     "rand_like = torch.rand_like(x); cat = torch.cat([x, y], dim=-1); relu = torch.relu(cat); "
     "return (relu, rand_like)"),
    ("out", "cat", "cat out=, buffer read",
     "cat = torch.cat([x, y], dim=-1, out=out_1); relu = torch.relu(out_1); return (relu,)",
     'f32[2, 3], f32[2, 3], f32[2, 6](values="zeros")'),
    ("in_place", "cat", "relu as relu_",
     "cat = torch.cat([x, y], dim=-1); relu_ = cat.relu_(); return (relu_,)"),
    ("epilogue", "aten", "x advanced, then add copied into a new input",
     "add = torch.ops.aten.add.Tensor(x, y); permute = torch.ops.aten.permute.default(add, [1, 0]); "
     "add_1 = torch.ops.aten.add.Tensor(x, 1); copy_ = torch.ops.aten.copy_.default(x, add_1); "
     "copy__1 = torch.ops.aten.copy_.default(x_1, add); return (permute,)", "f32[2, 3], f32[2, 3], f32[2, 3]"),
    ("values", "made", "full.size: [2, 3] -> []",
     "full = torch.ops.aten.full.default([], 1); add = torch.ops.aten.add.Tensor(x, full); return (add,)"),
    ("epilogue", "aten", "add copied into x last",
     "add = torch.ops.aten.add.Tensor(x, y); permute = torch.ops.aten.permute.default(add, [1, 0]); "
     "copy_ = torch.ops.aten.copy_.default(x, add); return (permute,)"),
    ("epilogue", "epilogue", "y advanced last, a view of it read",
     "permute = torch.ops.aten.permute.default(y, [1, 0]); add = torch.ops.aten.add.Tensor(x, permute); "
     "mul = torch.ops.aten.mul.Tensor(add, 2); add_1 = torch.ops.aten.add.Tensor(y, 1); "
     "copy_ = torch.ops.aten.copy_.default(x, add); copy__1 = torch.ops.aten.copy_.default(y, add_1); return (mul,)",
     "f32[2, 3], f32[3, 2]"),
    ("exchanged", "aten", "add: add -> maximum",
     "maximum = torch.ops.aten.maximum.default(x, y); "
     "permute = torch.ops.aten.permute.default(maximum, [1, 0]); return (permute,)"),
    ("neighbours", "linear", "permute and tanh swapped",
     "linear = torch.nn.functional.linear(x, w, b); tanh = torch.tanh(linear); permute = tanh.permute(1, 0); "
     "return (permute,)"),
    ("literals", "sums", "every dim 1 -> 0",
     "sum_1 = torch.sum(x, keepdim=True, dim=0); sum_2 = torch.sum(sum_1, dim=0); return (sum_2,)"),
    ("together", "pieces", "every getitem of split: [-1, 0]",
     "split = torch.ops.aten.split.Tensor(x, 2, 1); getitem = operator.getitem(split, -1); "
     "getitem_1 = operator.getitem(split, 0); cat = torch.ops.aten.cat.default([getitem, getitem_1], 1); "
     "return (cat,)"),
    ("together", "made", "full: 300, torch.int64, without dims, added to 100, torch.int8",
     "full = torch.ops.aten.full.default([], 300, dtype=torch.int64); "
     "full_1 = torch.ops.aten.full.default([2, 3], 100, dtype=torch.int8); "
     "add = torch.ops.aten.add.Tensor(full, full_1); add_1 = torch.ops.aten.add.Tensor(x, add); return (add_1,)"),
    ("single_site", "norms", "second.eps: 1e-05 -> 5e-09, elsewhere 1e-09",
     "layer_norm = torch.nn.functional.layer_norm(x, (3,), eps=1e-09); "
     "layer_norm_1 = torch.nn.functional.layer_norm(layer_norm, (3,), eps=5e-09); return (layer_norm_1,)"),
    ("equations", "einsum", "einsum 'ij,jk->ik' -> 'jk,ij->ik'",
     "einsum = torch.einsum('jk,ij->ik', x, y); return (einsum,)"),
    ("gradients", "cat", "x: requires_grad=True", CAT, "f32[2, 3](requires_grad=True), f32[2, 3]"),
    ("layouts", "cat", "x: transposed", CAT, 'f32[2, 3](layout="transposed"), f32[2, 3]'),
    ("absent_operands", "linear", "linear.bias = None",
     "linear = torch.nn.functional.linear(x, w, None); permute = linear.permute(1, 0); tanh = torch.tanh(permute); "
     "return (tanh,)"),
    ("one_input", "cat", "x also in the place of y",
     "cat = torch.cat([x, x], dim=-1); relu = torch.relu(cat); return (relu,)"),
    ("removed", "cat", "relu removed, cat read instead",
     "cat = torch.cat([x, y], dim=-1); return (cat,)"),
    ("ranks", "cat", "2 inputs: leading dim added", CAT, "f32[2, 2, 3], f32[2, 2, 3]"),
    ("ranks", "split", "x: dim of 4 put in at 1",
     "split = torch.split(x, 2, dim=-1); getitem = operator.getitem(split, 0); "
     "getitem_1 = operator.getitem(split, 1); mul = operator.mul(getitem, getitem_1); return (mul,)", "f32[4, 4, 4]"),
    ("ranks", "vector weight", "x, w: a dim more and one less",
     "linear = torch.nn.functional.linear(x, w); return (linear,)", "f32[2, 3, 4], f32[4]"),
    ("order", "two", "sin right before sub",
     "sin = torch.ops.aten.sin.default(x); exp = torch.ops.aten.exp.default(y); "
     "sub = torch.ops.aten.sub.Tensor(sin, exp); return (sub,)"),  # as text it is the same graph
    ("regions", "cat", "relu alone without gradients",
     "cat = torch.cat([x, y], dim=-1); _set_grad_enabled = torch._C._set_grad_enabled(False); "
     "relu = torch.relu(cat); _set_grad_enabled_1 = torch._C._set_grad_enabled(True); return (relu,)",
     "f32[2, 3](requires_grad=True), f32[2, 3](requires_grad=True)"),
    ("regions", "cat", "cat once more, without gradients",
     "cat = torch.cat([x, y], dim=-1); _set_grad_enabled = torch._C._set_grad_enabled(False); "
     "cat_1 = torch.cat([x, y], dim=-1); _set_grad_enabled_1 = torch._C._set_grad_enabled(True); "
     "relu = torch.relu(cat); return (relu, cat_1)",
     "f32[2, 3](requires_grad=True), f32[2, 3](requires_grad=True)"),
    ("regions", "linear", "linear to permute under autocast",
     "_enter_autocast = torch.amp.autocast_mode._enter_autocast('cpu', torch.bfloat16, True, None); "
     "linear = torch.nn.functional.linear(x, w, b); permute = linear.permute(1, 0); "
     "_exit_autocast = torch.amp.autocast_mode._exit_autocast(_enter_autocast); tanh = torch.tanh(permute); "
     "return (tanh,)"),
    ("regions", "cat", "cat and what follows under autocast",
     "_enter_autocast = torch.amp.autocast_mode._enter_autocast('cpu', torch.bfloat16, True, None); "
     "cat = torch.cat([x, y], dim=-1); relu = torch.relu(cat); "
     "_exit_autocast = torch.amp.autocast_mode._exit_autocast(_enter_autocast); return (relu,)"),
    ("unread_inputs", "aten", "an unread number",
     "add = torch.ops.aten.add.Tensor(x, y); permute = torch.ops.aten.permute.default(add, [1, 0]); return (permute,)",
     "f32[2, 3], f32[2, 3], f32[]"),
    ("attributes", "scale", "scale of shape [1, 4]",
     'self.scale_1: "f32[1, 4](requires_grad=True)" = [[1.0, 1.0, 1.0, 1.0]]; '
     "scale_1 = self.scale_1; mul = torch.mul(x, scale_1); return mul"),
    ("attributes", "scale", "scale of shape []",
     'self.scale_1: "f32[](requires_grad=True)" = 1.0; '
     "scale_1 = self.scale_1; mul = torch.mul(x, scale_1); return mul"),
    ("unread_inputs", "cat", "an unread view of x",
     "cat = torch.cat([x, y], dim=-1); relu = torch.relu(cat); unsqueeze = torch.unsqueeze(x, 0); return (relu,)"),
    ("attributes", "scale", "scale zero",
     'self.scale_1: "f32[4](requires_grad=True)" = [0.0, 0.0, 0.0, 0.0]; '
     "scale_1 = self.scale_1; mul = torch.mul(x, scale_1); return mul"),
    ("everything", "tower", "inputs and parameters torch.float64",
     "self.first_1 = torch.nn.Linear(4, 4, dtype=torch.float64); "
     "self.second_1 = torch.nn.Linear(4, 4, dtype=torch.float64); self.drop_1 = torch.nn.Dropout(); "
     "first_1 = self.first_1(x); second_1 = self.second_1(first_1); drop_1 = self.drop_1(second_1); return drop_1",
     "f64[2, 4]"),
    ("restrided", "cat", "cat in other strides",
     "cat = torch.cat([x, y], dim=-1); transpose = torch.transpose(cat, 0, -1); "
     "clone = torch.clone(transpose, memory_format=torch.contiguous_format); "
     "transpose_1 = torch.transpose(clone, 0, -1); relu = torch.relu(transpose_1); return (relu,)"),
    ("tensors_for_numbers", "epilogue", "mul.other: 2 -> f32[]",
     "add = torch.ops.aten.add.Tensor(x, y); mul = torch.ops.aten.mul.Tensor(add, x_1); "
     "copy_ = torch.ops.aten.copy_.default(x, add); return (mul,)", "f32[2, 3], f32[2, 3], f32[]"),
    ("restrided", "written", "x of one row repeated",
     "slice_1 = torch.ops.aten.slice.Tensor(x, 0, 0, 1); expand = torch.ops.aten.expand.default(slice_1, [3, 2]); "
     "slice_scatter = torch.ops.aten.slice_scatter.default(expand, y, 0, 1, 3); return (slice_scatter,)"),
    ("restrided", "stacked", "stack of overlapping rows",
     "stack = torch.stack([x, y]); clone = torch.clone(stack, memory_format=torch.contiguous_format); "
     "as_strided = torch.as_strided(clone, [2, 2], [1, 1]); return (as_strided,)"),
    ("restrided", "cat", "relu of cat in other strides, viewed flat",
     "cat = torch.cat([x, y], dim=-1); transpose = torch.transpose(cat, 0, -1); "
     "clone = torch.clone(transpose, memory_format=torch.contiguous_format); "
     "transpose_1 = torch.transpose(clone, 0, -1); relu = torch.relu(transpose_1); "
     "permute = torch.permute(relu, [1, 0]); view = permute.view(-1); return (relu, view)"),
    ("operands", "written", "put[1]: y -> the last items of x",
     "slice_1 = torch.ops.aten.slice.Tensor(x, 0, 1, 3); "
     "slice_scatter = torch.ops.aten.slice_scatter.default(x, slice_1, 0, 1, 3); return (slice_scatter,)"),
    ("operands", "linear", "linear[2]: b -> a row of x",
     "select = torch.select(x, 0, 0); linear = torch.nn.functional.linear(x, w, select); "
     "permute = linear.permute(1, 0); tanh = torch.tanh(permute); return (tanh,)"),
    ("copies", "vector", "div of 0.0 and of -0.0 to x, subtracted",
     "sin = torch.ops.aten.sin.default(x); div = torch.ops.aten.div.Tensor(x, 0.0); "
     "div_1 = torch.ops.aten.div.Tensor(x, -0.0); sub = torch.ops.aten.sub.Tensor(div, div_1); return (sin, sub)"),
    ("copies", "cat", "cat twice, returned",
     "cat = torch.cat([x, y], dim=-1); relu = torch.relu(cat); cat_1 = torch.cat([x, y], dim=-1); "
     "return (relu, cat, cat_1)"),
    ("copies", "cat", "cat twice, added",
     "cat = torch.cat([x, y], dim=-1); relu = torch.relu(cat); cat_1 = torch.cat([x, y], dim=-1); "
     "add = torch.add(cat, cat_1); return (relu, add)"),
    ("extra_users", "vector", "items by a tensor(sin) returned too",
     "sin = torch.ops.aten.sin.default(x); index = torch.ops.aten.index.Tensor(sin, [x_1]); return (sin, index)",
     'f32[3], i64[2](values="index:3")'),
    ("extra_users", "stacked", "items by a list(stack) returned too",
     "stack = torch.stack([x, y]); getitem = operator.getitem(stack, [0, -1]); return (stack, getitem)"),
    ("inserted", "stacked", "2 * x after y",
     "mul = operator.mul(2, y); stack = torch.stack([x, mul]); return (stack,)"),
    ("inserted", "stacked", "x * x after stack",
     "stack = torch.stack([x, y]); mul = operator.mul(stack, stack); return (mul,)"),
    ("random", "split", "rand_like(a), then rand_like(x)",
     "split = torch.split(x, 2, dim=-1); getitem = operator.getitem(split, 0); rand_like = torch.rand_like(getitem); "
     "rand_like_1 = torch.rand_like(x); getitem_1 = operator.getitem(split, 1); "
     "mul = operator.mul(getitem, getitem_1); return (mul, rand_like, rand_like_1)"),
    ("reads", "chunks", "b read of a slice",
     "chunk = torch.chunk(x, 2); getitem = operator.getitem(chunk, 0); reshape = getitem.reshape(1, 3); "
     "getitem_1 = operator.getitem(chunk, slice(1, None, None)); getitem_2 = operator.getitem(getitem_1, 0); "
     "reshape_1 = getitem_2.reshape(1, 3); add = torch.add(reshape, reshape_1); return (add,)"),
    ("removed", "chunks", "every reshape keeps the sizes, reshape_1 left out",
     "chunk = torch.chunk(x, 2); getitem = operator.getitem(chunk, 0); reshape = getitem.reshape(1, 3); "
     "getitem_1 = operator.getitem(chunk, 1); add = torch.add(reshape, getitem_1); return (add,)"),
    ("sequences", "cat", "cat argument 0 as tuple",
     "cat = torch.cat((x, y), dim=-1); relu = torch.relu(cat); return (relu,)"),
)

# direction, graph, an edit that torch would refuse, one of the same kind that it does not
UNFIT = (
    ("dtypes", "linear", "x: torch.float64", "3 inputs: torch.float64"),
    ("operands", "split", "mul[0]: a -> x", "mul[0]: a -> b"),
    ("literals", "grouped", "every dim 1 -> 0", "every dim 1 -> -1"),
    ("regrouped", "pieces", "every member of cat viewed: flat", "every member of cat viewed: dim 0 cut by 2"),
    ("copies", "cat", "two patterns fed by the first", "two patterns on other inputs"),
    ("sizes", "split", "x: dim 1: 4 -> 2", "x: dim 0: 4 -> 2"),
    ("inserted", "cat", "unsqueeze after x", "unsqueeze after cat"),
    ("input_values", "linear", "x: extreme torch.int8", "3 inputs: extreme torch.int8"),
    ("input_values", "linear", "3 inputs: large", "x: large"),
    ("modules", "tower", "first.in_features: 4 -> 5", "second.out_features: 4 -> 5"),
    ("fresh_operands", "cat", "cat[0][0]: x -> f32[]", "cat[0][0]: x -> f64[2, 3]"),
    ("restrided", "epilogue", "x of one row repeated", "y of one row repeated"),
    ("restrided", "vector", "x in other strides", "x of one row repeated"),
    ("reads", "split", "a read of a slice", "a by index -2"),
    ("operands", "linear", "linear[2]: b -> the first items of x", "linear[2]: b -> a row of x"),
    ("members", "stacked", "stack: wider of f32[4] added at 1", "stack: a new input of f32[2] added at 1"),
    ("one_input", "linear", "b also in the place of w", "x also in the place of w"),
    ("ranks", "cat", "x: leading dim added", "2 inputs: leading dim added"),
    ("ranks", "cat", "x, y: a dim more and one less", "2 inputs: leading dim added"),
    ("equations", "einsum", "einsum 'ij,jk->ik' -> 'jj,jk->ik'", "einsum 'ij,jk->ik' -> 'jk,ij->ik'"),
    ("values", "sums", "sum.dim: 1 -> 3 (2 calls)", "sum.dim: 1 -> 2 (2 calls)"),
    ("gradients", "cat", "x: requires_grad=False", "x: requires_grad=True"),
    ("attributes", "scale", "scale of shape [4, 1]", "scale of shape [1]"),
    ("writes", "linear", "unsqueeze_ on linear before permute", "t_ on linear before permute"),
    ("writes", "split", "unsqueeze_ on x before mul", "unsqueeze_ on a copy of x before mul"),
    ("epilogue", "epilogue", "x advanced last", "y advanced last"),
    ("modules", "images", "up.padding: (0, 0) -> 'same'", "conv.padding: (0, 0) -> 'same'"),
    ("modules", "images", "up.output_size = [9, 9] by position", "up.output_size = [6, 6] by position"),
    ("unread_inputs", "cat", "an unread input like x", "an unread result of cat"),
    ("unread_inputs", "aten", "an unread view of x", "an unread input like x"),
    ("regions", "split", "a alone under autocast", "split and what follows under autocast"),
)

# what is done to the graph called "linear", why it does not fit
REFUSED = (
    (lambda d: d.set_args(d.node("tanh"), (d.node("linear"), 1)), "takes 1 positional argument but 2 were given"),
    (lambda d: (d.inputs.__setitem__(0, T(3, 4)), d.touch_inputs()), "cannot be multiplied"),
    (lambda d: d.node("x").replace_all_uses_with(d.node("permute")), "would use a value before it is made"),
)

# direction, a graph on which there is nothing to edit that way
NOT_OFFERED = (
    ("values", "tower"), ("defaults", "tower"), ("spellings", "tower"), ("exchanged", "tower"),
    ("writes", "aten"), ("in_place", "aten"), ("out", "aten"), ("gradients", "aten"), ("sequences", "aten"),
    ("keywords", "recorded"), ("defaults", "recorded"),
    ("epilogue", "cat"), ("sections", "cat"), ("reads", "cat"), ("operand_lists", "linear"), ("members", "linear"),
    ("modules", "cat"),
    ("modes", "cat"), ("sharing", "cat"), ("equations", "cat"), ("together", "cat"), ("single_site", "cat"),
    ("literals", "cat"), ("regrouped", "linear"), ("runs", "cat"),
    ("neighbours", "cat"), ("absent_operands", "cat"), ("one_input", "split"),
    ("order", "epilogue"), ("regions", "aten"), ("attributes", "cat"), ("everything", "cat"),
    ("tensors_for_numbers", "cat"), ("modes", "cat"), ("signature", "cat"),
)


@functools.cache
def graph(name: str) -> Example:
    if name in MODELS:
        model, spec = MODELS[name]
        return capture(model(), (spec,), capture="symbolic")
    parameters, body, specs, stage = GRAPHS[name]
    text = f"def forward(self, {parameters}):\n" + "".join(f"    {line}\n" for line in body.split("; "))
    return capture(text, specs, capture=stage)


@functools.cache
def offered(direction: str, name: str) -> dict[str, Edit]:
    """Return the edits of a direction by what they say."""
    found: dict[str, Edit] = {}
    for edit in edits(graph(name), (direction,))[direction]:
        found.setdefault(edit.what, edit)
    return found


def body(example: Example) -> str:
    """Return the statements of a graph in one line, without types."""
    text = graph_text(example.graph_module, types=False)
    return "; ".join(line.strip() for line in text.split("):\n", 1)[1].strip().splitlines())


def spelled(gm: torch.fx.GraphModule) -> list[str]:
    """Return the calls of operators as they stand, without the names of what they read."""
    return sorted(f"{node.target} {torch.fx.map_arg((node.args, node.kwargs), lambda n: 'n')!r}"
                  for node in gm.graph.nodes if isinstance(node.target, torch._ops.OpOverload))


class DirectionTests(unittest.TestCase):

    maxDiff = None

    def test_an_edit_makes_the_stated_graph(self):
        """Every direction offers the stated edit, and what it makes has the stated text and inputs."""
        for direction, name, what, expected, *inputs in OFFERED:
            with self.subTest(direction, edit=what):
                self.assertIn(what, offered(direction, name))
                edited = step(graph(name), offered(direction, name)[what])
                self.assertEqual(body(edited), expected)
                self.assertEqual(", ".join(map(repr, edited.inputs)),
                                 inputs[0] if inputs else ", ".join(map(repr, graph(name).inputs)))
                self.assertEqual(len(edited.edits), 1)
                self.assertTrue(edited.edits[0].endswith(what))

    def test_every_direction_is_stated(self):
        """The table above has a row for each direction there is."""
        self.assertEqual({row[0] for row in OFFERED}, set(DIRECTIONS))

    def test_what_would_be_refused_is_not_offered(self):
        """Torch is asked before: of two edits of a kind only the one that fits is there."""
        for direction, name, unfit, fit in UNFIT:
            with self.subTest(direction, edit=unfit):
                self.assertNotIn(unfit, offered(direction, name))
                self.assertIn(fit, offered(direction, name))

    def test_an_edit_that_does_not_fit_is_refused(self):
        """It raises Inapplicable with torch's reason or the draft's own, and the example stays as it was."""
        for change, why in REFUSED:
            with self.subTest(why):
                before = graph("linear").text
                with self.assertRaisesRegex(Inapplicable, why):
                    step(graph("linear"), Edit("test", "t", "t", change))
                self.assertEqual(graph_text(graph("linear").graph_module), before)

    def test_nothing_is_offered_where_nothing_fits(self):
        """A direction that has no place in a graph, or that the contract of its stage rules out, offers nothing."""
        for direction, name in NOT_OFFERED:
            with self.subTest(direction, graph=name):
                self.assertEqual(list(offered(direction, name)), [])


def walks(name: str, length: int, count: int, *, outside: bool = False, seed: int = 0) -> Iterator[Example]:
    """Yield ``count`` examples after up to ``length`` edits of random directions that fit, the same in each run."""
    rng = random.Random(f"{name} {length} {seed}")
    for _ in range(count):
        example = graph(name)
        while len(example.edits) < length:
            direction = rng.choice(list(DIRECTIONS))
            found = edits(example, (direction,), outside=outside)[direction]
            with contextlib.suppress(Inapplicable):
                example = step(example, rng.choice(found), outside=outside) if found else example
        yield example


def held(example: Example) -> list[str]:
    """Return what a step must leave alone: the graph, the types of its values, the values of its attributes."""
    gm = example.graph_module
    state = [f"{name} {value.tolist()} {value.requires_grad}" for name, value in
             [*gm.named_parameters(), *gm.named_buffers()]]
    fakes = [f"{node.name} {typed(node.meta.get(example.meta_key))}" for node in gm.graph.nodes]
    return [graph_text(gm), str(gm.graph), repr(example.inputs), *fakes, *state]


def typed(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"{value.dtype} {value.shape} {value.stride()} {value.storage_offset()} {value.requires_grad}"
    return f"[{', '.join(map(typed, value))}]" if isinstance(value, (list, tuple)) else repr(value)


class OrderTests(unittest.TestCase):

    def test_the_order_changes(self):
        """The calls stand in another order, which the canonical text does not show."""
        edited = step(graph("two"), offered("order", "two")["sin right before sub"])
        names = [node.name for node in edited.graph_module.graph.nodes]
        self.assertEqual(names, ["x", "y", "exp", "sin", "sub", "output"])
        self.assertEqual(edited.text, graph("two").text)


    def test_what_enters_a_region_is_typed_anew(self):
        """A product that is moved to where autocast is on has its dtype."""
        example = capture(
            "def forward(self, x, y):\n    mm = torch.mm(x, y)\n"
            "    begin = torch.amp.autocast_mode._enter_autocast('cpu', torch.bfloat16, True, None)\n"
            "    tanh = torch.tanh(mm)\n    end = torch.amp.autocast_mode._exit_autocast(begin)\n    return (tanh,)\n",
            (T(2, 3), T(3, 4)), capture="dynamo")
        edit, = (edit for edit in edits(example, ("order",))["order"] if edit.what == "mm right before tanh")

        values = {node.name: node.meta.get("example_value") for node in step(example, edit).graph_module.graph.nodes}
        self.assertEqual((values["mm"].dtype, values["tanh"].dtype), (torch.bfloat16, torch.bfloat16))
        self.assertEqual(example.graph_module.graph.find_nodes(op="call_function", target=torch.mm)[0]
                         .meta["example_value"].dtype, torch.float32)


class ValuesTests(unittest.TestCase):

    def test_ordinary_values_come_first(self):
        """Numbers, then None and odd lists, then inf and nan; every trigger starts with the parameter that changed."""
        example = capture("def forward(self, x, y):\n    add = torch.add(x, y, alpha=2)\n    return (add,)\n",
                          (T(2), T(2)), capture="dynamo")
        found = [edit for edit in edits(example, ("values",))["values"] if "alpha" in edit.what]
        self.assertEqual([edit.rank for edit in found], sorted(edit.rank for edit in found))
        by_what = {edit.what.rpartition(" ")[2]: edit for edit in found}
        self.assertEqual((by_what["3"].rank, by_what["-0.0"].rank, by_what["inf"].rank), (0, 1, 2))
        self.assertEqual((by_what["3"].trigger, by_what["inf"].trigger), ("add.alpha changed",
                                                                          "add.alpha changed, not finite"))
        self.assertEqual({edit.trigger.partition(",")[0] for edit in found}, {"add.alpha changed"})

    def test_the_default_is_among_the_values(self):
        """Where defaults are not left out as a step of their own, the default is one more value."""
        self.assertIn("sub.alpha: 2 -> 1", offered("values", "recorded"))
        self.assertIn("sum.keepdim: True -> False", offered("values", "recorded"))


    def test_numbers_that_the_dtype_cannot_hold(self):
        """A number beyond half, or beyond 8 bits, beside an operand of that dtype, and beside no other."""
        for dtype, number in (("f16", "100000.0"), ("i8", "300"), ("f32", None)):
            example = capture("def forward(self, x):\n    mul = torch.mul(x, 2)\n    return (mul,)\n",
                              (T(2, dtype=dtype),), capture="dynamo")
            found = {edit.what.rpartition(" ")[2]: edit for edit in edits(example, ("values",))["values"]}
            self.assertEqual({"100000.0", "300"} & set(found), {number} - {None})
            if number:
                self.assertEqual(found[number].trigger, "mul.other changed, large")


class DtypesTests(unittest.TestCase):

    def test_what_one_call_reads(self):
        """The inputs of a call, of all calls alike, or at one place of these change together, and no others."""
        example = capture("def forward(self, a, b, w, v, m):\n"
                          "    first = torch.nn.functional.layer_norm(a, (4,), w, v)\n"
                          "    second = torch.nn.functional.layer_norm(b, (4,), w, v)\n"
                          "    return (first, second, m)\n", (T(3, 4), T(3, 4), T(4), T(4), T(2)), capture="dynamo")
        found = {edit.what: edit.trigger for edit in edits(example, ("dtypes",))["dtypes"]}
        self.assertEqual(found["a, b: torch.bfloat16"], "one input of all calls alike half")
        self.assertEqual(found["a, b, w, v: torch.bfloat16"], "inputs of all calls alike half")
        self.assertNotIn("a, w, v: torch.float64", found)  # layer_norm takes no float with double weights
        self.assertFalse([what for what in found if what.startswith("m,") or ", m" in what])

    def test_an_index_of_another_dtype(self):
        """Floats are no index: they are ordinary ones; what kind floats are of stays."""
        index = T(4, dtype=torch.int64, values="index:2")
        self.assertEqual(in_dtype(index, torch.float64), T(4, dtype=torch.float64))
        self.assertEqual(in_dtype(T(4, values="special"), torch.float64), T(4, dtype=torch.float64, values="special"))

    def test_running_statistics_ask_for_no_gradient(self):
        """All inputs but the running statistics of a normalization ask for gradients, as an edit and as a start."""
        example = capture("def forward(self, x, m, v, w):\n"
                          "    norm = torch.nn.functional.batch_norm(x, m, v, w)\n    return (norm,)\n",
                          (T(2, 3), T(3), T(3, values="positive"), T(3)), capture="dynamo")
        edit = next(e for e in edits(example, ("gradients",))["gradients"] if e.what == "2 inputs: requires_grad=True")
        for asked in (step(example, edit), requiring_grad(example)):
            self.assertEqual([spec.requires_grad for spec in asked.inputs], [True, False, False, True])


class CopiesTests(unittest.TestCase):

    def test_a_second_pattern_with_its_own_parameters(self):
        """Frozen parameters and called modules get a twin with other values; the base keeps its own."""
        torch.manual_seed(0)
        for stage, options in (("aten", {"frozen": True}), ("symbolic", {})):
            with self.subTest(stage):
                example = capture(nn.Linear(4, 3).eval() if stage == "aten" else nn.Sequential(nn.Linear(4, 3)).eval(),
                                  (T(2, 4),), capture=stage, **options).portable()
                before = example.text
                edit = next(e for e in edits(example, ("copies",))["copies"] if e.what.endswith("its own parameters"))
                twice = step(example, edit)
                first, second = twice.build()(*twice.realize())[:2]

                self.assertEqual(example.text, before)
                self.assertEqual(first.shape, second.shape)
                torch.testing.assert_close(second, first / 2)

    def test_without_parameters(self):
        """A graph that owns nothing has no such copy."""
        example = capture(lambda x: x.relu() + 1, (T(2, 4),), capture="aten").portable()

        self.assertFalse([e for e in edits(example, ("copies",))["copies"] if "parameters" in e.what])


class ContractTests(unittest.TestCase):

    def test_functional_graphs_stay_functional(self):
        """After one, two and three edits an ATen graph calls overloads alone, and its writes are the epilogue's."""
        for name in ("aten", "pieces", "epilogue"):
            self.assertIn(graph(name).capture, FUNCTIONAL_CAPTURES)
            for length in (1, 2, 3):
                for example in walks(name, length, 15):
                    with self.subTest(example.edits):
                        self.assertFalse(example.outside)
                        self.assert_functional(example)

    def assert_functional(self, example: Example) -> None:
        """Say it anew, without the contract: what may write is a copy_ into an input that nothing reads afterwards."""
        nodes = list(example.graph_module.graph.nodes)
        written = []
        for node in nodes:
            if node.op in ("placeholder", "output"):
                continue
            self.assertEqual(node.op, "call_function")
            self.assertIn(node.target.__module__.split(".")[0], ("_operator", "torch"))
            self.assertFalse({node.args[0] if node.args else None, *node.all_input_nodes} & set(written))
            if getattr(getattr(node.target, "_schema", None), "is_mutable", False):
                self.assertIs(node.target, torch.ops.aten.copy_.default)
                self.assertEqual(node.args[0].op, "placeholder")
                self.assertLessEqual({user.op for user in node.users}, {"output"})
                written.append(node.args[0])
            elif written:
                self.assertRegex(str(node.target), "view|alias|detach|slice|select|unsqueeze")
        self.assertFalse(set(written) & set(example.graph_module.graph.output_node().all_input_nodes))

    def test_a_write_followed_by_a_read_is_refused(self):
        """An edit that reads, moves or doubles the epilogue's write is outside; asked for, it is given and marked."""
        def read(draft: Draft) -> None:
            copy = draft.node("copy_")
            draft.add_output(draft.insert(copy, "call_function", torch.ops.aten.neg.default, (copy,)))

        def write(draft: Draft) -> None:
            add, mul = draft.node("add"), draft.node("mul")
            draft.insert(None, "call_function", torch.ops.aten.add_.Tensor, (add, 1), before=mul)

        for change, words in ((read, "copy_ is read"), (write, "add__tensor writes")):
            edit = Edit("test", "t", "t", change)
            with self.assertRaisesRegex(Inapplicable, f"outside of what aten graphs are: {words}"):
                step(graph("epilogue"), edit)
            self.assertTrue(step(graph("epilogue"), edit, outside=True).outside)
        self.assertFalse(step(graph("epilogue"), Edit("test", "t", "t", lambda d: None), outside=True).outside)

    def test_calls_are_as_the_dispatcher_records_them(self):
        """Traced again, an edited graph of dispatcher calls has the very same calls."""
        for name in ("pieces", "recorded"):
            for example in walks(name, 2, 15):
                with torch.no_grad():
                    again = make_fx(example.build(), pre_dispatch=True)(*example.realize())
                with self.subTest(example.edits):
                    self.assertEqual(spelled(example.graph_module), spelled(again))

    def test_writes_are_those_of_the_stage(self):
        """Items are assigned to where the stage has such calls, overloads write where it speaks ATen."""
        def writers(name: str, outside: bool = False) -> set[str]:
            return {edit.what.partition(" ")[0] for edit in edits(graph(name), ("writes",), outside=outside)["writes"]}

        self.assertEqual((writers("cat"), writers("tower"), writers("aten")),
                         ({"add_", "setitem", "zero_", "unsqueeze_", "t_"}, {"add_", "zero_", "unsqueeze_", "t_"},
                          set()))
        found = next(e for e in edits(graph("aten"), ("writes",), outside=True)["writes"] if "before permute" in e.what)
        self.assertIn("torch.ops.aten.add_.Tensor(", body(step(graph("aten"), found, outside=True)))

    def test_other_spellings_are_outside(self):
        """A keyword for what the dispatcher hands over by position becomes positional; outside it stays, marked."""
        def by_keyword(draft: Draft) -> None:
            permute = draft.node("permute")
            draft.set_args(permute, permute.args[:1], {"dims": (0, 1)})

        edit = Edit("test", "t", "t", by_keyword)
        self.assertIn("permute.default(add, [0, 1])", body(step(graph("aten"), edit)))
        outside = step(graph("aten"), edit, outside=True)
        self.assertIn("permute.default(add, dims=(0, 1))", body(outside))
        self.assertTrue(outside.outside)
        for direction in ("keywords", "defaults", "sequences", "writes"):
            self.assertEqual(edits(graph("recorded"), (direction,))[direction], [])
            if direction != "sequences":
                self.assertNotEqual(edits(graph("recorded"), (direction,), outside=True)[direction], [])

    def test_inputs_are_distinct_tensors(self):
        """No direction gives one tensor twice where the capture tells inputs apart, nor does an edit of anyone's."""
        for name in ("aten", "pieces", "recorded"):
            for example in walks(name, 3, 8, seed=1):
                self.assertFalse([spec for spec in example.inputs if isinstance(spec, Same)])

        def twice(draft: Draft) -> None:
            draft.inputs[1] = Same(0)
            draft.touch_inputs()

        edit = Edit("test", "t", "t", twice)
        with self.assertRaisesRegex(Inapplicable, "two inputs are one tensor"):
            step(graph("aten"), edit)
        self.assertEqual(step(graph("cat"), edit).inputs[1], Same(0))

    def test_a_step_leaves_its_base_alone(self):
        """Whatever a step does, its base has the same graph, types and attributes; writes to attributes, too."""
        for name in (*GRAPHS, "tower"):
            for base in [graph(name), *walks(name, 1, 1, seed=2)]:
                before = held(base)
                for group in edits(base).values():
                    for edit in group[::max(1, len(group) // 2)]:
                        with contextlib.suppress(Inapplicable):
                            step(base, edit)
                        self.assertEqual(held(base), before, f"{base.edits} {edit}")

    def test_a_pass_may_ask_for_less(self):
        """Of a contract for inference no step turns to training or asks for gradients; the stage's own allows both."""
        def ask(draft: Draft) -> None:
            draft.inputs[0] = T(2, 4, requires_grad=True)
            draft.touch_inputs()

        own = dataclasses.replace(graph("tower").promises, inference=True)
        tower = capture(Tower().eval(), (T(2, 4),), capture="symbolic")
        for contract, accepted in ((None, True), (own, False)):
            base = tower.replace(contract=contract)
            self.assertEqual(bool(edits(base, ("modes",))["modes"]), accepted)
            training = next(e for e in edits(tower, ("modes",))["modes"] if e.what == "drop in train mode")
            grad = Edit("test", "t", "t", ask)
            for edit in (training, grad):
                if accepted:
                    self.assertIs(step(base, edit).promises, base.promises)
                else:
                    with self.assertRaisesRegex(Inapplicable, "training mode|requires grad"):
                        step(base, edit)

    def test_metadata_is_right_and_edited_graphs_run(self):
        """A fresh propagation gives the same text, the text is read back, and the graph runs on its inputs."""
        for name in (*GRAPHS, "tower"):
            for direction in DIRECTIONS:
                for edit in list(offered(direction, name).values())[:1]:
                    try:
                        edited = step(graph(name), edit)
                    except Inapplicable:
                        continue
                    with self.subTest(repr(edit), graph=name):
                        again = edited.build()
                        propagate(again)
                        self.assertEqual(graph_text(again), edited.text)
                        read = parse_graph(edited.text, meta_key=edited.meta_key)
                        self.assertEqual(graph_text(read), edited.text)
                        self.assertEqual(len(edited.inputs), len(edited.placeholders))
                        edited.build()(*edited.realize())

    def test_edits_say_different_things(self):
        """Every offered edit has a direction, a wording and a trigger without the numbers of that graph."""
        for name in (*GRAPHS, "tower"):
            for direction in DIRECTIONS:
                for edit in offered(direction, name).values():
                    self.assertTrue(edit.what and edit.trigger and edit.direction)
                    self.assertEqual(repr(edit), f"{edit.direction}: {edit.what}")


if __name__ == "__main__":
    unittest.main()
