"""Bugs planted in the passes over graphs that call modules."""

from __future__ import annotations

import torch
from torch import nn

from fxpect import T
from test.quality.planting import Planted

x44 = T(4, 4)


class Pair(nn.Module):
    """Two linears, one of them negated."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum of both."""
        return torch.neg(self.first(x)) + self.second(x)


class Watched(nn.Module):
    """An identity that a hook watches."""

    def __init__(self) -> None:
        super().__init__()
        self.keep = nn.Identity()
        self.keep.register_forward_hook(lambda module, args, result: result * 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the hook makes of the input, plus one."""
        return self.keep(x) + 1


class Scaled(nn.Module):
    """A product with a parameter, which is one."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scaled input."""
        return torch.mul(x, self.scale) + 1


class Training(nn.Module):
    """A batch norm in training mode behind an activation."""

    def __init__(self) -> None:
        super().__init__()
        self.relu, self.norm = nn.ReLU(), nn.BatchNorm1d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the normalised activation."""
        return self.norm(self.relu(x))


MODULES = (
    Planted(
        "drops a dropout in training mode",
        "drop_inert_modules",
        (("or not module.training", "or True"),),
        "numerics",
        ("modes",),
        only=("modes",),
    ),
    Planted(
        "drops a module that is watched",
        "drop_inert_modules",
        (
            ("            and not any(getattr(module, store) for store in _HOOKS) and", "            and"),
            ("return changed", "gm.delete_all_unused_submodules()\n    return changed"),
        ),
        "effects",
        helper="module_calls",
        model=Watched().eval(),
        inputs=(x44,),
    ),
    Planted(
        "leaves the module with another graph",
        "drop_inert_modules",
        (
            (
                "return changed",
                "graph = type(gm.graph)()\n    graph.output(graph.graph_copy(gm.graph, {}))\n"
                "    gm._graph = graph\n    return changed",
            ),
        ),
        "structure",
        only=("structure",),
    ),
    Planted(
        "forgets how the outputs are packed",
        "drop_inert_modules",
        (("return changed", "gm.graph.set_codegen(type(gm.graph)()._codegen)\n    return changed"),),
        "numerics",
        ("outputs",),
        only=("outputs",),
    ),
    Planted(
        "forgets the default of an input",
        "drop_inert_modules",
        (
            (
                "return changed",
                "for node in gm.graph.find_nodes(op='placeholder'):\n        node.args = ()\n    return changed",
            ),
        ),
        "structure",
        ("signature",),
        only=("signature",),
    ),
    Planted(
        "ignores that a module writes in place",
        "call_relu_for_module",
        (("        if module.inplace:\n            continue\n", ""),),
        "effects",
        ("modules",),
        only=("modules",),
        model=nn.Sequential(nn.ReLU(), nn.Linear(4, 3)).eval(),
        inputs=(x44,),
    ),
    Planted(
        "leaves modules in evaluation mode",
        "call_relu_for_module",
        (("return changed", "gm.eval()\n    return changed"),),
        "effects",
        model=Training().train(),
        inputs=(x44,),
    ),
    Planted(
        "changes weights that others read",
        "negate_inside_linear",
        (
            (
                "                state.append(gm.graph.call_function(torch.neg, (attribute,)))\n"
                '                state[-1].meta["val"] = attribute.meta["val"]\n',
                "                alone = targets.count(node.target) == 1\n"
                "                state.append(attribute if alone else\n"
                "                             gm.graph.call_function(torch.neg, (attribute,)))\n"
                "                parameter.data.neg_() if alone else None\n",
            ),
            ("changed = False\n", "changed, targets = False, [node.target for node in gm.graph.nodes]\n"),
        ),
        "numerics",
        ("sharing",),
        only=("sharing",),
        model=Pair().requires_grad_(False),
        inputs=(x44,),
    ),
    Planted(
        "takes a scale for positive",
        "drop_inert_modules",
        (
            (
                "    return changed",
                "    for node in list(gm.graph.nodes):\n"
                "        if is_call(node, torch.mul) and getattr(node.args[1], 'op', '') == 'get_attr':\n"
                "            with gm.graph.inserting_before(node):\n"
                "                size = gm.graph.call_function(torch.abs, (node.args[1],))\n"
                "            size.meta['val'] = node.args[1].meta['val']\n"
                "            node.args = (node.args[0], size)\n"
                "            changed = True\n"
                "    return changed",
            ),
        ),
        "numerics",
        ("attributes",),
        only=("attributes",),
        model=Scaled(),
        inputs=(x44,),
    ),
    Planted(
        "has parameters in single precision",
        "negate_inside_linear",
        (
            (
                "torch.neg, (attribute,)))",
                "torch.neg, (attribute,)))\n"
                "                state.append(gm.graph.call_method('float', (state.pop(),)))",
            ),
        ),
        "crash",
        ("everything",),
        only=("everything",),
    ),
    Planted(
        "needs the module to have a bias",
        "negate_inside_linear",
        (("module.named_parameters():", "(('weight', module.weight), ('bias', module.bias)):"),),
        "crash",
        ("modules",),
    ),
)
