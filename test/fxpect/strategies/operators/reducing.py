"""Reductions, scans, sorts and what else reads whole dims, softmax and the losses among them."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from fxpect.strategies.operators.building import FLOATS, NUMBERS, REAL, WIDE, Builder, Fits
from fxpect.strategies.operators.rows import Arguments, along, call, full, row

aten = torch.ops.aten


def _over(kinds=FLOATS, fits: Fits | None = None, several: bool = True):
    """Choose a tensor, one or several of its dims, and keepdim."""
    def arguments(b: Builder) -> Arguments:
        x = b.tensor(kinds, range(1, 6), fits)
        return call(x, b.dims(x) if several else b.dim(x), *b.one_of((), (True,)))

    return arguments


def _whole(kinds=FLOATS, fits: Fits | None = None):
    return lambda b: call(b.tensor(kinds, fits=fits))


def _spread(b: Builder) -> Arguments:
    x = b.tensor(WIDE, range(1, 5), lambda shape: all(size > 1 for size in shape))
    return call(x, b.dims(x), correction=b.one_of(1, 0), keepdim=b.one_of(False, True))


def _norm(b: Builder) -> Arguments:
    x = b.tensor(WIDE, range(1, 5), full)
    return call(x, b.one_of(2, 1, float("inf")), b.dims(x), b.one_of(False, True))


def _softmax(b: Builder) -> Arguments:
    x = b.tensor(FLOATS)
    return call(x, b.dim(x), *((False,) if b.functional else ()))


def _topk(b: Builder) -> Arguments:
    x = b.tensor(WIDE, range(1, 5), full)
    return call(x, b.one_of(1, min(b.shape(x))), b.dim(x))


def _kth(b: Builder) -> Arguments:
    x = b.tensor(WIDE, range(1, 4), full)
    return call(x, 1, b.dim(x))


def _loss(b: Builder) -> Arguments:
    x = b.tensor(WIDE, range(1, 4))
    word = b.one_of("mean", "sum", "none")
    number = {"none": 0, "mean": 1, "sum": 2}[word]
    return call(x, b.like(x), number) if b.functional else call(x, b.like(x), reduction=word)


def _targets(b: Builder) -> Arguments:
    x = b.sized(WIDE, None, 4)
    return call(x, b.indices(4, b.shape(x)[0]))


def _cosine(b: Builder) -> Arguments:
    x = b.tensor(WIDE, range(1, 4))
    return call(x, b.like(x), b.dim(x))


def _normalize(b: Builder) -> Arguments:
    x = b.tensor(WIDE, range(1, 4))
    return call(x, dim=b.dim(x))


ROWS = (
    row("reduction", "sum", torch.sum, aten.sum.dim_IntList, _over(REAL)),
    row("reduction", "sum all", torch.sum, aten.sum.default, _whole(REAL)),
    row("reduction", "mean", torch.mean, aten.mean.dim, _over()),
    row("reduction", "mean all", torch.mean, aten.mean.default, _whole()),
    row("reduction", "amax", torch.amax, aten.amax.default, _over(REAL, full)),
    row("reduction", "amin", torch.amin, aten.amin.default, _over(REAL, full)),
    row("reduction", "max", torch.max, aten.max.dim, _over(REAL, full, several=False)),
    row("reduction", "min", torch.min, aten.min.dim, _over(REAL, full, several=False)),
    row("reduction", "max all", torch.max, aten.max.default, _whole(REAL, full)),
    row("reduction", "min all", torch.min, aten.min.default, _whole(REAL, full)),
    row("reduction", "argmax", torch.argmax, aten.argmax.default, _over(NUMBERS, full, several=False)),
    row("reduction", "argmin", torch.argmin, aten.argmin.default, _over(NUMBERS, full, several=False)),
    row("reduction", "prod", torch.prod, aten.prod.dim_int, _over(WIDE, several=False)),
    row("reduction", "prod all", torch.prod, aten.prod.default, _whole(WIDE)),
    row("reduction", "any", torch.any, aten.any.dim, _over(REAL, several=False)),
    row("reduction", "all", torch.all, aten.all.dim, _over(REAL, several=False)),
    row("reduction", "any all", torch.any, aten.any.default, _whole(REAL)),
    row("reduction", "var", torch.var, aten.var.correction, _spread),
    row("reduction", "std", torch.std, aten.std.correction, _spread),
    row("reduction", "var_mean", torch.var_mean, aten.var_mean.correction, _spread),
    row("reduction", "logsumexp", torch.logsumexp, aten.logsumexp.default, _over(WIDE, full)),
    row("reduction", "vector_norm", torch.linalg.vector_norm, aten.linalg_vector_norm.default, _norm),
    row("reduction", "count_nonzero", torch.count_nonzero, aten.count_nonzero.dim_IntList,
        lambda b: (lambda x: call(x, b.dims(x)))(b.tensor(REAL, range(1, 5)))),
    row("reduction", "nansum", torch.nansum, aten.nansum.default, _over(WIDE)),
    row("reduction", "aminmax", torch.aminmax, aten.aminmax.default, _whole(NUMBERS, full)),
    row("reduction", "median", torch.median, aten.median.dim, _over(WIDE, full, several=False)),
    row("reduction", "mode", torch.mode, aten.mode.default, _over(WIDE, full, several=False)),
    row("scan", "cumsum", torch.cumsum, aten.cumsum.default, along(NUMBERS)),
    row("scan", "cumprod", torch.cumprod, aten.cumprod.default, along(WIDE)),
    row("scan", "cummax", torch.cummax, aten.cummax.default, along(WIDE, nonempty=True)),
    row("scan", "logcumsumexp", torch.logcumsumexp, aten.logcumsumexp.default, along(WIDE)),
    row("scan", "diff", torch.diff, aten.diff.default, lambda b: call(b.tensor(WIDE, range(1, 4), full))),
    row("sort", "sort", torch.sort, aten.sort.default, along(NUMBERS)),
    row("sort", "argsort", torch.argsort, aten.argsort.default, along(NUMBERS)),
    row("sort", "topk", torch.topk, aten.topk.default, _topk),
    row("sort", "kthvalue", torch.kthvalue, aten.kthvalue.default, _kth),
    row("norm", "softmax", torch.softmax, aten._softmax.default, _softmax),
    row("norm", "log_softmax", torch.log_softmax, aten._log_softmax.default, _softmax),
    row("norm", "normalize", F.normalize, None, _normalize),
    row("norm", "renorm", torch.renorm, aten.renorm.default,
        lambda b: call(b.tensor(WIDE, range(2, 4), full), 2, 0, 1.0)),
    row("loss", "mse_loss", F.mse_loss, aten.mse_loss.default, _loss),
    row("loss", "smooth_l1_loss", F.smooth_l1_loss, aten.smooth_l1_loss.default, _loss),
    row("loss", "l1_loss", F.l1_loss, aten.l1_loss.default, _loss),
    row("loss", "cross_entropy", F.cross_entropy, aten.cross_entropy_loss.default, _targets),
    row("loss", "cosine_similarity", F.cosine_similarity, aten.cosine_similarity.default, _cosine),
    row("reduction", "trace", torch.trace, aten.trace.default, lambda b: call(b.tensor(WIDE, (2,)))),
    row("reduction", "std all", torch.std, aten.std.default,
        lambda b: call(b.tensor(WIDE, range(1, 5), lambda shape: all(size > 1 for size in shape)))),
)
