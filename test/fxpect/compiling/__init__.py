"""What torch.compile does with a function: its graphs and graph breaks, guards, callbacks and messages.

``backends`` records the graphs that a backend is given and runs passes over them, ``sequences`` puts graphs and
graph breaks in order, ``guards`` says which call fits what was compiled, ``packages`` saves and loads that,
``callbacks`` logs when compilation starts and ends, ``messages`` reads what dynamo says, ``sources`` writes source to
a file of its own.
"""

from __future__ import annotations

from fxpect.compiling.backends import RecordedGraph, RecordingBackend
from fxpect.compiling.callbacks import CompileEvent, CompileLog
from fxpect.compiling.guards import (
    GuardedCall,
    LoadedGuards,
    Verdict,
    call_in_turn,
    guard_verdict,
    guards_of,
    reload_guards,
)
from fxpect.compiling.messages import Reason, munge, user_frames
from fxpect.compiling.packages import LoadedPackage, SavedPackage, save_package
from fxpect.compiling.sequences import Break, GraphSequence, graphs_of
from fxpect.compiling.sources import source_module

__all__ = [
    "Break", "CompileEvent", "CompileLog", "GraphSequence", "GuardedCall", "LoadedGuards", "LoadedPackage", "Reason",
    "RecordedGraph", "RecordingBackend", "SavedPackage", "Verdict", "call_in_turn", "graphs_of", "guard_verdict",
    "guards_of", "munge", "reload_guards", "save_package", "source_module", "user_frames",
]
