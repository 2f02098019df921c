"""The documents list the options that the code declares."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: the tables of the node's parameters are beside what declares them")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = spec_from_file_location("write_tables", ROOT / "tools" / "write_tables.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_documents_have_the_tables_that_the_code_gives(tool: ModuleType) -> None:
    for document in {document for document, _ in tool.TABLES}:
        text = (ROOT / document).read_text(encoding="utf-8")
        assert text == tool.with_tables(document, text), f"{document} is out of date: run `make tables`"


def test_configuration_files_have_the_entries_that_the_code_gives(tool: ModuleType) -> None:
    for name, content in tool.FILES.items():
        assert (ROOT / name).read_text(encoding="utf-8") == content(), f"{name} is out of date: run `make tables`"


def test_a_table_that_is_out_of_date_is_written_anew(tool: ModuleType) -> None:
    text = "before\n<!-- training entries -->\n\nold\n\n<!-- /training entries -->\nafter\n"
    new = tool.with_tables("docs/training.md", text)
    assert new.startswith("before\n") and new.endswith("\nafter\n") and "old" not in new
    assert "| `steps` |  | Length of the run in steps." in new


def test_a_document_without_markers_is_named(tool: ModuleType) -> None:
    with pytest.raises(ValueError, match="docs/training.md has no <!-- training entries -->"):
        tool.with_tables("docs/training.md", "nothing here")
