"""Valid models, indexes, ledgers and their like, made small with Linkage itself."""

from __future__ import annotations

import json
import shutil
import sqlite3
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fuzzing.cases import write
from fuzzing.samples import Sample, encoded, in_folder, picture

MODEL = "linkage-line"


def records_table(path: Path, rows: int = 6) -> None:
    """Records with crops, as ingest writes them."""
    from linkage.records import SCHEMA

    table = [
        {
            "record_id": f"r{n}",
            "source": f"page_{n}.png",
            "page": 1,
            "text": f"Dupont No {n // 2}",
            "direction": "horizontal",
            "ocr_confidence": 0.9,
            "words": [{"text": "Dupont", "confidence": 0.9, "x0": 1, "y0": 1, "x1": 9, "y1": 9}],
            "crop": encoded(picture(seed=n), "PNG"),
        }
        for n in range(rows)
    ]
    pq.write_table(pa.Table.from_pylist(table, SCHEMA), path, compression="zstd", row_group_size=4)


def parquet() -> list[Sample]:
    """Records tables."""
    files = in_folder(lambda folder: records_table(folder / "records.parquet"))
    plain = in_folder(
        lambda folder: pq.write_table(
            pa.table({"record_id": ["a", "b"], "text": ["one", "two"], "price": [1.5, None], "entity_id": ["e", ""]}),
            folder / "records.parquet",
            compression="none",
        )
    )
    return [Sample(files, ("records.parquet",)), Sample(plain, ("records.parquet",))]


def model() -> list[Sample]:
    """The shipped model's folder; not its licence and history."""
    from linkage.encode.folder import SHIPPED

    wanted = ("open_clip_config.json", "model.safetensors", "vocab.txt", "scorer.json")
    files = {name: (SHIPPED / MODEL / name).read_bytes() for name in wanted}
    often = ("model.safetensors",) * 3 + ("open_clip_config.json",) * 3 + ("vocab.txt", "scorer.json")
    return [Sample(files, often)]


@lru_cache(maxsize=1)
def _made() -> dict[str, bytes]:
    """A records table, its embeddings and an index of it."""
    from linkage.config import Config
    from linkage.jobs import build_exemplar_index, load_encoder

    def make(folder: Path) -> None:
        from linkage.encode.embed import embed_records
        from linkage.records import Records

        records_table(folder / "records.parquet")
        config = Config()
        embed_records(
            Records.open(folder / "records.parquet"), load_encoder(config), folder / "embeddings", config.encode
        )
        build_exemplar_index(folder / "records.parquet", folder / "index", config, folder / "embeddings")

    return in_folder(make)


def _part(name: str) -> list[Sample]:
    files = {path: data for path, data in _made().items() if path.startswith(f"{name}/")}
    damageable = tuple(path for path in files if not path.endswith("failures.csv"))
    return [Sample(_made(), damageable)]


def embeddings() -> list[Sample]:
    """An embeddings folder beside its records."""
    return _part("embeddings")


def index() -> list[Sample]:
    """An index folder, searched exactly and by FAISS, beside records and embeddings to link to it."""
    approximate = _made() | in_folder(_approximate)
    damageable = ("index/manifest.json", *(path for path in approximate if path.endswith(".faiss")))
    return [*_part("index"), Sample(approximate, damageable)]


def _approximate(folder: Path) -> None:
    from linkage.config import load_config
    from linkage.jobs import build_exemplar_index

    write(Sample(_made(), ()), folder)
    shutil.rmtree(folder / "index")
    config = load_config(None, ["index.kind=hnsw"])
    build_exemplar_index(folder / "records.parquet", folder / "index", config, folder / "embeddings")


def map_of_models() -> list[Sample]:
    """An index of an older model with a map for the queries of the newer one, beside records and embeddings."""
    import numpy as np

    from linkage.search.maps import ModelMap

    made = dict(_made())
    manifest = json.loads(made["index/manifest.json"])
    newer, older = manifest["model_sha256"], "0" * 64
    made["index/manifest.json"] = json.dumps(manifest | {"model_sha256": older}).encode()
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(manifest["dim"], manifest["dim"])))[0]
    own = {"own": (1.0, 0.5, 1.0, 6)}
    saved = in_folder(lambda folder: ModelMap(turned.astype(np.float32), older, newer, 6, own).save(folder))
    files = made | {f"index/{name}": data for name, data in saved.items()}
    return [Sample(files, tuple(name for name in files if "/map-" in name))]


def scorer() -> list[Sample]:
    """A scorer's JSON."""
    from linkage.compare.scorer import DEFAULT_SCORER

    fitted = in_folder(lambda folder: DEFAULT_SCORER.save(folder / "scorer.json"))
    shipped = {"scorer.json": model()[0].files["scorer.json"]}
    return [Sample(files, ("scorer.json",)) for files in (fitted, shipped)]


def ledger() -> list[Sample]:
    """A ledger with a history: made, grown, merged, split, an entity ended."""
    from linkage.ledger.ledger import Ledger, RecordGroup

    def make(folder: Path) -> None:
        with Ledger.open(folder / "firms.ledger", create=True, salt="fuzz") as book:
            for words in ("ab cd e", "abc d ef", "abcd ef gh"):
                book.record([RecordGroup(tuple(word), "clustered") for word in words.split()], command="fuzz")
            book.retire(book.members()[0].entity_id, reason="fuzz", command="fuzz")

    def with_trigger(folder: Path) -> None:
        make(folder)
        database = sqlite3.connect(folder / "firms.ledger")
        database.execute("CREATE TRIGGER t AFTER INSERT ON runs BEGIN DELETE FROM members; END")
        database.commit()
        database.close()

    name = ("firms.ledger",)
    return [Sample(in_folder(make), name), Sample(in_folder(with_trigger), name, hostile=True)]


def run() -> list[Sample]:
    """A links table as `linkage link` leaves it, with its scorer and manifest, to be explained."""
    from linkage.config import Config
    from linkage.jobs import link_queries

    def make(folder: Path) -> None:
        write(Sample(_made(), ()), folder)
        link_queries(
            folder / "records.parquet",
            folder / "index",
            folder / "links.parquet",
            Config(),
            embeddings=folder / "embeddings",
        )

    files = {name: data for name, data in in_folder(make).items() if name.startswith("links")}
    return [Sample(files, tuple(files))]
