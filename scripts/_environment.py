"""The environment of this checkout, ``.venv``, made and kept whole with the standard library alone.

``run_suite.py`` and ``run_tests.py`` share it. Each purpose has a stamp in it, written last: the inputs
that it was made from. While the stamp fits and nothing is missing, a call costs one short process.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
OLDEST_PYTHON = (3, 11)
OLDEST_TORCH = (2, 11)
DEFAULT_TORCH = "2.13.0"
# What decides which packages this checkout needs.
INPUTS = ("setup.cfg", "pyproject.toml")
USAGE = 2
INTERRUPTED = 130

# Runs inside .venv. A file that pip recorded and that is gone counts as missing; pip compiles *.pyc anew.
# NB dist.files would not do: since Python 3.12 it leaves out what is missing.
PROBE = """
import csv, importlib.metadata, json, os, sys
here = os.path.realpath(sys.prefix)
versions, missing, site = {}, [], ""
for dist in importlib.metadata.distributions():
    name = dist.metadata["Name"].lower()
    if name in versions:
        continue
    versions[name] = dist.version
    if not os.path.realpath(dist.locate_file("")).startswith(here):
        continue
    if name == "pip":
        site = str(dist.locate_file(""))
    for file, *_ in csv.reader((dist.read_text("RECORD") or "").splitlines()):
        if not file.endswith(".pyc") and not os.path.exists(dist.locate_file(file)):
            missing.append(file)
print(json.dumps({"prefix": here, "python": sys.version_info[:2], "site": site, "versions": versions,
                  "missing": missing[:3]}))
"""


class Unusable(Exception):
    """The environment cannot be made; the message says what to do."""


def ensure(purpose: str, requirements: list, *, editable: str = "", torch: "str | None" = "") -> Path:
    """Return the Python of an environment that has what is asked for, changing no more than it must.

    ``editable`` names this checkout with its extras, such as ``".[progress]"``. ``torch`` is a version,
    None for whatever fits (one that is there, else the default), "" where none is needed.
    Raises Unusable where that is not possible.
    """
    stamp = VENV / f"fxpect-{purpose}.json"
    wanted = fingerprint(requirements, editable)
    state = probe()
    if state is None:
        build()
        state = probe() or {"versions": {}, "site": ""}
    missing_torch = [] if torch == "" else torch_requirement(torch, state)
    complete = all(name in state["versions"] for name in wanted["names"])
    if not (read_json(stamp) == wanted and complete and not missing_torch):
        install([*missing_torch, *requirements], editable)
        stamp.write_text(json.dumps(wanted), encoding="utf-8")
    return python()


def python() -> Path:
    """Return the Python of ``.venv``."""
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def fingerprint(requirements: list, editable: str) -> dict:
    """Return what an installation depends on, and the names of packages that must be there, as plain data."""
    inputs = {name: hashlib.sha256((ROOT / name).read_bytes()).hexdigest() for name in INPUTS if editable}
    names = ["fxpect", "expecttest", "hypothesis", "packaging"] if editable else []
    names += [requirement.split("=")[0].split(">")[0] for requirement in requirements]
    return {"names": names, "requirements": requirements, "editable": editable, "inputs": inputs,
            "root": str(ROOT)}


def probe() -> "dict | None":
    """Return what ``.venv`` holds, or None where it is absent or broken; what is broken is said."""
    if not VENV.exists():
        return None
    try:
        done = subprocess.run([str(python()), "-c", PROBE], capture_output=True, text=True, timeout=300,
                              env=environ())
        state = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        say(f"{VENV.name} is broken: its Python does not run")
        return None
    if Path(state["prefix"]) != VENV.resolve():
        say(f"{VENV.name} is broken: its Python belongs to {state['prefix']}")
    elif state["missing"] or not state["site"]:
        say(f"{VENV.name} is broken: it lacks {', '.join(state['missing']) or 'pip'}")
    else:
        return state
    return None


def build() -> None:
    """Make an empty ``.venv`` with pip, in place of what is there."""
    remove()
    # Not sys.executable: that may have been the Python of the environment that was just removed.
    maker = getattr(sys, "_base_executable", None) or sys.executable
    say(f"making {VENV.name} with Python {'.'.join(map(str, sys.version_info[:3]))}")
    if importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip"):
        command = [maker, "-m", "venv", str(VENV)]
    elif importlib.util.find_spec("virtualenv"):
        command = [sys.executable, "-m", "virtualenv", "--quiet", str(VENV)]
    else:
        version = "{}.{}".format(*sys.version_info)
        raise Unusable(f"{maker} has neither venv with ensurepip nor virtualenv to make {VENV.name} with.\n"
                       "Install one of them and run this again:\n"
                       f"    sudo apt install python{version}-venv        (Debian, Ubuntu)\n"
                       f"    {maker} -m pip install --user virtualenv")
    done = subprocess.run(command, env=environ(), capture_output=True, text=True)
    if done.returncode:
        raise Unusable(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr).strip()}")


def remove() -> None:
    """Delete ``.venv`` where it looks like one; anything else under that name is the user's."""
    if VENV.is_symlink():
        VENV.unlink()
    elif VENV.is_dir() and (not any(VENV.iterdir()) or (VENV / "pyvenv.cfg").exists()
                            or os.path.lexists(python())):
        say(f"removing the old {VENV.name}")
        shutil.rmtree(VENV)
    elif VENV.exists():
        raise Unusable(f"{VENV} is in the way and is no Python environment. Move it and run this again.")


def install(requirements: list, editable: str) -> None:
    """Install into ``.venv`` with its own pip."""
    words = [*requirements, *(["--editable", editable] if editable else [])]
    say(f"installing {' '.join(words)}")
    command = [str(python()), "-m", "pip", "install", "--disable-pip-version-check", "--retries", "2", *words]
    quiet = [] if sys.stderr.isatty() else ["--quiet"]
    if subprocess.run(command + quiet, cwd=ROOT, env=environ(), stdout=sys.stderr).returncode:
        raise Unusable(f"could not install {' '.join(words)} into {VENV.name}; pip's own words are above.\n"
                       "Is there a network? Without one, give pip a folder of wheels and run this again:\n"
                       "    PIP_NO_INDEX=1 PIP_FIND_LINKS=folder python3 " + " ".join(sys.argv))


def torch_requirement(asked: "str | None", state: dict) -> list:
    """Return what to install for torch: nothing where ``.venv`` has one that fits or can borrow one."""
    have = state["versions"].get("torch", "0")
    if asked:
        return [] if have.split("+")[0] == asked else [f"torch=={asked}"]
    if fits(have) or borrow_torch(state):
        return []
    return [f"torch=={DEFAULT_TORCH}"]


def borrow_torch(state: dict) -> bool:
    """Let ``.venv`` see the torch of the Python that runs this, where that one has a fitting one."""
    spec = importlib.util.find_spec("torch")
    if not spec or not spec.origin or state.get("python") != list(sys.version_info[:2]):
        return False
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return False
    if not fits(version):
        return False
    folder = Path(spec.origin).parent.parent
    say(f"using torch {version} of {folder}")
    Path(state["site"], "fxpect_torch.pth").write_text(f"{folder}\n", encoding="utf-8")
    return True


def fits(version: str) -> bool:
    """Return whether the library supports this torch."""
    numbers = [int(part) for part in version.split("+")[0].split(".")[:2] if part.isdigit()]
    return tuple(numbers) >= OLDEST_TORCH


def environ() -> dict:
    """Return the variables for processes of ``.venv``, less those that lead out of it."""
    gone = {"PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_PYTHON"}
    return {key: value for key, value in os.environ.items() if key not in gone}


def call(words: list, **variables: str) -> int:
    """Run a program of ``.venv`` from the top of the checkout, with these variables too; return its exit code."""
    process = subprocess.Popen(words, cwd=ROOT, env={**environ(), **variables})
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # the program got it too, and ends in its own time
            continue


def run_script(main) -> None:
    """Run ``main()`` and exit with what it returns; trouble with the environment is a message and 2."""
    if sys.version_info < OLDEST_PYTHON:
        sys.exit("this needs Python {}.{} or later, not ".format(*OLDEST_PYTHON) + sys.version.split()[0])
    try:
        sys.exit(main())
    except Unusable as trouble:
        say(str(trouble))
        sys.exit(USAGE)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def say(line: str) -> None:
    """Tell the person what happens, on standard error."""
    print(f"{Path(sys.argv[0]).name}: {line}", file=sys.stderr, flush=True)


def read_json(path: Path) -> "dict | None":
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
