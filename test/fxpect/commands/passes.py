"""``fxpect passes``: list the passes that check knows by name.

A name prints one pass in full: how it is called, its options, its models and what its stage forgives.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from fxpect.commands import exit_codes

NAME = "passes"
HELP = "list the passes that check knows by name"
STAGES = ("pre_grad", "joint", "post_grad", "freezing", "fx", "export")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``fxpect passes``."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="a pass, or the last part of its name")
    parser.add_argument("--stage", choices=STAGES, help="only the passes of this stage")
    parser.add_argument("--patterns", action="store_true",
                        help="with NAME: also the patterns that it is made of")
    parser.add_argument("--left-out", action="store_true",
                        help="the passes of torch that are not here, and why")
    parser.add_argument("--json", action="store_true", help="print JSON lines")


def run(args: argparse.Namespace) -> int:
    """Print what was asked for; returns 0."""
    from fxpect.passes.catalogue import catalogue, find
    from fxpect.passes.not_on_cpu import NOT_ON_CPU

    if args.left_out:
        for name, reason in NOT_ON_CPU.items():
            if args.stage in (None, _stage(name)):
                print(json.dumps({"name": name, "reason": reason}) if args.json else f"{name:<60} {reason}")
        return exit_codes.OK
    if args.name is not None:
        record = _record(find(args.name), patterns=args.patterns)
        print(json.dumps(record, sort_keys=True) if args.json else _in_full(record))
        return exit_codes.OK
    entries = [entry for entry in catalogue() if args.stage in (None, entry.stage)]
    if args.json:
        for entry in entries:
            print(json.dumps(_record(entry), sort_keys=True))
        return exit_codes.OK
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        print(f"{entry.name:<{width}}  {entry.stage:<9} {entry.capture:<8} {entry.does}"
              f"  ({', '.join(model.name for model in entry.models)})")
    return exit_codes.OK


# Both spellings are in use for the two functions of a command.
configure, main = add_arguments, run


def _record(entry: Any, patterns: bool = False) -> dict[str, Any]:
    """Return what is known of a pass, as JSON can hold it."""
    record = {
        "name": entry.name, "stage": entry.stage, "capture": entry.capture, "kind": entry.kind,
        "does": entry.does,
        "options": entry.options, "torch": entry.torch, "frozen": entry.frozen, "after": list(entry.after),
        "forgives": sorted(entry.severity), "why": entry.why, "writes": entry.writes, "examples": entry.examples,
        "models": [{"name": model.name, "capture": model.capture or entry.capture,
                    "inputs": [repr(spec) for spec in model.inputs], "what": _what(model.model)}
                   for model in entry.models],
    }
    if patterns:
        from fxpect.passes.patterns import patterns_of

        record["patterns"] = [{"handler": pattern.handler, "offered": pattern.innocent is not None and
                               not pattern.reason,
                               "reason": pattern.reason} for pattern in patterns_of(entry.name)]
    return record


def _in_full(record: dict[str, Any]) -> str:
    lines = [f"{record['name']}: {record['does']}"]
    lines += [f"  {label}: {record[label]}" for label in ("stage", "capture", "kind", "options", "torch")
              if record[label]]
    if record["frozen"]:
        lines.append("  parameters are constants of the graph")
    if record["after"]:
        lines.append(f"  runs first, inside the same call: {', '.join(record['after'])}")
    if record["forgives"]:
        why = f" ({record['why']})" if record["why"] else ""
        lines.append(f"  is not judged by: {', '.join(record['forgives'])}{why}")
    if record["examples"]:
        lines.append(f"  is slow: check judges {record['examples']} examples unless --examples says otherwise")
    for model in record["models"]:
        inputs = ", ".join(model["inputs"])
        lines.append(f"  model {model['name']} [{model['capture']}] ({inputs})  {model['what']}")
    for pattern in record.get("patterns", ()):
        excuse = f": not offered, {pattern['reason']}" if pattern["reason"] else ""
        lines.append(f"  pattern {pattern['handler']}{excuse}")
    lines.append(f"  explore it: fxpect check {record['name']}")
    return "\n".join(lines)


def _what(model: Any) -> str:
    """Return the first line of what the model says about itself."""
    documented = model if getattr(model, "__name__", None) else type(model)
    return (documented.__doc__ or "").strip().partition("\n")[0] if not isinstance(model,
                                                                                   str) else "a graph text"


def _stage(name: str) -> str:
    prefix = name.partition(".")[0]
    return "fx" if prefix == "functorch" else prefix
