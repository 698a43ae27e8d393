"""What is there and what is not, with the command that mends it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_cli import linkage

from linkage.config import Config, EncodeConfig, IngestConfig
from linkage.doctor import Finding, examine

NO_OCR = Config(ingest=IngestConfig(ocr="none", regions="page"))


def found(config: Config, out: Path) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine(config, out)}


def test_what_is_there_is_tried(tmp_path: Path) -> None:
    findings = found(NO_OCR, tmp_path)
    assert findings["packages"].state == "ok"
    assert findings["model"].state == "ok"
    assert "1898" in findings["model"].found, "it read the line that was drawn for it"
    assert not findings["tesseract"].needed
    assert {"cores", "memory", "disk, --out", "disk, temporary", "text", "fonts", "GPU, torch"} <= set(findings)
    assert all(finding.fix for finding in findings.values() if finding.needed and finding.state == "missing")
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_names_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linkage.doctor.free_memory", lambda: 10**9)
    monkeypatch.setattr("linkage.doctor.free_disk", lambda path: 10**6)
    config = Config(
        ingest=IngestConfig(languages=("eng", "tlh"), workers=10_000), encode=EncodeConfig(model="no-such-model")
    )
    findings = found(config, tmp_path)
    assert findings["tesseract"].needed
    assert findings["tesseract"].state == findings["model"].state == "missing"
    assert findings["tesseract"].fix.startswith(("apt-get install", "pip install"))
    for name in ("cores", "memory", "disk, --out"):
        assert findings[name].state == "warning"
        assert findings[name].fix


def test_the_exit_code_says_whether_a_run_can_start(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("ingest: {ocr: none, regions: page}\n")
    done = linkage("doctor", "c.yaml", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {row["state"] for row in json.loads(done.stdout)} <= {"ok", "missing", "warning"}
    done = linkage("doctor", "c.yaml", "--set", "encode.model=no-such-model", cwd=tmp_path)
    assert done.returncode == 5
    assert done.stderr.splitlines()[-1].startswith("linkage: model: missing")
    assert "fix" in done.stdout
