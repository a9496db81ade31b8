"""Correct passes over graphs that call modules."""

from __future__ import annotations

import operator

import torch
import torch.nn.functional as F
from torch import nn
from torch.fx import GraphModule, Node

from test.quality.graph_facts import is_call, tensor

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def module_calls(gm: GraphModule, kind: type) -> list[tuple[Node, nn.Module]]:
    """Return the calls of modules of exactly this class that no hook watches, each with one argument."""
    found = [(node, gm.get_submodule(node.target)) for node in gm.graph.nodes if node.op == "call_module"]
    return [(node, module) for node, module in found if type(module) is kind and len(node.args) == 1 and not node.kwargs
            and not any(getattr(module, store) for store in _HOOKS) and "forward" not in vars(module)]


def drop_inert_modules(gm: GraphModule) -> bool:
    """nn.Identity, and nn.Dropout in evaluation mode, return what they are given."""
    changed = False
    for kind in (nn.Identity, nn.Dropout):
        for node, module in module_calls(gm, kind):
            if kind is nn.Identity or not module.training:
                node.replace_all_uses_with(node.args[0])
                gm.graph.erase_node(node)
                changed = True
    return changed


def call_relu_for_module(gm: GraphModule) -> bool:
    """nn.ReLU()(x) is torch.relu(x), unless it writes in place."""
    changed = False
    for node, module in module_calls(gm, nn.ReLU):
        if module.inplace:
            continue
        node.op, node.target = "call_function", torch.relu
        changed = True
    return changed


def negate_inside_linear(gm: GraphModule) -> bool:
    """-linear(x) is a linear with the negated weight and bias, where nothing else reads the linear."""
    changed = False
    for node, module in module_calls(gm, nn.Linear):
        reader = next(iter(node.users), None)
        negates = is_call(reader, torch.neg, operator.neg) and reader.args == (node,) and not reader.kwargs
        if not negates or len(node.users) != 1:
            continue
        mode = tensor(node).fake_mode
        with gm.graph.inserting_before(node):
            state = []
            for name, parameter in module.named_parameters():
                attribute = gm.graph.get_attr(f"{node.target}.{name}")
                attribute.meta["val"] = mode.from_tensor(parameter, static_shapes=True)
                state.append(gm.graph.call_function(torch.neg, (attribute,)))
                state[-1].meta["val"] = attribute.meta["val"]
            new = gm.graph.call_function(F.linear, (node.args[0], *state))
        new.meta = dict(reader.meta)
        reader.replace_all_uses_with(new)
        gm.graph.erase_node(reader)
        gm.graph.erase_node(node)
        changed = True
    return changed
