"""bench/tables.py writes measured rows into a table of the documentation."""

import importlib.util

import pytest

PAGE = "# T\n\n<!-- a -->\n| model | x | y |\n|---|---:|---:|\n| `p` | 1 | 2 |\n\nend\n"


@pytest.fixture
def tables(repo):
    spec = importlib.util.spec_from_file_location("tables", repo / "bench" / "tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rows_are_replaced_and_appended_and_all_else_stays(tables, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    tables.update_table(page, "a", {"`p`": {"y": "5", "x": "4"}, "`q`": {"x": "6", "z": "7"}})
    assert page.read_text() == PAGE.replace("| `p` | 1 | 2 |", "| `p` | 4 | 5 |\n| `q` | 6 | – |")


def test_a_page_without_the_table_is_an_error_that_names_the_line(tables, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    with pytest.raises(SystemExit, match="<!-- b -->"):
        tables.update_table(page, "b", {})
    assert page.read_text() == PAGE


@pytest.mark.parametrize(
    ("page", "name"),
    [("results", "mnist, 1 seeds"), ("results", "mnist, 3 seeds"), ("speed", "speed")],
)
def test_the_documentation_has_the_tables_that_the_commands_write(
    repo, tables, page, name, tmp_path
):
    copy = tmp_path / "page.md"
    copy.write_text((repo / "docs" / f"{page}.md").read_text())
    tables.update_table(copy, name, {"`new`": {}})
    assert "| `new` | –" in copy.read_text()
