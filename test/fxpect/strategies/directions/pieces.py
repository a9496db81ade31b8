"""Pieces: a tensor cut unevenly, into empty sections, by a list or a number; unread, read twice, permuted, mixed."""

from __future__ import annotations

import operator
from collections.abc import Iterator

import torch
from torch.fx import Node

from fxpect.specs import spec_of
from fxpect.strategies.draft import Draft, Edit, Inapplicable, is_static
from fxpect.strategies.signatures import base_name, slots

aten = torch.ops.aten
SPLITS = frozenset({"split", "split_with_sizes", "chunk", "tensor_split", "unsafe_split", "unsafe_chunk"})


def sections(d: Draft) -> Iterator[Edit]:
    """The sizes of a split said as a list: equal, uneven, with an empty section put in and left unread.

    Said as a number that leaves a shorter last piece, too: in the place of the split, of a tensor that is one
    shorter, or beside it.
    """
    for node, dim, sizes, _ in _splits(d):
        n, total = len(sizes), sum(sizes)
        ragged = [size for size in range(2, total) if total % size]
        label = f"{base_name(node.target)} with a shorter last piece"
        for size in ragged:
            if -(-total // size) == n:
                yield Edit("sections", f"{node.name} by {size}: {total - (n - 1) * size} left", label,
                           _resplit(node.name, size, list(range(n)), dim))
        if n > 1 and sizes[-1] > 1:
            yield Edit("sections", f"{node.name} of {total - 1}", label, _cut_source(node.name, total - 1, dim))
        if ragged:
            yield Edit("sections", f"{node.name} beside a split by {ragged[0]}", f"{label} beside",
                       _split_beside(node.name, ragged[0], -(-total // ragged[0]), dim))
        variants: list[tuple[str, list[int], list[int]]] = [("by a list", sizes, list(range(n)))]
        for i in range(n + 1):
            moved = [j if j < i else j + 1 for j in range(n)]
            variants.append(("with an empty section unread", [*sizes[:i], 0, *sizes[i:]], moved))
        for i in range(n):
            for j in range(n):
                if i != j and sizes[j] > 1:
                    uneven = list(sizes)
                    uneven[i], uneven[j] = uneven[i] + 1, uneven[j] - 1
                    variants.append(("unevenly", uneven, list(range(n))))
            if sizes[i] > 1:
                cut = [*sizes[:i], 1, sizes[i] - 1, *sizes[i + 1:]]
                variants.append(("into one piece more", cut, [j if j <= i else j + 1 for j in range(n)]))
            if i + 1 < n:
                joined = [*sizes[:i], sizes[i] + sizes[i + 1], *sizes[i + 2:]]
                variants.append(("into one piece less", joined, [j if j <= i else j - 1 for j in range(n)]))
        for what, new, places in variants:
            yield Edit("sections", f"{node.name} {what}: {new}", f"{base_name(node.target)} {what}",
                       _resplit(node.name, new, places, dim))


def reads(d: Draft) -> Iterator[Edit]:
    """A piece read by two getitems, by a negative index, late, in the place of another, of an equal call."""
    for node, _, sizes, readers in _splits(d, unbind=True):
        n = len(sizes)
        op = base_name(node.target)
        for reader in readers:
            index = reader.args[1]

            def again(draft: Draft, at=reader.name):
                old = draft.node(at)
                new = draft.insert(old, "call_function", operator.getitem, old.args)
                users = list(old.users)
                if users:
                    users[-1].replace_input_with(old, new)
                else:
                    draft.add_output(new)

            yield Edit("reads", f"{reader.name} read by a second getitem", f"{op} piece read by two getitems", again)
            yield Edit("reads", f"{reader.name} by index {index - n}", f"{op} piece by negative index",
                       lambda draft, at=reader.name, i=index - n: draft.set_args(
                           draft.node(at), (draft.node(at).args[0], i)))
        taken = {reader.args[1] for reader in readers}
        for index in range(n):
            if index not in taken:
                def unread(draft: Draft, at=node.name, i=index):
                    split = draft.node(at)
                    draft.add_output(draft.insert(split, "call_function", operator.getitem, (split, i)))

                yield Edit("reads", f"{node.name}[{index}] read too", f"{op} unread piece returned", unread)
        for a in readers:
            for b in readers:
                if a.args[1] < b.args[1]:
                    def swap(draft: Draft, a=a.name, b=b.name):
                        one, two = draft.node(a), draft.node(b)
                        i, j = one.args[1], two.args[1]
                        draft.set_args(one, (one.args[0], j))
                        draft.set_args(two, (two.args[0], i))

                    yield Edit("reads", f"{a.name} and {b.name} swapped", f"{op} pieces permuted", swap)

        def late(draft: Draft, at=node.name):
            split = draft.node(at)
            for reader in sorted(split.users, reverse=True):
                first = min(reader.users, default=None)
                if first is not None and first.op != "output":
                    first.prepend(reader)

        yield Edit("reads", f"pieces of {node.name} read late", f"{op} pieces read late", late)
    yield from _crossed(d)
    yield from _sliced(d)


def _crossed(d: Draft) -> Iterator[Edit]:
    """Yield that one result of a call, or each second one, is that of an equal call on a new input."""
    for node in d.calls():
        source = next((operand for operand in node.all_input_nodes if d.tensor(operand) is not None), None)
        readers = [user for user in node.users if user.target is operator.getitem and isinstance(user.args[1], int)]
        if source is None or not is_static(d.tensor(source)) or len(readers) < 2 or \
                not isinstance(d.val(node), (list, tuple)):
            continue
        spec = spec_of(d.tensor(source))
        readers.sort(key=lambda reader: reader.args[1])
        for moved in dict.fromkeys((tuple(readers[:1]), tuple(readers[-1:]), tuple(readers[1::2]))):
            def apply(draft: Draft, at=node.name, source=source.name, spec=spec, moved=moved):
                call = draft.node(at)
                twin = draft.repeat(call)
                twin.replace_input_with(draft.node(source), draft.add_input(spec))
                for reader in moved:
                    other = draft.node(reader.name)
                    draft.set_args(other, (twin, other.args[1]))

            names = " and ".join(reader.name for reader in moved)
            yield Edit("reads", f"{names} of {base_name(node.target)} called again on another {source.name}",
                       f"{base_name(node.target)} piece of an equal call", apply)


def _sliced(d: Draft) -> Iterator[Edit]:
    """Yield that a result is read of a slice of all results, where the stage writes that down."""
    if d.capture != "symbolic":
        return
    for reader in d.calls():
        if reader.target is not operator.getitem or not isinstance(d.val(reader.args[0]), (list, tuple)):
            continue

        def apply(draft: Draft, at=reader.name):
            read = draft.node(at)
            results, index = read.args
            some = draft.insert(None, "call_function", operator.getitem, (results, slice(index, None)), before=read)
            draft.set_args(read, (some, 0))

        if isinstance(reader.args[1], int):
            yield Edit("reads", f"{reader.name} read of a slice", f"{base_name(reader.args[0].target)} results sliced",
                       apply)


def _splits(d: Draft, unbind: bool = False) -> Iterator[tuple[Node, int, list[int], list[Node]]]:
    for node in d.calls():
        name = base_name(node.target)
        pieces = d.val(node)
        if not isinstance(pieces, (list, tuple)) or not (name in SPLITS or unbind and name == "unbind"):
            continue
        readers = [u for u in node.users if u.target is operator.getitem and isinstance(u.args[1], int)]
        if len(readers) != len(node.users) or not all(isinstance(p, torch.Tensor) for p in pieces):
            continue
        dim = next((s.value for s in slots(node) if s.param.name in ("dim", "axis") and isinstance(s.value, int)), 0)
        if name != "unbind" and not all(-p.dim() <= dim < p.dim() for p in pieces):
            continue
        sizes = [p.shape[dim] for p in pieces] if name != "unbind" else [1] * len(pieces)
        if all(isinstance(s, int) for s in sizes):
            yield node, dim, sizes, readers


def _resplit(name: str, sizes: int | list[int], places: list[int], dim: int):
    """Split as ``sizes`` says; the piece at i is now at ``places[i]``."""
    def apply(draft: Draft):
        node = draft.node(name)
        readers = [u for u in node.users if u.target is operator.getitem]
        new = _new_split(draft, node, sizes, dim)
        pieces = len(sizes) if isinstance(sizes, list) else len(places)
        for reader in readers:
            index = reader.args[1]
            draft.set_args(reader, (new, places[index] if index >= 0 else places[index] - pieces))
        node.replace_all_uses_with(new, delete_user_cb=lambda u: u is not new)

    return apply


def _split_beside(name: str, size: int, pieces: int, dim: int):
    """Split what a split splits once more, and return the first and the last piece."""
    def apply(draft: Draft):
        node = draft.node(name)
        new = _new_split(draft, node, size, dim)
        for index in (0, pieces - 1):
            draft.add_output(draft.insert(new, "call_function", operator.getitem, (new, index)))

    return apply


def _cut_source(name: str, length: int, dim: int):
    """Split all but the last of what a split splits."""
    def apply(draft: Draft):
        node = draft.node(name)
        source = _source(node)
        target, args = (aten.slice.Tensor, (source, dim, 0, length)) if draft.functional else \
            (torch.narrow, (source, dim, 0, length))
        node.replace_input_with(source, draft.insert(source, "call_function", target, args))

    return apply


def _new_split(draft: Draft, node: Node, sizes: int | list[int], dim: int) -> Node:
    """Insert a split of what ``node`` splits after it, in its spelling."""
    source = _source(node)
    if draft.functional:
        target = aten.split_with_sizes.default if isinstance(sizes, list) else aten.split.Tensor
        return draft.insert(node, "call_function", target, (source, sizes, dim))
    if node.op == "call_method":
        return draft.insert(node, "call_method", "split", (source, sizes), {"dim": dim})
    return draft.insert(node, "call_function", torch.split, (source, sizes), {"dim": dim})


def _source(node: Node) -> Node:
    source = node.args[0] if node.args else node.kwargs.get("tensor", node.kwargs.get("input"))
    if not isinstance(source, Node):
        raise Inapplicable("no source")
    return source
