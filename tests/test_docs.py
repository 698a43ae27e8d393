"""What the documents name is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from linkage.stages import STAGES

ROOT = Path(__file__).parents[1]
ARCHITECTURE = ROOT / "docs" / "architecture.md"
PATHS = sorted(set(re.findall(r"`((?:linkage|tests|docs|scripts)/[\w./-]*)`", ARCHITECTURE.read_text("utf-8"))))
NAMED_IN = re.findall(r"`(\w+)` in\s+`(linkage/[\w/]+\.py)`", ARCHITECTURE.read_text("utf-8"))


@pytest.mark.parametrize("path", PATHS)
def test_a_path_that_the_architecture_names_is_there(path: str) -> None:
    assert (ROOT / path).exists()
    assert (ROOT / path).is_dir() == path.endswith("/")


@pytest.mark.parametrize(("name", "path"), NAMED_IN)
def test_a_name_is_in_the_file_where_the_architecture_says_it_is(name: str, path: str) -> None:
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    defined |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    assert name in defined


def test_the_architecture_names_every_folder_and_every_stage() -> None:
    folders = {f"linkage/{path.parent.name}/" for path in (ROOT / "linkage").glob("*/__init__.py")}
    assert folders <= set(PATHS)
    text = ARCHITECTURE.read_text("utf-8")
    assert [stage.name for stage in STAGES if f"`{stage.name}`" not in text] == []
