"""Writes the tables of the documents that list options, from the code that declares the options.

`make tables` runs it. A test compares the documents with the result.
"""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from lseg_ros.training.config import TrainConfig

ROOT = Path(__file__).resolve().parent.parent


def training_entries() -> str:
    """The entries of a training configuration."""
    lines = ["| entry | default | meaning |", "|---|---|---|"]
    for field in fields(TrainConfig):
        shown = field.metadata["shown"]
        default = f"`{shown}`" if shown and shown not in ("none", "random", "all") else shown
        lines.append(f"| `{field.name}` | {default} | {field.metadata['meaning']} |")
    return "\n".join(lines)


# The document and the name of the table's markers, and what makes the table.
TABLES: dict[tuple[str, str], Callable[[], str]] = {("docs/training.md", "training entries"): training_entries}


def with_tables(path: str, text: str) -> str:
    """Returns a document's text with its tables as they should be.

    Raises:
        ValueError: The document lacks the markers of one of its tables.
    """
    for (document, name), table in TABLES.items():
        if document != path:
            continue
        begin, end = f"<!-- {name} -->\n\n", f"\n\n<!-- /{name} -->"
        if begin not in text or end not in text:
            raise ValueError(f"{path} has no {begin.strip()} ... {end.strip()}; put both where the table belongs")
        before, rest = text.split(begin, 1)
        text = before + begin + table() + end + rest.split(end, 1)[1]
    return text


def main() -> None:
    """Writes every table."""
    for document in sorted({document for document, _ in TABLES}):
        path = ROOT / document
        path.write_text(with_tables(document, path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
