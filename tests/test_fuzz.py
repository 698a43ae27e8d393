"""Hostile files: every reader takes them or says in one line why not. `make fuzz` does the same with thousands."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from drawn import CATALOGUE, page, speckled, write_bomb, write_broken_tiff, write_encrypted_pdf, write_pdf
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from linkdata import people, save

from linkage.arrays import read_array
from linkage.config import Config, IngestConfig, load_config
from linkage.encode.biencoder import BiEncoder
from linkage.encode.embeddings import Embeddings
from linkage.encode.folder import SHIPPED
from linkage.errors import ArtefactError, ConfigError, InputError, LinkageError
from linkage.evaluate.truth import read_truth
from linkage.ingest.ingest import ingest
from linkage.ingest.table import import_records
from linkage.layout.boxes import read_boxes
from linkage.records import Records
from linkage.scans.pages import count_pages, read_page
from linkage.search.index import Index, build_index
from linkage.tables import read_table

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import fuzz
from fuzzing import cases, samples
from fuzzing.readers import READERS
from fuzzing.watch import problem_of

TEXT = st.text(st.characters(), max_size=20)
AWKWARD = st.sampled_from(
    ["", "-1", "1e999", "nan", "9" * 30, "9" * 5000, "١", "=1", "a\nb", "\0", "\x1b[2J", "\ud800"]
)


@pytest.mark.slow
def test_no_damaged_file_does_harm() -> None:
    results = fuzz.fuzz(fuzz.plan(340, list(READERS)), seed=11)
    harm = [result for result in results if result.seen.outcome in fuzz.WRONG]
    assert not harm, harm
    counts = fuzz.report(results).set_index("kind")
    assert len(results) >= 340
    assert (counts["accepted"] > 0).all(), "of every kind the valid files at least are accepted"
    assert (counts["refused"].drop("run") > 0).all(), "of every kind some damage is noticed"


def test_a_case_is_known_by_its_number() -> None:
    for kind in ("pdf", "records", "png"):
        number = len(samples.samples_of(kind)) + 3
        assert cases.case(kind, 1, number) == cases.case(kind, 1, number)
        assert cases.case(kind, 1, number) != cases.case(kind, 2, number)


def test_messages_are_judged() -> None:
    assert problem_of("a.csv: no such file", {"a.csv"}) == ""
    assert problem_of("no such file", {"a.csv"}) != ""
    assert problem_of("damaged\nvery", None) != ""
    assert problem_of("damaged \x1b[2J", None) != ""
    assert problem_of("x" * 3000, None) != ""


@given(TEXT | AWKWARD)
def test_a_message_is_one_line_whatever_it_quotes(text: str) -> None:
    assert problem_of(str(InputError(f"a.csv: column {text}; leave it out")), {"a.csv"}) == ""


def test_a_long_message_keeps_its_end() -> None:
    message = str(InputError(f"a.csv: {'x' * 100_000}; leave it out"))
    assert message.startswith("a.csv: xxx")
    assert message.endswith("xxx; leave it out")
    assert len(message) < 2000


def test_a_pdf_has_no_more_pages_than_are_there(tmp_path: Path) -> None:
    pages = "<< /Type /Pages /Kids [3 0 R] /Count 1000000 >>"
    write_pdf(tmp_path / "a.pdf", CATALOGUE, pages, "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 100 60] >>")
    assert count_pages(tmp_path / "a.pdf") == 2
    assert read_page(tmp_path / "a.pdf", 1, dpi=72, max_megapixels=1).image.size == (100, 60)
    with pytest.raises(InputError, match="damaged"):
        read_page(tmp_path / "a.pdf", 2, dpi=72, max_megapixels=1)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b.png", "/".join(["x" * 200] * 30)])
def test_a_picture_whose_name_no_file_can_have_is_missing(tmp_path: Path, name: str) -> None:
    (tmp_path / "records.csv").write_text(f"record_id,image\na,{name}\n")
    records = Records.open(tmp_path / "records.csv")
    assert [record for record, _ in records.failures] == ["a"]
    assert records.crop(0) is None


@pytest.mark.parametrize("number", ["9" * 25, "1e300", "inf", "-" + "9" * 400])
def test_a_page_number_that_no_integer_holds_is_refused(tmp_path: Path, number: str) -> None:
    (tmp_path / "boxes.csv").write_text(f"source,page,x0,y0,x1,y1\na.png,{number},0,0,5,5\n")
    with pytest.raises(InputError, match=r"boxes\.csv: .*page"):
        read_boxes(tmp_path / "boxes.csv")


def test_a_page_number_beyond_the_tables_integers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "records.csv").write_text("record_id,text,page\na,one,2147483648\n")
    with pytest.raises(InputError, match=r"records\.csv: a value"):
        import_records(tmp_path / "records.csv", tmp_path / "out.parquet", IngestConfig(ocr="none"))


@pytest.mark.parametrize("key", ["model", "model_sha256", "folding"])
def test_an_index_that_does_not_name_its_model_is_refused(tmp_path: Path, key: str) -> None:
    records, embeddings = save(tmp_path, *people(0, 3, 1))
    build_index(records, embeddings, tmp_path / "index")
    path = tmp_path / "index" / "manifest.json"
    path.write_text(json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != key}))
    with pytest.raises(ArtefactError, match="index: damaged"):
        Index.open(tmp_path / "index")


@pytest.mark.parametrize("key", ["n", "dim"])
def test_counts_that_are_not_finite_are_refused(tmp_path: Path, key: str) -> None:
    records, embeddings = save(tmp_path, *people(0, 3, 1))
    build_index(records, embeddings, tmp_path / "index")
    for folder, reader in ((tmp_path / "index", Index), (embeddings.folder, Embeddings)):
        path = folder / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: float("inf")}))
        with pytest.raises(ArtefactError, match="damaged"):
            reader.open(folder)


@pytest.mark.parametrize("value", ["9" * 5000, "2001-99-99", "0o9:99", "[" * 5000])
def test_yaml_values_that_cannot_be_are_refused(tmp_path: Path, value: str) -> None:
    (tmp_path / "c.yaml").write_text(f"seed: {value}\n")
    with pytest.raises(ConfigError, match=r"c\.yaml"):
        load_config(tmp_path / "c.yaml")
    with pytest.raises(ConfigError, match="seed"):
        load_config(None, [f"seed={value}"])


def test_texts_that_are_no_utf8_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "records.parquet"
    names = pa.array(["a", "b"])
    broken = pa.Array.from_buffers(pa.string(), 2, [None, names.buffers()[1], pa.py_buffer(b"a\xdf")])
    pq.write_table(pa.table({"record_id": names, "source": broken}), path)
    for read in (Records.open, read_table):
        with pytest.raises(InputError, match=r"(?i)utf-?8"):
            read(path)


def test_a_model_larger_than_its_weights_is_not_built(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(SHIPPED / "linkage-line", folder)
    config = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))
    config["model_cfg"]["text_cfg"]["layers"] = 900_000
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ArtefactError, match="larger than"):
        BiEncoder.load(str(folder))


def test_an_array_with_a_broken_header_is_refused(tmp_path: Path) -> None:
    header = b"{'descr': '<f2', 'fortran_order': False, 'shape': (3L, \n"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    (tmp_path / "image.npy").write_bytes(data)
    with pytest.raises(ArtefactError, match=r"image\.npy"):
        read_array(tmp_path / "image.npy")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | AWKWARD.filter(lambda text: "\ud800" not in text),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
KEYS = [(name, key) for name, part in Config() if hasattr(part, "model_fields_set") for key, _ in part]


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4))
@example({("link", "fields"): {"a\nb": 1, "text": "number"}})
def test_any_value_of_any_key_is_taken_or_refused(
    tmp_path_factory: pytest.TempPathFactory, values: dict[tuple[str, str], object]
) -> None:
    tree: dict[str, dict[str, object]] = {}
    for (section, key), value in values.items():
        tree.setdefault(section, {})[key] = value
    path = tmp_path_factory.mktemp("config") / "c.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8", errors="surrogatepass")
    try:
        load_config(path)
    except ConfigError as error:
        assert problem_of(str(error), {"c.yaml"}) == ""


COLUMNS = st.sampled_from(
    "record_id source image page x0 y0 x1 y1 x y w h unit text direction entity_id split role mine".split()
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(COLUMNS, min_size=1, max_size=9, unique=True), st.data())
def test_any_table_is_taken_or_refused(
    tmp_path_factory: pytest.TempPathFactory, columns: list[str], data: st.DataObject
) -> None:
    cell = st.sampled_from(["", "1", "2.5", "px", "%", "a.png", "train", "../a", "/etc/passwd"]) | AWKWARD | TEXT
    rows = data.draw(st.lists(st.tuples(*[cell] * len(columns)), max_size=4))
    lines = [",".join('"' + value.replace('"', '""') + '"' for value in row) for row in (columns, *rows)]
    path = tmp_path_factory.mktemp("tables") / "t.csv"
    path.write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")
    for read in (read_boxes, read_truth, Records.open):
        try:
            read(path)
        except LinkageError as error:
            assert problem_of(str(error), {"t.csv"}) == ""


def test_a_page_that_devours_memory_is_set_aside(tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    speckled(1).save(scans / "a.png")
    # A form that draws itself twice: forty levels deep, which is where PDFium stops, it draws 2^40 times.
    resources = "/Resources << /XObject << /X1 5 0 R >> >>"
    sheet = f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] {resources} /Contents 4 0 R >>"
    form = f"<< /Length 14 /Subtype /Form /BBox [0 0 9 9] {resources} >>\nstream\n/X1 Do /X1 Do \nendstream"
    pages = "<< /Type /Pages /Kids [3 0 R] /Count 1 >>"
    drawn = "<< /Length 7 >>\nstream\n/X1 Do \nendstream"
    write_pdf(scans / "b.pdf", CATALOGUE, pages, sheet, drawn, form)
    config = IngestConfig(regions="page", ocr="none", workers=1, max_failures=1, page_memory=10**8)
    ingest([scans], tmp_path / "records.parquet", config)
    assert Records.open(tmp_path / "records.parquet").frame["source"].tolist() == ["a.png"]
    reasons = read_table(tmp_path / "records.failures.csv")["reason"].tolist()
    assert len(reasons) == 1
    assert "ingest.page_memory" in reasons[0]


def test_good_scans_come_through_among_bad_ones(tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    good = ["a.png", "m\nn.png", "=z.png"]
    for number, name in enumerate(good):
        speckled(number).save(scans / name)
    page().save(scans / "n.pdf", "PDF")
    write_bomb(scans / "bomb.png")
    write_broken_tiff(scans / "broken.tif")
    write_encrypted_pdf(scans / "locked.pdf")
    pages = "<< /Type /Pages /Kids [3 0 R] /Count 2147483647 >>"
    write_pdf(scans / "claims.pdf", CATALOGUE, pages, "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 90000 90000] >>")
    for kind in ("png", "tiff", "jpeg", "gif", "webp", "jp2"):
        first = len(samples.samples_of(kind))
        for number in range(first, first + 5):
            for name, data in cases.case(kind, 3, number)[0].files.items():
                (scans / f"{number}-{name}").write_bytes(data)
    config = IngestConfig(regions="page", ocr="none", workers=2, max_failures=1)
    summary = ingest([scans], tmp_path / "run" / "records.parquet", config)
    frame = Records.open(tmp_path / "run" / "records.parquet").frame
    assert {*good, "n.pdf", "broken.tif"} <= set(frame["source"])
    failures = read_table(tmp_path / "run" / "records.failures.csv")
    assert len(failures) == len(summary.failures) > 0
    assert {"bomb.png", "locked.pdf", "broken.tif", "claims.pdf"} <= set(failures["source"])
    assert all(problem_of(reason, None) == "" for reason in failures["reason"])
    assert set(frame["source"]) | set(failures["source"]) == {path.name for path in scans.iterdir()}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "scans"]
    with pytest.raises(InputError, match="were set aside"):
        ingest([scans], tmp_path / "run" / "records.parquet", config.model_copy(update={"max_failures": 0.01}))
    assert np.isin(good, Records.open(tmp_path / "run" / "records.parquet").frame["source"]).all()
