"""What a stand-alone script holds: these functions need torch alone, and their source is copied into it."""

import base64
import copy
import math
import pickle
import sys
import zlib

import torch
import torch.fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree

from fxpect.oracles.memory import overlap, strides_that_show

# What a script sees; the rest is shown by fxpect alone.
ORACLES = ("crash", "numerics", "effects", "metadata", "gradients", "structure")


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
    try:
        return torch.func.functional_call(module, state, args, kwargs)
    finally:
        for inner in module.modules():  # torch puts the parameters back, but not into this list
            if isinstance(inner, torch.nn.RNNBase):
                inner._flat_weights = [getattr(inner, name, None) for name in inner._flat_weights_names]


def fill(module, state):
    """Give a module these parameters and buffers, and return it."""
    for path, tensor in state.items():
        *parents, name = path.split(".")
        owner = attribute(module, ".".join(parents)) if parents else module
        if isinstance(tensor, torch.nn.Parameter):
            setattr(owner, name, tensor)
        else:
            owner._parameters.pop(name, None)
            owner.register_buffer(name, tensor)
    return module


def unpack(text, dtype, sizes):
    """Return the tensor whose bytes a text holds."""
    data = bytearray(zlib.decompress(base64.b85decode(text)))
    return torch.frombuffer(data, dtype=torch.uint8).view(dtype).reshape(sizes)


def unpickle(text):
    """Return the object that a text of this very script holds."""
    return pickle.loads(zlib.decompress(base64.b85decode(text)))


def show(value):
    """Return a short description of a value."""
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype)[6:]}{list(value.shape)} {dense(value).flatten()[:6].tolist()}"
    return repr(value)[:200]


def dense(tensor):
    """Return a tensor of numbers that can be compared."""
    tensor = tensor.detach()
    if tensor.is_quantized:
        return tensor.dequantize()
    return tensor if tensor.layout is torch.strided else tensor.to_dense()


def zeros_differ(a, b):
    """Whether a zero in one tensor has another sign than the zero in its place in the other."""
    a, b = (torch.view_as_real(t.resolve_conj()) if t.is_complex() else t for t in (a, b))
    if a.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        return False
    zero = (a == 0) & (b == 0)
    return not torch.equal(torch.signbit(a)[zero], torch.signbit(b)[zero])


def difference(a, b, what="output", signs=True):
    """Return in words how two nests of values differ, or None; ``signs`` says that those of zeros count."""
    left, shape_a = pytree.tree_flatten(a)
    right, shape_b = pytree.tree_flatten(b)
    if len(left) != len(right):
        return f"{len(left)} {what}s before, {len(right)} after"
    if shape_a != shape_b:
        forms = [pytree.tree_unflatten(["*"] * shape.num_leaves, shape) for shape in (shape_a, shape_b)]
        return f"{what}s of the form {forms[0]} before, {forms[1]} after"
    for i, (x, y) in enumerate(zip(left, right, strict=True)):
        if type(x) is not type(y) and not (isinstance(x, torch.Tensor) and isinstance(y, torch.Tensor)):
            return f"{what} {i}: {show(x)} before, {show(y)} after"
        if not isinstance(x, torch.Tensor):
            if x != y and not (isinstance(x, float) and math.isclose(x, y, rel_tol=1e-5) or x != x and y != y):
                return f"{what} {i}: {x!r} before, {y!r} after"
            continue
        form = [(t.shape, t.dtype, t.device, t.layout, t.requires_grad) for t in (x, y)]
        if form[0] != form[1]:
            return f"{what} {i}: {show(x)} grad={x.requires_grad} before, {show(y)} grad={y.requires_grad} after"
        x, y = dense(x), dense(y)
        exact = not (x.dtype.is_floating_point or x.dtype.is_complex)
        small = {torch.float16: 1e-2, torch.bfloat16: 5e-2, torch.float64: 1e-9}.get(x.dtype, 1e-4)
        if x.dtype.is_floating_point and x.dtype.itemsize == 1:
            x, y = x.float(), y.float()
        if not torch.equal(x, y) and (exact or not torch.allclose(x, y, rtol=small, atol=small, equal_nan=True)):
            return f"{what} {i}: {show(x)} before, {show(y)} after"
        if signs and zeros_differ(x, y):
            return f"{what} {i}: the sign of zero differs: {show(x)} before, {show(y)} after"
    return None


def strides(values):
    """Return the strides that can be told of every tensor."""
    return [strides_that_show(t) for t in pytree.tree_leaves(values) if isinstance(t, torch.Tensor)]


def aliases(args, out):
    """Return which pairs of inputs and outputs share elements."""
    tensors = [t for t in [*pytree.tree_leaves(args), *pytree.tree_leaves(out)] if isinstance(t, torch.Tensor)]
    return [(i, j) for j in range(len(tensors)) for i in range(j) if overlap(tensors[i], tensors[j])]


def state_of(gm):
    """Return the parameters and buffers of a module by name."""
    return dict([*gm.named_parameters(remove_duplicate=False), *gm.named_buffers(remove_duplicate=False)])


GRADIENT, BACKWARD = "the gradient of", "the backward"


def observe(run, args, gm, parameters=False):
    """Run once from a fixed seed; return what can be seen of it.

    Values by what they are; by name what was written, the gradients of inputs, and those of ``parameters`` on demand.
    """
    torch.manual_seed(0)
    state = state_of(gm)
    start = {name: tensor.detach().clone() for name, tensor in state.items()}
    out = run(*args)
    rng = torch.get_rng_state()
    written = {f"the write of {name}": state[name] for name in state if difference(start[name], state[name].detach())}
    leaves = [t for t in pytree.tree_leaves(out) if isinstance(t, torch.Tensor) and t.requires_grad]
    given = {f"argument {i}": t for i, t in enumerate(args) if isinstance(t, torch.Tensor)}
    given |= state if parameters else {}
    given = {name: t for name, t in given.items() if t.requires_grad and t.is_leaf}
    grads = {}
    if leaves and given:
        total = sum((t.double() if not t.is_complex() else t.abs()).sum() for t in leaves)
        try:
            found = torch.autograd.grad(total, list(given.values()), allow_unused=True)
            grads = {f"{GRADIENT} {name}": grad for name, grad in zip(given, found, strict=True)}
        except Exception as error:
            grads = {BACKWARD: f"{type(error).__name__}: {error}"}
    return {"output": out, "argument": list(args), "aliases": aliases(args, out), "strides": strides(out),
            "rng": rng}, {**grads, **written}, start


def observe_code(gm, make_args, parameters):
    """Observe the code of a graph; where that does not run, as the oracle "structure" tells, the nodes one by one."""
    try:
        gm.recompile()
        return observe(gm.forward, make_args(), gm, parameters)
    except Exception:
        return observe(torch.fx.Interpreter(gm).run, make_args(), gm, parameters)


def observed_difference(one, other, signs):
    """Return in words what differs in what two runs showed, or None.

    By name only what belongs to the inputs, or to a parameter or buffer that both have and that began equal; where
    the first has no backward, no gradient.
    """
    (parts, named, start), (parts_after, named_after, start_after) = one, other
    if BACKWARD in named:
        named, named_after = ({name: value for name, value in given.items() if not name.startswith(GRADIENT)}
                              for given in (named, named_after))
    elif BACKWARD in named_after:
        return f"{BACKWARD} does not run: {named_after[BACKWARD]}"
    for part in parts:
        found = difference(parts[part], parts_after[part], part, signs)
        if found:
            return found
    for name in {**named, **named_after}:
        place = name.partition(" of ")[2]
        both = place in start and place in start_after and not difference(start[place], start_after[place])
        if both or place.startswith("argument "):
            found = difference(named.get(name), named_after.get(name), name, signs)
            if found:
                return found
    return None


def metadata_difference(gm, args, key, symbols=None):
    """Return in words where the recorded metadata is not what the nodes compute, or None."""
    recorded = {n: n.meta.get(key) for n in gm.graph.nodes if n.op != "output"}
    graph = torch.fx.Graph()
    mapping: dict[torch.fx.Node, torch.fx.Node] = {}
    graph.output(graph.graph_copy(gm.graph, mapping))
    twin = torch.fx.GraphModule(gm, graph)  # with the attributes that the graph reads
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


def structure_difference(before, after, args, signs):
    """Return in words what is wrong with the graph after the pass, or None."""
    after.graph.lint()
    if after.graph.owning_module is not after:
        return "the graph belongs to another module"
    inputs = [[(n.target, *n.args) for n in gm.graph.nodes if n.op == "placeholder"] for gm in (before, after)]
    if inputs[0] != inputs[1]:
        return f"inputs {inputs[0]} before, {inputs[1]} after"
    twin, other = copy.deepcopy(after), copy.deepcopy(after)
    code = observe(twin.forward, args(), twin)
    nodes = observe(torch.fx.Interpreter(other).run, args(), other)
    found = observed_difference(nodes, code, signs)
    return f"the nodes (before) and the code (after) disagree: {found}" if found else None


def identity_difference(before, after, make_args, key):
    """Return in words which outputs are a leaf, or the very input, in one of two graphs alone, or None.

    What is the input itself is told at torch level, where a caller gets it.
    """
    told = []
    for gm in (before, after):
        args = make_args()
        outputs = [t for t in pytree.tree_leaves(gm(*args)) if isinstance(t, torch.Tensor)]
        inputs = [next((i for i, arg in enumerate(args) if arg is t), None) for t in outputs]
        told.append(([t.requires_grad and t.is_leaf for t in outputs], inputs if key == "example_value" else None))
    if told[0] == told[1]:
        return None
    return f"outputs that are leaves, and which input each is: {told[0]} before, {told[1]} after"


class CannotTell(Exception):
    """The case does not run here, so it shows nothing of the pass."""


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


def is_missing(error):
    """Whether a pass raised because this torch has no such pass."""
    words = str(error)
    return isinstance(error, ImportError) or (
        isinstance(error, AttributeError) and words.startswith("module 'torch") and "has no attribute" in words)


def verdict(build, make_args, pass_, kind, key, oracle, symbols=None):
    """Return in words what the pass breaks, or None; raises CannotTell where the case does not run."""
    if pass_ is ...:
        raise CannotTell("fill in the line that is marked")
    try:
        args = make_args()
        signs = any(isinstance(a, torch.Tensor) and a.is_floating_point() and zeros_differ(dense(a), dense(a).abs())
                    for a in args)
        gradients = torch.enable_grad
        try:
            gm = build()
            expected = observe(torch.fx.Interpreter(gm).run, args, gm, oracle == "gradients")
        except Exception:  # such as a write to a leaf that requires grad
            gradients, gm = torch.no_grad, build()
            with gradients():
                expected = observe(torch.fx.Interpreter(gm).run, make_args(), gm, oracle == "gradients")
        gm = build()
        with gradients():
            mode = add_metadata(gm, make_args(), key, symbols)
    except Exception as error:
        raise CannotTell(f"the graph does not run without the pass: {type(error).__name__}: {error}") from error
    text, parameters = str(gm.graph), oracle == "gradients"
    try:
        after = apply_pass(pass_, kind, gm, mode)
        print("before:\n" + text + "\nafter:\n" + str(after.graph))
        if oracle == "structure":
            found = structure_difference(build(), after, make_args, signs)
            if found:
                return found
        with gradients():
            found = observed_difference(expected, observe_code(after, make_args, parameters), signs)
    except (Exception, SystemExit) as error:
        if is_missing(error):
            raise CannotTell(f"this torch has no such pass: {error}") from error
        return f"{type(error).__name__}: {str(error).strip().splitlines()[:1]}"
    if found is None and oracle == "metadata":
        with gradients():
            found = metadata_difference(after, make_args(), key, symbols)
    if found is None and oracle == "effects":
        with gradients():
            found = identity_difference(build(), after, make_args, key)
    if found is None and oracle not in ORACLES:
        raise CannotTell(f"fxpect alone shows what {oracle} finds")
    return found
