"""What a stand-alone script holds: these functions need torch alone, and their source is copied into it."""

import math
import sys

import torch
import torch.fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree


def add_metadata(gm, args, key, symbols=None):
    """Give every node the fake value that the pass reads under ``meta[key]``.

    ``symbols`` maps a placeholder of ints to (placeholder, dim) whose size it is; it makes that dim symbolic.
    """
    from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

    symbols = symbols or {}
    env = ShapeEnv() if symbols else None
    mode = FakeTensorMode(shape_env=env, allow_non_fake_inputs=True)
    fakes, made = {}, {}
    nodes = list(gm.graph.nodes)
    holders = [n for n in nodes if n.op == "placeholder"]
    dynamic: dict[str, set[int]] = {}
    for name, dim in symbols.values():
        dynamic.setdefault(name, set()).add(dim)
    for node, arg in zip(holders, args, strict=True):
        if isinstance(arg, torch.Tensor):
            if id(arg) not in made:
                dims = dynamic.get(node.target, ())
                context = StatelessSymbolicContext(dynamic_sizes=[
                    DimDynamic.DYNAMIC if i in dims else DimDynamic.STATIC for i in range(arg.dim())]) if env else None
                fake = mode.from_tensor(arg, symbolic_context=context) if env else None
                if fake is None:
                    with mode:
                        fake = torch.empty_strided(arg.size(), arg.stride(), dtype=arg.dtype, device=arg.device)
                    fake.requires_grad_(arg.requires_grad)
                made[id(arg)] = fake
            fakes[node] = made[id(arg)]
    for node, arg in zip(holders, args, strict=True):
        if node not in fakes:
            name, dim = symbols.get(node.target, (None, None))
            fakes[node] = arg if name is None else next(fakes[h] for h in holders if h.target == name).size(dim)
    with mode:
        for node in nodes:
            if node.op == "output":
                break
            if node.op == "placeholder":
                value = fakes[node]
            elif node.op == "get_attr":
                value = attribute(gm, node.target)
                if isinstance(value, torch.Tensor):
                    value = torch.empty_strided(value.size(), value.stride(), dtype=value.dtype)
            else:
                inner = torch.fx.map_arg((node.args, node.kwargs), lambda n: n.meta[key])
                value = call(gm, node, *inner)
            node.meta[key] = value
    return mode


def attribute(gm, path):
    """Return the attribute that a dotted path names."""
    for part in path.split("."):
        gm = getattr(gm, part)
    return gm


def call(gm, node, args, kwargs):
    """Run one call node on fake values."""
    if node.op == "call_function":
        return node.target(*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], node.target)(*args[1:], **kwargs)
    module = attribute(gm, node.target)
    state = {n: torch.empty(v.shape, dtype=v.dtype) for n, v in [*module.named_parameters(), *module.named_buffers()]}
    return torch.func.functional_call(module, state, args, kwargs)


def show(value):
    """Return a short description of a value."""
    if isinstance(value, torch.Tensor):
        kind = f"{str(value.dtype)[6:]}{list(value.shape)}"
        return f"{kind} {value.detach().flatten()[:6].tolist()}"
    return repr(value)[:200]


def difference(a, b, what="output"):
    """Return in words how two nests of values differ, or None."""
    left, shape_a = pytree.tree_flatten(a)
    right, shape_b = pytree.tree_flatten(b)
    if len(left) != len(right):
        return f"{len(left)} {what}s before, {len(right)} after"
    for i, (x, y) in enumerate(zip(left, right, strict=True)):
        if type(x) is not type(y) and not (isinstance(x, torch.Tensor) and isinstance(y, torch.Tensor)):
            return f"{what} {i}: {show(x)} before, {show(y)} after"
        if not isinstance(x, torch.Tensor):
            if x != y and not (isinstance(x, float) and math.isclose(x, y, rel_tol=1e-5) or x != x and y != y):
                return f"{what} {i}: {x!r} before, {y!r} after"
            continue
        if (x.shape, x.dtype) != (y.shape, y.dtype) or x.requires_grad != y.requires_grad:
            return f"{what} {i}: {show(x)} grad={x.requires_grad} before, {show(y)} grad={y.requires_grad} after"
        if torch.equal(x, y):
            if x.dtype.is_floating_point and not torch.equal(torch.signbit(x), torch.signbit(y)):
                return f"{what} {i}: the sign of zero differs: {show(x)} before, {show(y)} after"
            continue
        exact = not (x.dtype.is_floating_point or x.dtype.is_complex)
        small = {torch.float16: 1e-2, torch.bfloat16: 5e-2, torch.float64: 1e-9}.get(x.dtype, 1e-4)
        close = not exact and torch.allclose(x.detach(), y.detach(), rtol=small, atol=small, equal_nan=True)
        if not close:
            return f"{what} {i}: {show(x)} before, {show(y)} after"
    return None


def strides(values):
    """Return the strides of every tensor with elements."""
    return [tuple(t.stride()) for t in pytree.tree_leaves(values) if isinstance(t, torch.Tensor) and t.numel() > 1]


def aliases(args, out):
    """Return which pairs of inputs and outputs share storage."""
    tensors = [t for t in [*pytree.tree_leaves(args), *pytree.tree_leaves(out)] if isinstance(t, torch.Tensor)]
    places = [t.untyped_storage().data_ptr() if t.numel() else -i - 1 for i, t in enumerate(tensors)]
    return [(i, j) for j in range(len(places)) for i in range(j) if places[i] == places[j]]


def observe(run, args):
    """Run once from a fixed seed; return outputs, arguments afterwards, gradients and generator state."""
    torch.manual_seed(0)
    out = run(*args)
    rng = torch.get_rng_state()
    leaves = [t for t in pytree.tree_leaves(out) if isinstance(t, torch.Tensor) and t.requires_grad]
    given = [t for t in args if isinstance(t, torch.Tensor) and t.requires_grad and t.is_leaf]
    grads = []
    if leaves and given:
        total = sum((t.double() if not t.is_complex() else t.abs()).sum() for t in leaves)
        grads = [None if g is None else g for g in torch.autograd.grad(total, given, allow_unused=True)]
    return {"output": out, "argument": list(args), "gradient": grads, "rng": rng, "strides": strides(out),
            "aliases": aliases(args, out)}


def metadata_difference(gm, args, key, symbols=None):
    """Return in words where the recorded metadata is not what the nodes compute, or None."""
    recorded = {n: n.meta.get(key) for n in gm.graph.nodes if n.op != "output"}
    twin = torch.fx.GraphModule(gm, torch.fx.Graph())
    mapping: dict[torch.fx.Node, torch.fx.Node] = {}
    twin.graph.output(twin.graph.graph_copy(gm.graph, mapping))
    add_metadata(twin, args, key, symbols)
    for old, new in mapping.items():
        was, now = recorded[old], new.meta.get(key)
        if not isinstance(now, torch.Tensor) or old.op == "placeholder":
            continue
        if not isinstance(was, torch.Tensor):
            return f"{old.name}: no metadata, it computes {now.dtype} {list(now.shape)}"
        if (was.dtype, [str(s) for s in was.shape]) != (now.dtype, [str(s) for s in now.shape]):
            return f"{old.name}: recorded {was.dtype} {list(was.shape)}, computes {now.dtype} {list(now.shape)}"
        if was.stride() != now.stride():
            return f"{old.name}: recorded stride {was.stride()}, computes {now.stride()}"
    return None


def apply_pass(pass_, kind, gm, mode):
    """Call the pass in the form it takes and return the graph module that holds the result."""
    from contextlib import nullcontext

    V = sys.modules.get("torch._inductor.virtualized")
    fakes = [n.meta.get("example_value", n.meta.get("val")) for n in gm.graph.nodes if n.op == "placeholder"]
    with V.V.set_fake_mode(mode) if V else nullcontext():
        if kind == "graph":
            result = pass_(gm.graph)
        elif kind == "module-inputs":
            result = pass_(gm, fakes)
        elif kind == "pattern":
            result = getattr(pass_, "apply", pass_)(gm.graph)
        elif kind == "transformer":
            result = pass_(gm).transform()
        else:
            result = pass_(gm)
    result = getattr(result, "graph_module", result)
    if isinstance(result, torch.fx.Graph):
        result = torch.fx.GraphModule(gm, result)
    return result if isinstance(result, torch.fx.GraphModule) else gm


def verdict(build, make_args, pass_, kind, key, oracle, symbols=None):
    """Return in words what the pass breaks, or None."""
    before, args = build(), make_args()
    expected = observe(torch.fx.Interpreter(before).run, args)
    gm = build()
    mode = add_metadata(gm, make_args(), key, symbols)
    text = str(gm.graph)
    try:
        after = apply_pass(pass_, kind, gm, mode)
        if oracle == "structure":
            after.graph.lint()
        after.recompile()
        got = observe(after.forward, make_args())
    except (Exception, SystemExit) as error:
        return f"{type(error).__name__}: {str(error).strip().splitlines()[:1]}"
    print("before:\n" + text + "\nafter:\n" + str(after.graph))
    for part in ("output", "argument", "gradient", "aliases", "strides", "rng"):
        found = difference(expected[part], got[part], part)
        if found:
            return found
    if oracle == "metadata":
        return metadata_difference(after, make_args(), key, symbols)
    return None
