"""Memory layouts: how a tensor's elements lie in its storage."""

from __future__ import annotations

import torch

from fxpect.errors import SpecError

LAYOUTS = ("transposed", "channels_last", "expanded", "strided", "offset")


def check_layout(layout: object, shape: tuple) -> str | tuple[int, ...] | None:
    """Return ``layout`` in its one spelling; raises ``SpecError`` where no tensor of ``shape`` has it."""
    if layout is None or layout == "contiguous":
        return None
    if isinstance(layout, (tuple, list, torch.Size)):
        return _check_strides(tuple(layout), shape)
    if layout not in LAYOUTS:
        raise SpecError(f"expected a layout among contiguous, {', '.join(LAYOUTS)} or a tuple of strides; "
                        f"got {layout!r}")
    needs = {"transposed": (2, None), "channels_last": (4, 5), "expanded": (1, None), "strided": (1, None),
             "offset": (0, None)}[layout]
    if len(shape) < needs[0] or (needs[1] is not None and len(shape) > needs[1]):
        wanted = f"{needs[0]} dims or more" if needs[1] is None else f"{needs[0]} or {needs[1]} dims"
        raise SpecError(f"layout {layout!r} needs {wanted}; got the shape {list(map(str, shape))}")
    return layout


def _check_strides(strides: tuple, shape: tuple) -> tuple[int, ...]:
    if len(strides) != len(shape) or any(type(s) is not int or s < 0 for s in strides):
        raise SpecError(f"expected {len(shape)} strides, none negative; got {strides!r}")
    if any(type(n) is not int for n in shape):
        raise SpecError("explicit strides need a fixed shape; name a layout for a shape with named dims")
    return strides


def overlaps(layout: str | tuple[int, ...] | None, shape: tuple) -> bool:
    """Return whether two elements may share a place in memory under ``layout``."""
    if isinstance(layout, str) or layout is None:
        return layout == "expanded" and shape[0] != 1
    reach = 0
    for stride, size in sorted(zip(layout, shape, strict=True)):
        if size == 0:
            return False
        if size > 1 and stride <= reach:
            return True
        reach += (size - 1) * stride
    return False


def stored_shape(layout: str | tuple[int, ...] | None, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of the values that are to be made: the distinct elements, where some overlap."""
    if layout == "expanded":
        return (min(shape[0], 1), *shape[1:])
    if isinstance(layout, tuple) and overlaps(layout, shape):
        return (_extent(shape, layout),)
    return shape


def lay_out(values: torch.Tensor, layout: str | tuple[int, ...] | None,
            shape: tuple[int, ...]) -> torch.Tensor:
    """Return a tensor of ``shape`` in ``layout`` that holds ``values`` (contiguous, of ``stored_shape``)."""
    if layout is None:
        return values
    if layout == "expanded":
        return values.expand(shape) if shape[0] else values
    if isinstance(layout, tuple):
        if values.shape != shape or overlaps(layout, shape):
            return values.as_strided(shape, layout)
        return _filled(values.new_zeros(_extent(shape, layout)).as_strided(shape, layout), values)
    if layout == "transposed":
        return _filled(values.new_empty((*shape[:-2], shape[-1], shape[-2])).transpose(-1, -2), values)
    if layout == "channels_last":
        form = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
        return values.contiguous(memory_format=form)
    if layout == "strided":
        return _filled(values.new_zeros((*shape[:-1], 2 * shape[-1]))[..., ::2], values)
    flat = values.new_zeros(values.numel() + 1)
    flat[1:] = values.reshape(-1)
    return flat[1:].view(shape)


def layout_of(tensor: torch.Tensor) -> str | tuple[int, ...] | None:
    """Return the layout that gives ``tensor`` its strides, by name where there is one."""
    shape, strides = tuple(tensor.shape), tuple(tensor.stride())
    if strides == torch.empty(shape, device="meta").stride():
        return "offset" if tensor.storage_offset() else None
    for layout in LAYOUTS[:-1]:
        try:
            check_layout(layout, shape)
        except SpecError:
            continue
        values = torch.empty(stored_shape(layout, shape), dtype=torch.bool)
        if tuple(lay_out(values, layout, shape).stride()) == strides:
            return layout
    return strides


def _filled(target: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    target.copy_(values)
    return target


def _extent(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    if 0 in shape:
        return 0
    return 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
