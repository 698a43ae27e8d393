"""Shards: the same bytes wherever they are embedded, and none that is finished is embedded again."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from crashing import die
from hypothesis import given
from hypothesis import strategies as st
from lines import NAMES, crop, draw, tiny_model, write_records
from PIL import Image

from linkage.config import EncodeConfig
from linkage.encode import embed as module
from linkage.encode.biencoder import BiEncoder
from linkage.encode.embed import embed_records, embed_share
from linkage.encode.shards import Shard, embed_shard, is_whole, read_part, shards
from linkage.errors import ArtefactError, InputError, StorageError, UsageError
from linkage.locks import alone
from linkage.ocr.reader import batches_of_lines
from linkage.records import Records
from linkage.workers.pool import UNLIMITED, Workers
from linkage.workers.share import Share

FILES = ("image.npy", "text.npy", "records.parquet", "failures.csv")
ALONE, TWO = EncodeConfig(threads=1), EncodeConfig(threads=2)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> BiEncoder:
    return BiEncoder.load(str(tiny_model(tmp_path_factory.mktemp("encoder") / "tiny")), "cpu")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 records: three shards."""
    drawn = [crop(name, size) for name in NAMES for size in (14, 20)]
    rows: list[dict[str, object]] = [
        {"text": f"{NAMES[number % 16]} {number}", "crop": drawn[number % 32]} for number in range(80)
    ]
    rows[1] |= {"crop": None}
    rows[40] |= {"crop": b"no picture"}
    rows[79] |= {"text": ""}
    return write_records(tmp_path_factory.mktemp("records") / "records.parquet", rows)


def contents(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in FILES]


def counting(stop_at: int, seen: list[int]) -> Callable[[Shard, BiEncoder], None]:
    """`embed_shard` that notes what it is given, and is interrupted at a shard."""

    def embed(shard: Shard, encoder: BiEncoder) -> None:
        if len(seen) == stop_at:
            raise KeyboardInterrupt
        seen.append(shard.start)
        embed_shard(shard, encoder)

    return embed


def test_threads_and_order_change_no_byte(table: Path, encoder: BiEncoder, tmp_path: Path) -> None:
    records = Records.open(table)
    alone = contents(embed_records(records, encoder, tmp_path / "alone", ALONE).folder)
    assert contents(embed_records(records, encoder, tmp_path / "two", TWO).folder) == alone
    torch.set_num_threads(2)
    try:
        for shard in reversed(list(shards(records, encoder, ALONE, tmp_path / "other.partial"))):
            embed_shard(shard, encoder)
        assert torch.get_num_threads() == 2, "as the caller had set it"
        assert contents(embed_records(records, encoder, tmp_path / "other", ALONE).folder) == alone
    finally:
        torch.set_num_threads(1)
    failures = pd.read_csv(tmp_path / "alone" / "failures.csv")
    assert failures["record_id"].tolist() == ["r040"]


def test_a_call_that_was_cut_off_goes_on_with_the_shards_that_are_finished(
    table: Path, encoder: BiEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records, out, seen = Records.open(table), tmp_path / "out", []
    monkeypatch.setattr(module, "embed_shard", counting(2, seen))
    with pytest.raises(KeyboardInterrupt):
        embed_records(records, encoder, out, ALONE)
    assert not out.exists()
    first, second, third = (shard.part for shard in shards(records, encoder, ALONE, tmp_path / "out.partial"))
    assert is_whole(first) and is_whole(second) and not third.exists()
    second.write_bytes(second.read_bytes()[:1000])  # the power went
    monkeypatch.setattr(module, "embed_shard", counting(4, seen))
    made = embed_records(records, encoder, out, ALONE)
    assert seen == [0, 32, 32, 64]
    monkeypatch.undo()
    assert contents(made.folder) == contents(embed_records(records, encoder, tmp_path / "uncut", TWO).folder)
    assert not (tmp_path / "out.partial").exists()


def test_a_part_is_named_after_all_that_it_depends_on(table: Path, encoder: BiEncoder, tmp_path: Path) -> None:
    def names(records: Records, config: EncodeConfig = ALONE) -> list[str]:
        return [shard.part.name for shard in shards(records, encoder, config, tmp_path)]

    records = Records.open(table)
    first = names(records)
    assert names(records, EncodeConfig(threads=7, image_weight=0.1)) == first, "neither changes a vector"
    assert not set(names(records, EncodeConfig(batch_size=3))) & set(first)
    records.frame.loc[50, "text"] = "another text"
    assert [one == other for one, other in zip(names(records), first, strict=True)] == [True, False, True]


def test_a_model_that_changed_meanwhile_is_refused(table: Path, encoder: BiEncoder, tmp_path: Path) -> None:
    shard = next(shards(Records.open(table), encoder, ALONE, tmp_path))
    with pytest.raises(ArtefactError, match="another model"):
        embed_shard(replace(shard, model_sha256="0"))


def test_what_a_thread_raises_ends_the_call_and_keeps_what_is_finished(
    table: Path, encoder: BiEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(shard: Shard, encoder: BiEncoder) -> None:
        if shard.start:
            raise StorageError("the disk is full")
        embed_shard(shard, encoder)

    monkeypatch.setattr(module, "embed_shard", refuse)
    with pytest.raises(StorageError):
        embed_records(Records.open(table), encoder, tmp_path / "out", TWO)
    first, *others = (shard.part for shard in shards(Records.open(table), encoder, TWO, tmp_path / "out.partial"))
    assert is_whole(first) and not any(part.exists() for part in others)
    assert not (tmp_path / "out").exists()


def test_records_that_bring_their_process_down_are_named(
    table: Path, encoder: BiEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "elsewhere", lambda *_: Workers(1, tmp_path, UNLIMITED, ["crashing"]))
    monkeypatch.setattr(module, "embed_shard", die)
    with pytest.raises(InputError, match=r"records 1 to 32 failed twice: .*memory runs out.*encode\.batch_size=8"):
        embed_records(Records.open(table), encoder, tmp_path / "out", ALONE, engine="ray")
    assert not (tmp_path / "out").exists()


def test_a_csv_with_images_gives_what_a_parquet_file_gives(table: Path, encoder: BiEncoder, tmp_path: Path) -> None:
    records = Records.open(table)
    rows = np.array([50, 3, 1, 79, 7])
    crops = [records.crop(int(row)) for row in rows]
    for number, data in enumerate(crops):
        (tmp_path / f"{number}.png").write_bytes(data or b"")
    frame = records.frame.iloc[rows][["record_id", "text"]]
    frame["image"] = ["" if data is None else f"{number}.png" for number, data in enumerate(crops)]
    frame.to_csv(tmp_path / "records.csv", index=False)
    listed = Records.open(tmp_path / "records.csv")
    one = embed_records(records.take(rows), encoder, tmp_path / "one", ALONE)
    two = embed_records(listed, encoder, tmp_path / "two", ALONE)
    assert contents(one.folder) == contents(two.folder)
    (tmp_path / "0.png").unlink()  # after the table was opened
    gone = embed_records(listed, encoder, tmp_path / "gone", ALONE)
    np.testing.assert_array_equal(gone.image.any(axis=1), [False, True, False, True, True])
    assert "0.png" in pd.read_csv(gone.folder / "failures.csv")["reason"].tolist()[0]


def test_lines_of_all_widths_are_seen_as_each_of_them_alone() -> None:
    encoder = BiEncoder.load("linkage-line", "cpu")
    pictures = [draw(name, 40) for name in ("Ibarra Hermanos", "Kowal", "A")]
    pictures += [draw("Lambert Vins & Cie, successeurs", 40), Image.new("L", (3, 90), 255)]
    vectors, sights = encoder.look_at([encoder.pixels(picture) for picture in pictures], batch=2)
    for row, picture in enumerate(pictures):
        alone, seen = encoder.look([picture])
        assert alone[0] @ vectors[row] > 0.99999 or not alone.any()
        assert seen[0].lattice.read()[0] == sights[row].lattice.read()[0]  # type: ignore[union-attr]


@given(st.lists(st.integers(1, 256), min_size=1, max_size=60), st.integers(1, 4000))
def test_a_batch_of_lines_is_bounded_and_little_padded(columns: list[int], most: int) -> None:
    lines = [np.full((1, 48, 8 * count), row, dtype=np.uint8) for row, count in enumerate(columns)]
    batches = batches_of_lines(lines, most)
    assert sorted(row for rows, _ in batches for row in rows) == list(range(len(lines)))
    for rows, batch in batches:
        widths = [lines[row].shape[2] for row in rows]
        assert batch.shape == (len(rows), 3, 48, max(widths))
        assert len(rows) == 1 or batch.shape[0] * batch.shape[3] <= most
        assert max(widths) <= max(min(widths) + 16, min(widths) * 9 / 8)
        for place, row in enumerate(rows):
            assert (batch[place, :, :, : widths[place]] == row / np.float32(127.5) - 1).all()
            assert not batch[place, :, :, widths[place] :].any()


def test_a_part_holds_what_was_made(table: Path, encoder: BiEncoder, tmp_path: Path) -> None:
    _, shard, _ = shards(Records.open(table), encoder, ALONE, tmp_path)
    embed_shard(shard)
    part = read_part(shard.part)
    assert part is not None and part.image.shape == part.text.shape == (32, 16)
    assert part.readings["record_id"].to_pylist() == list(shard.record_ids)
    assert [record for record, _ in part.failures] == ["r040"]
    picture = Image.open(io.BytesIO(Records.open(table).crop(34) or b""))
    assert part.image[2] @ encoder.encode_image([picture])[0] > 0.999


def test_shares_give_the_files_of_one_call(
    table: Path, encoder: BiEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = Records.open(table)
    plain = contents(embed_records(records, encoder, tmp_path / "plain", ALONE).folder)
    out = tmp_path / "shared"
    assert [embed_share(records, encoder, out, ALONE, Share(number, 2)) for number in (2, 1)] == [32, 48]
    assert not out.exists()
    seen: list[int] = []
    monkeypatch.setattr(module, "embed_shard", counting(0, seen))  # there is nothing left to embed
    assert contents(embed_records(records, encoder, out, ALONE).folder) == plain


def test_a_share_and_the_whole_are_not_embedded_at_once(table: Path, encoder: BiEncoder, tmp_path: Path) -> None:
    with alone(tmp_path / "out"), pytest.raises(UsageError, match="another process is writing it"):
        embed_share(Records.open(table), encoder, tmp_path / "out", ALONE, Share(1, 2))
