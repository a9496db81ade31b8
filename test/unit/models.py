"""Small real models, each with one trait that graph texts must carry, and the captures that the tests of texts use."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

ALL = ("export", "dynamo", "make_fx", "symbolic")
TRACED = ("export", "dynamo", "make_fx")


class Mlp(nn.Module):
    """Linear layers, an activation, a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 4, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(torch.relu(self.first(x)))


class Attention(nn.Module):
    """Scaled dot product attention over two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).view(2, 5, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(2, 5, 8))


class ConvNorm(nn.Module):
    """Convolution and batch norm; training writes the running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1, stride=2), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(self.norm(self.conv(x)).relu_(), 2)


class Recurrent(nn.Module):
    """An LSTM cell, three steps unrolled."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(3, 4)

    def forward(self, xs: torch.Tensor) -> Any:
        h = c = xs.new_zeros(2, 4)
        for x in xs.unbind(0):
            h, c = self.cell(x, (h, c))
        return h, c


class Branch(nn.Module):
    """torch.cond: two nested graphs that capture an outer value."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        z = y * 2
        return torch.cond(x.sum() > 0, lambda a: a.sin() + z, lambda a: (a - 1).cos(), (x,))


class Mapped(nn.Module):
    """map: one nested graph applied to each slice."""

    def forward(self, xs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        from functorch.experimental.control_flow import map

        return map(lambda x, y: x * y + x.sum(), xs, y)


class Scanned(nn.Module):
    """scan: a nested graph that carries a state."""

    def forward(self, xs: torch.Tensor) -> Any:
        from torch._higher_order_ops.scan import scan

        return scan(lambda carry, x: (carry + x, carry * x), torch.zeros_like(xs[0]), xs)


class Loop(nn.Module):
    """while_loop: a condition and a body."""

    def forward(self, x: torch.Tensor) -> Any:
        from torch._higher_order_ops.while_loop import while_loop

        return while_loop(lambda i, a: i < 3, lambda i, a: (i + 1, a * 2), (torch.tensor(0), x))


class InPlace(nn.Module):
    """Writes to an input, to a view, by index, and through out=."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        before = x.sum()
        x.add_(y)
        x[0, 1:] = y[0, 1:]
        x.t()[1].mul_(2)
        out = torch.empty_like(y)
        torch.mul(x, y, out=out)
        return before + x.sum() + out


class Dynamic(nn.Module):
    """Symbolic sizes, products and quotients of them."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        batch, length = x.shape[0], x.shape[1]
        joined = torch.cat([x, y], dim=1)
        return joined.reshape(batch * (length + y.shape[1]), -1) * length + joined.new_ones(1)


class Unbacked(nn.Module):
    """A size that only the data knows, with a check on it."""

    def forward(self, x: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        size = n.item()
        torch._check(size >= 2)
        torch._check(size <= 7)
        return torch.zeros(size) + x.sum()


class Quantized(nn.Module):
    """Quantize, dequantize, integer matmul."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q = torch.clamp(torch.round(x / 0.05) + 3, -128, 127).to(torch.int8)
        back = (q.to(torch.float32) - 3) * 0.05
        fake = torch.fake_quantize_per_tensor_affine(back, 0.1, 0, -128, 127)
        return fake + torch.bitwise_and(q, 15).sum(dtype=torch.int32)


class Complex(nn.Module):
    """Complex numbers and an FFT."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = torch.fft.fft(x) * 2j + complex(0.5, -0.0)
        return torch.view_as_real(z * z.conj()).sum(-1)


class ManyOutputs(nn.Module):
    """Operators with several results, of which some are unused; tuples and lists."""

    def forward(self, x: torch.Tensor) -> Any:
        values, places = torch.topk(x, 2, dim=-1)
        mean, variance = torch.var_mean(x, dim=0, correction=1)
        first, _, last = torch.split(x, [1, 2, 1], dim=1)
        return {"top": values, "rest": [mean, variance.sqrt()]}, (first, last), places


class Counter(nn.Module):
    """A buffer that the model changes, and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(2))
        self.register_buffer("scale", torch.tensor([0.1, -0.0]), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count.add_(1)
        return x * self.count + self.scale + torch.tensor([1.0, 2.0])


class Tied(nn.Module):
    """One weight under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(10, 4), nn.Linear(4, 10, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.embed(x).mean(1)).log_softmax(-1)


class Einsum(nn.Module):
    """einsum, tensordot, outer."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        z = torch.einsum("bij,bjk->bik", x, y)
        return torch.tensordot(z, y, dims=([2], [2])).amax((0, 2)) + torch.outer(x[0, 0], y[0, 0]).sum()


class GatherScatter(nn.Module):
    """gather, scatter_add, index_put, index_select, masked_fill and advanced indexing."""

    def forward(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        a = torch.gather(x, 1, index)
        b = torch.zeros_like(x).scatter_add(1, index, a)
        c = x.index_put((index[:, 0],), torch.ones(4), accumulate=True)
        d = x[index[:, 0], ..., None, ::2].masked_fill(a[:, None, :2] > 0, float("-inf"))
        return b + c + d.sum()


class DropoutTrain(nn.Module):
    """Random numbers: dropout in training, rand, bernoulli."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.25)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        noise = torch.rand(3)
        return self.drop(x * 2) + torch.bernoulli(torch.sigmoid(x)) + noise * torch.randn_like(noise)


class Normed(nn.Module):
    """Layer norm, group norm and RMS written out."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.group = nn.LayerNorm(8), nn.GroupNorm(2, 4, eps=1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.group(self.layer(x))
        return y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6)


class Autocast(nn.Module):
    """A region in bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = self.fc(x)
        return y.float() + x


class Checkpointed(nn.Module):
    """Activation checkpointing: a wrapped body."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        from torch.utils.checkpoint import checkpoint

        return checkpoint(lambda a: torch.sin(self.fc(a)), x, use_reentrant=False) * 2


class NoGrad(nn.Module):
    """A region without gradients."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            z = x * y
        return z + x.detach() + y


class Constants(nn.Module):
    """Constants of every kind in arguments."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = torch.full((2, 4), float("inf"), dtype=torch.float64, device="cpu")
        b = torch.nan_to_num(x * -0.0, nan=float("nan"), posinf=1e300)
        c = x.contiguous(memory_format=torch.contiguous_format).to(torch.float16, copy=True)
        d = torch.zeros(2, 4, layout=torch.strided, dtype=torch.bool).logical_not()
        return torch.where(d, a, b) + c.clamp(min=None, max=True) + x[..., -1:] + torch.arange(4, dtype=torch.int32)


class Layouts(nn.Module):
    """Results that are not contiguous: transposed, expanded, strided, channels last."""

    def forward(self, x: torch.Tensor) -> Any:
        last = x.to(memory_format=torch.channels_last)
        return x.transpose(1, 2), x[:, :, ::2], x.mean(0).expand(3, 4, 6, 5), last, torch.as_strided(x, (2, 3), (1, 2),
                                                                                                     4)


class Repeated(nn.Module):
    """The same operand twice, the same subexpression twice, unused results."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        x.cos()
        a = torch.add(x, x, alpha=2)
        return (a - y) * (a - y) + torch.maximum(x, y).sum() + (y - a)


@dataclass(frozen=True)
class Case:
    """One model with inputs; ``dynamic`` are its dynamic shapes, ``captures`` those that can take it."""

    make: Callable[[], nn.Module]
    inputs: Callable[[], tuple]
    captures: tuple[str, ...] = TRACED
    dynamic: Callable[[], Any] | None = None
    eval: bool = False


def _randn(*shapes: tuple) -> Callable[[], tuple]:
    def make() -> tuple:
        generator = torch.Generator().manual_seed(0)
        return tuple(torch.randn(shape, generator=generator) for shape in shapes)

    return make


def _dims() -> Any:
    batch = torch.export.Dim("batch", min=2, max=64)
    return {"x": {0: batch, 1: torch.export.Dim("long", min=2)}, "y": {0: batch, 1: torch.export.Dim("more", min=2)}}


def _indices() -> tuple:
    return *_randn((4, 4))(), torch.tensor([[0, 1, 2, 3], [1, 1, 0, 0], [3, 2, 1, 0], [2, 2, 2, 2]])


CASES: dict[str, Case] = {
    "mlp": Case(Mlp, _randn((3, 4)), ALL),
    "attention": Case(Attention, _randn((2, 5, 8)), ("export", "dynamo", "symbolic")),
    "conv_norm": Case(ConvNorm, _randn((2, 3, 8, 8)), ALL),
    "conv_norm_eval": Case(ConvNorm, _randn((2, 3, 8, 8)), ALL, eval=True),
    "recurrent": Case(Recurrent, _randn((3, 2, 3))),
    "branch": Case(Branch, _randn((3,), (3,)), ("export", "dynamo")),
    "mapped": Case(Mapped, _randn((3, 4), (4,)), ("export", "dynamo")),
    "scanned": Case(Scanned, _randn((3, 4)), ("export", "dynamo")),
    "loop": Case(Loop, _randn((3, 4)), ("export", "dynamo")),
    "in_place": Case(InPlace, _randn((3, 3), (3, 3)), ("export", "dynamo", "make_fx")),
    "dynamic": Case(Dynamic, _randn((4, 6), (4, 3)), ("export", "dynamo"), _dims),
    "unbacked": Case(Unbacked, lambda: (*_randn((3,))(), torch.tensor(4)), ("export",)),
    "quantized": Case(Quantized, _randn((2, 4)), ALL),
    "complex": Case(Complex, _randn((2, 4)), ALL),
    "many_outputs": Case(ManyOutputs, _randn((3, 4)), ALL),
    "counter": Case(Counter, _randn((2, 2)), ("export", "dynamo", "symbolic")),
    "tied": Case(Tied, lambda: (torch.tensor([[1, 2], [3, 9]]),), ALL),
    "einsum": Case(Einsum, _randn((2, 3, 4), (2, 4, 5)), ALL),
    "gather_scatter": Case(GatherScatter, _indices, ALL),
    "dropout_train": Case(DropoutTrain, _randn((2, 3)), ALL),
    "dropout_eval": Case(DropoutTrain, _randn((2, 3)), ALL, eval=True),
    "normed": Case(Normed, _randn((2, 4, 8)), ALL),
    "autocast": Case(Autocast, _randn((3, 4)), ("export", "dynamo")),
    "checkpointed": Case(Checkpointed, _randn((3, 4)), ("dynamo",)),
    "no_grad": Case(NoGrad, _randn((3, 4), (3, 4)), ("export", "dynamo")),
    "constants": Case(Constants, _randn((2, 4)), ALL),
    "layouts": Case(Layouts, _randn((2, 4, 6, 5)), ALL),
    "repeated": Case(Repeated, _randn((2, 4), (2, 4)), ALL),
}


def names() -> Iterator[tuple[str, str]]:
    """Yield each model with each of its captures."""
    for name, case in CASES.items():
        for capture in case.captures:
            yield name, capture


def build(name: str) -> tuple[nn.Module, tuple]:
    """Return a fresh model with fixed parameters, and its inputs."""
    case = CASES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = case.make()
    return model.train(not case.eval), case.inputs()


@dataclass(frozen=True)
class Captured:
    """A capture: what is printed (for export the program), its module, and one flat argument per placeholder."""

    graph: Any
    module: torch.fx.GraphModule
    arguments: tuple


@functools.cache
def captured(name: str, capture: str) -> Captured:
    """Return one capture of one model; each is made once a process and must not be changed."""
    return capture_anew(name, capture)


def capture_anew(name: str, capture: str) -> Captured:
    """Return one capture of one model, made from a fresh model."""
    model, inputs = build(name)
    case = CASES[name]
    torch._dynamo.reset()
    with torch.random.fork_rng(devices=[]), _pinned():
        torch.manual_seed(0)
        if capture == "export":
            program = torch.export.export(model, inputs, dynamic_shapes=case.dynamic and case.dynamic(), strict=True)
            return Captured(program, program.graph_module, _lifted(program, inputs))
        if capture == "dynamo":
            return _dynamo(model, inputs, case.dynamic is not None)
        if capture == "make_fx":
            with torch.no_grad():
                module = make_fx(model, tracing_mode="fake", _allow_non_fake_inputs=True)(*inputs)
        else:
            module = torch.fx.symbolic_trace(model)
        return Captured(module, module, inputs)


@contextlib.contextmanager
def _pinned() -> Iterator[None]:
    """Set what differs between versions of torch to one value."""
    config = torch._dynamo.config
    changes = {"capture_scalar_outputs": True}
    if hasattr(config, "canonicalize_output_graph_node_order"):
        changes["canonicalize_output_graph_node_order"] = False
    with config.patch(changes):
        yield


def _lifted(program: torch.export.ExportedProgram, inputs: tuple) -> tuple:
    """Return the arguments of the graph of a program: parameters, buffers and constants before the user's own."""
    given = iter(inputs)
    flat = []
    for spec in program.graph_signature.input_specs:
        if spec.kind.name == "USER_INPUT":
            flat.append(next(given))
        else:
            state = program.state_dict if spec.target in program.state_dict else program.constants
            flat.append(state[spec.target])
    return tuple(flat)


def _dynamo(model: nn.Module, inputs: tuple, dynamic: bool) -> Captured:
    found: list[Captured] = []

    def backend(graph: torch.fx.GraphModule, example: list) -> Any:
        sizes = [int(item) if isinstance(item, torch.SymInt) else item for item in example]
        found.append(Captured(graph, graph, tuple(
            item.detach().clone() if isinstance(item, torch.Tensor) else item for item in sizes)))
        return graph

    torch.compile(model, backend=backend, dynamic=dynamic, fullgraph=True)(*inputs)
    return found[0]


def run(module: torch.fx.GraphModule, arguments: tuple) -> tuple[Any, tuple]:
    """Return what a module answers to copies of the arguments, and those copies afterwards."""
    copies = tuple(item.detach().clone() if isinstance(item, torch.Tensor) else item for item in arguments)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        return module(*copies), copies
