"""The tables of the README that scripts measure: each stands between two comments that name it."""

from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


def table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return rows as a table in Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ("---",) * len(heads), *rows))


def has_place(name: str) -> bool:
    """Whether the README has a place for the table ``name``."""
    text = README.read_text(encoding="utf-8")
    return all(mark in text for mark in _marks(name))


def put(name: str, text: str) -> None:
    """Write the table ``name`` into the README."""
    start, end = _marks(name)
    before, _, rest = README.read_text(encoding="utf-8").partition(start)
    README.write_text(f"{before}{start}\n{text}\n{end}{rest.partition(end)[2]}", encoding="utf-8")


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- {name} -->", f"<!-- end of {name} -->"
