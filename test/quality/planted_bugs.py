"""Every planted bug, by name."""

from __future__ import annotations

from test.quality.planted_aten import ATEN
from test.quality.planted_modules import MODULES
from test.quality.planted_torch import TORCH
from test.quality.planting import Planted

PLANTED: dict[str, Planted] = {bug.name: bug for bug in (*ATEN, *TORCH, *MODULES)}
