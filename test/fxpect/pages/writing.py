"""Writing generated pages into a folder where nothing else is touched.

``catalogue.json`` in the folder lists what was written with its digest. Only a file that is listed, and still has a
digest of the list, is ever replaced or removed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from fxpect.errors import FxpectError
from fxpect.fixtures.atomic import write_atomic

MANIFEST = "catalogue.json"


def write_pages(folder: Path, pages: Mapping[str, bytes]) -> list[str]:
    """Write ``pages``, a path to its bytes, below ``folder`` and remove those of an earlier run; return the removed.

    Raises ``FxpectError``, before anything is written, where something else stands in the way.
    """
    if folder.exists() and not folder.is_dir():
        raise FxpectError(f"expected a folder; got {str(folder)!r}")
    earlier = _earlier(folder)
    digests = {path: _digest(data) for path, data in pages.items()}
    for path, digest in digests.items():
        there = _there(folder, path)
        if there is not None and there not in (digest, *earlier.get(path, ())):
            raise FxpectError(f"expected {folder / path} to be a page of this command, as it wrote it; got "
                              "something else\n  move it away, or choose another folder with --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Both digests: a run that is killed half-way leaves a list that is right for old and new pages.
        both = {path: sorted({*earlier.get(path, ()), *([digests[path]] if path in digests else [])})
                for path in {*earlier, *digests}}
        _write(folder, MANIFEST, _manifest(both))
        for path, data in pages.items():
            if _there(folder, path) != digests[path]:
                _write(folder, path, data)
        removed = _remove(folder, {path: known for path, known in earlier.items() if path not in pages})
        _write(folder, MANIFEST, _manifest({path: [digest] for path, digest in digests.items()}))
    except OSError as error:
        raise FxpectError(f"expected a folder that can be written; got {error}") from None
    return removed


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _there(folder: Path, path: str) -> str | None:
    """Return the digest of a file, "" for what is no file of its own or cannot be read, None for nothing."""
    file = folder / path
    if any((folder / parent).is_symlink() for parent in PurePosixPath(path).parents if parent.name):
        return ""
    try:
        return "" if file.is_symlink() else _digest(file.read_bytes())
    except FileNotFoundError:
        return None
    except OSError:
        return ""


def _manifest(known: Mapping[str, list[str]]) -> bytes:
    return (json.dumps({"fxpect catalogue": known}, indent=0, sort_keys=True) + "\n").encode()


def _earlier(folder: Path) -> dict[str, list[str]]:
    """Return what an earlier run wrote; raises ``FxpectError`` for a list that this command did not write."""
    file = folder / MANIFEST
    try:
        known = json.loads(file.read_bytes())["fxpect catalogue"]
        if all(isinstance(one, list) and ".." not in PurePosixPath(path).parts and not path.startswith("/")
               for path, one in known.items()):
            return known
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    raise FxpectError(f"expected {file} to be the list of an earlier catalogue; got something else\n"
                      "  move it away, or choose another folder with --out")


def _write(folder: Path, path: str, data: bytes) -> None:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, data)


def _remove(folder: Path, known: Mapping[str, list[str]]) -> list[str]:
    """Remove the files that are as they were written, and the folders that this leaves empty."""
    removed = []
    for path in sorted(known):
        if _there(folder, path) in known[path]:
            (folder / path).unlink()
            removed.append(path)
            for parent in (folder / path).parents:
                if parent == folder or any(parent.iterdir()):
                    break
                parent.rmdir()
    return removed
