"""One function per command that works on records: files in, files out. A run directory calls the stages itself."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from linkage.config import Config
from linkage.errors import ArtefactError, InputError
from linkage.places import EMBEDDINGS, unwanted
from linkage.records import Records
from linkage.tables import read_table, table_parts, write_dictionary, write_table, writing_table

if TYPE_CHECKING:
    from linkage.cluster import ClusterResult
    from linkage.compare.scorer import Scorer
    from linkage.encode.biencoder import BiEncoder
    from linkage.encode.embeddings import Embeddings
    from linkage.ledger.ledger import Ledger
    from linkage.search.index import Index
    from linkage.workers.share import Share


def build_exemplar_index(
    records: Path, out: Path, config: Config, embeddings: Path | None = None, ledger: Path | None = None
) -> dict[str, Any]:
    """Write the index folder `out` of exemplar records; returns its manifest.

    Args:
        records: exemplars, CSV or Parquet.
        out: folder to write.
        config: `encode` names the model, `index` says how they are searched.
        embeddings: folder of `linkage embed`; default: embed them now.
        ledger: says which entity each record belongs to; every record is an exemplar of its entity.
    """
    from linkage.ledger.naming import entities_known
    from linkage.search.index import build_index

    exemplars = Records.open(records)
    with _ledger(ledger, create=False) as book:
        if book:
            exemplars.frame["entity_id"] = entities_known(book, exemplars)
    with _embedded(exemplars, config, embeddings) as vectors:
        _note_failures(vectors, out.with_name(f"{out.name}.failures.csv"))
        return build_index(exemplars, vectors, out, config.index, config.seed).manifest


def link_queries(
    queries: Path,
    index: Path,
    out: Path,
    config: Config,
    *,
    model: str | None = None,
    embeddings: Path | None = None,
    ledger: Path | None = None,
) -> dict[str, Any]:
    """Link query records to the exemplars of an index and write the links table; returns counts.

    What is found lies in the folder `<out>.partial` until the table is there; an interrupted call goes on from it.

    Args:
        queries: records, CSV or Parquet; labelled ones (`entity_id`, `split`) fit scorer and threshold.
        index: folder of `linkage index`.
        out: links table, .csv (with a Parquet twin) or .parquet.
        config: `link` and `encode` sections.
        model: where the index's model is now, if it was moved; or a newer one that the index has a map for.
        embeddings: folder of `linkage embed`, of one of these models; default: embed the queries now.
        ledger: takes the queries in: into the entity of what they match, the others into entities that they form
            among themselves (`cluster` section). Then `<links>.members.csv` is written too: one row per query.
    """
    from linkage.link.link import link
    from linkage.search.index import Index
    from linkage.search.maps import load_map, mapped

    opened = Index.open(index)
    encode = config.encode.model_copy(
        update={"model": model or opened.manifest["model"], "image_weight": opened.image_weight}
    )
    config = config.model_copy(update={"encode": encode})
    records = Records.open(queries)
    encoder = None if embeddings else load_encoder(config)
    if encoder and encoder.sha256 != opened.manifest["model_sha256"]:  # said before hours of embedding, not after
        load_map(index, opened, encoder.sha256, encoder.dim, encode.model)
    work = _found_for(out)
    with _ledger(ledger) as book, _embedded(records, config, embeddings, encoder) as vectors:
        with mapped(vectors, opened, index, work) as seen:
            scorer = _asking_scorer(model, opened, vectors)
            result = link(records, seen, opened, config.link, scorer=scorer, work=work)
        failures = _note_failures(vectors, out.with_name(f"{out.stem}.failures.csv"))
        counts = result.save(out, index=index, queries=queries)
        named = _name_queries(book, records, vectors, opened, result.scorer, out, config) if book else {}
    shutil.rmtree(work)
    return {
        **counts,
        "threshold": result.threshold.value,
        "threshold_source": result.threshold.source,
        "set_aside": failures,
        **named,
    }


def link_queries_share(
    queries: Path,
    index: Path,
    out: Path,
    config: Config,
    share: Share,
    *,
    embeddings: Path,
    model: str | None = None,
) -> tuple[int, int]:
    """Search one share of the queries, for `link_queries` with the same arguments to find.

    Returns:
        How many queries are in the share, and how many there are.

    Raises:
        UsageError: this share, or the whole, is being worked on.
    """
    from linkage.link.link import link_share
    from linkage.locks import among
    from linkage.search.index import Index
    from linkage.search.maps import mapped

    opened, records, vectors = Index.open(index), Records.open(queries), _open_embeddings(embeddings)
    _check_embedded(records, vectors)
    work = _found_for(out)
    with among(out, str(share)), mapped(vectors, opened, index, work) as seen:
        scorer = _asking_scorer(model, opened, vectors)
        return link_share(records, seen, opened, config.link, share, work, scorer=scorer)


def _found_for(out: Path) -> Path:
    """The folder of what is found for a links table until that is there."""
    return out.with_name(f"{out.name}.partial")


def _asking_scorer(model: str | None, index: Index, queries: Embeddings) -> Scorer:
    """The scorer of the model that the queries are embedded with; where they are mapped, that is not the index's."""
    same = index.manifest["model_sha256"] == queries.manifest["model_sha256"]
    return model_scorer(model or str((index if same else queries).manifest["model"]))


def map_model(
    index: Path, records: Path, config: Config, *, queries: Path | None = None, sample: int = 2_000
) -> dict[str, Any]:
    """Fit a map of a newer model's queries into the space of an index, keep it in its folder; returns its figures.

    Args:
        index: folder of `linkage index`.
        records: its exemplars, or some of them, with their crops.
        config: `encode.model` is the newer model.
        queries: labelled records to measure the loss on; default: exemplars, where an entity has several.
        sample: exemplars that are embedded to fit the map, and queries to measure it.
    """
    from linkage.evaluate.maps import learn_map
    from linkage.search.index import Index

    asking = Records.open(queries) if queries else None
    fitted = learn_map(
        Index.open(index),
        Records.open(records),
        asking,
        config.encode,
        sample=sample,
        bootstrap=config.evaluate.bootstrap,
        seed=config.seed,
    )
    shown = {
        name: f"{v:.4f} (95 % {low:.4f} to {high:.4f}, n = {n})" for name, (v, low, high, n) in fitted.figures.items()
    }
    return {"sample": fitted.sample, **shown, "sentence": fitted.sentence, "out": str(fitted.save(index))}


def _name_queries(
    ledger: Ledger,
    queries: Records,
    embeddings: Embeddings,
    index: Index,
    scorer: Scorer,
    out: Path,
    config: Config,
) -> dict[str, Any]:
    """Take linked queries into the ledger and write their members table beside the links; returns counts."""
    from linkage.ledger.naming import name_queries
    from linkage.link.links import read_answers

    links = read_answers(out)
    matched = set(links.loc[links["decision"] == "match", "record_id"])
    rest = queries.take(np.flatnonzero(~queries.frame["record_id"].isin(matched)))
    clustered = clustered_by(scorer, rest, embeddings, config)
    named = name_queries(ledger, links, index.exemplars, clustered.members, queries)
    path = out.with_name(f"{out.stem}.members{out.suffix}")
    write_table(named.members, path, twin=path.suffix == ".csv")
    return named.counts


def cluster_records(
    records: Path, out: Path, config: Config, embeddings: Path | None = None, ledger: Path | None = None
) -> dict[str, Any]:
    """Group records into entities; writes members.csv, entities.csv, their twins and columns.md; returns counts.

    Beside members.csv, `members.csv.manifest.json` says what labels fitted of that which made it. Records with an
    `entity_id` end in that entity (see `cluster.labels`). With a ledger, an entity has the id of that which it shares
    most records with there, and the ledger takes it in.
    """
    from linkage.cluster import entities_table
    from linkage.cluster.members import save_made_by
    from linkage.ledger.naming import NamedMembers, name_clusters

    opened = Records.open(records)
    with _ledger(ledger) as book, _embedded(opened, config, embeddings) as vectors:
        scorer = model_scorer(str(vectors.manifest["model"]))
        result = clustered_by(scorer, opened, vectors, config)
        failures = _note_failures(vectors, out / "failures.csv")
        members = decided_by(result.scorer, result.members, opened, vectors, config)
        named = name_clusters(book, members, opened) if book else NamedMembers(members, {})
    tables = {"members": named.members, "entities": entities_table(named.members)}
    export(tables, out)
    save_made_by(out / "members.csv", result.counts(), result.fitted)
    return {
        "records": len(opened),
        "entities": len(tables["entities"]),
        "singletons": int((tables["entities"]["n_records"] == 1).sum()),
        **result.counts(),
        "max_distance": round(result.max_distance, 4),
        "set_aside": failures,
        **named.counts,
    }


def clustered_by(scorer: Scorer, records: Records, embeddings: Embeddings, config: Config) -> ClusterResult:
    """Cluster records as a configuration says; see `cluster.cluster`."""
    from linkage.cluster import cluster

    return cluster(
        records,
        embeddings,
        config.cluster,
        scorer=scorer,
        fields=config.link.fields,
        seed=config.seed,
        device=config.link.device,
    )


def decided_by(
    scorer: Scorer, members: pd.DataFrame, records: Records, embeddings: Embeddings, config: Config
) -> pd.DataFrame:
    """Let labels decide over the prediction as a configuration says; see `cluster.labels.decide_by_labels`."""
    from linkage.cluster import decide_by_labels

    pooled = config.cluster.distance == "pooled"
    return decide_by_labels(members, records.frame, embeddings, scorer, fields=config.link.fields, pooled=pooled)


def export_members(ledger: Path, out: Path, at: int | None = None) -> dict[str, Any]:
    """Write which entity every record of a ledger is in after run `at` (None: now); returns counts."""
    from linkage.ledger.ledger import Ledger

    with Ledger.open(ledger) as book:
        stays = book.members(at)
    table = pd.DataFrame(stays, columns=["record_id", "entity_id", "since_run", "until_run"]).drop(columns="until_run")
    write_table(table, out)
    return {"records": len(table), "entities": int(table["entity_id"].nunique())}


def export_crosswalk(ledger: Path, old_run: int, new_run: int, out: Path) -> dict[str, Any]:
    """Write what became of the entities of a ledger between two runs; returns rows by relation."""
    from linkage.ledger.crosswalk import crosswalk
    from linkage.ledger.ledger import Ledger

    with Ledger.open(ledger) as book:
        table = crosswalk(book, old_run, new_run)
    write_table(table, out)
    return {"rows": len(table)} | {str(name): int(n) for name, n in table.groupby("relation").size().items()}


def draw_records(out: Path, *, entities: int, views: int, seed: int, workers: int = 0) -> dict[str, Any]:
    """Draw `entities` x `views` labelled records as Parquet; returns counts.

    Raises:
        InputError: a count below 1, or `out` is not a .parquet file.
        DependencyError: no usable font is installed.
    """
    from linkage.synth.records import synth_records

    if out.suffix != ".parquet":
        raise InputError(f"{out}: drawn records hold their crops and are written as .parquet only")
    synth_records(out, entities=entities, views=views, seed=seed, workers=workers)
    return {"entities": entities, "records": entities * views, "seed": seed, "out": str(out)}


def export(tables: Mapping[str, pd.DataFrame | Path], folder: Path) -> None:
    """Write tables (Parquet files a part at a time) as CSV with Parquet twins, and the data dictionary beside them."""
    told: dict[str, tuple[list[str], int]] = {}
    for name, table in tables.items():
        with writing_table(folder / f"{name}.csv", twin=True) as write:
            rows = 0
            for part in table_parts(table) if isinstance(table, Path) else [table]:
                write(part)
                rows += len(part)
                told[name] = list(part.columns), rows
    write_dictionary(folder / "columns.md", told)


def model_scorer(model: str) -> Scorer:
    """The scorer that came with a model, or the default one."""
    from linkage.compare.scorer import DEFAULT_SCORER, Scorer
    from linkage.encode.folder import model_folder

    folder = model_folder(model)
    return Scorer.of_model(folder) if folder else DEFAULT_SCORER


def load_encoder(config: Config) -> BiEncoder:
    """The bi-encoder that a configuration names, with what makes two texts equal."""
    from linkage.encode.biencoder import BiEncoder

    return BiEncoder.load(config.encode.model, config.encode.device, config.folding)


def _ledger(path: Path | None, *, create: bool = True) -> AbstractContextManager[Ledger | None]:
    """The ledger, opened before any work, so that a wrong file costs no time; None where none is wanted."""
    from linkage.ledger.ledger import Ledger

    return Ledger.open(path, create=create) if path else nullcontext()


@contextmanager
def _embedded(
    records: Records, config: Config, folder: Path | None, encoder: BiEncoder | None = None
) -> Iterator[Embeddings]:
    """Embeddings of the records: those in `folder`, or made now (by `encoder`, if given) and gone after the block."""
    from linkage.encode.embed import embed_records

    if folder is not None:
        embeddings = _open_embeddings(folder)
        _check_embedded(records, embeddings)
        yield embeddings
        return
    with tempfile.TemporaryDirectory(prefix="linkage-") as temporary:
        yield embed_records(records, encoder or load_encoder(config), Path(temporary) / "embeddings", config.encode)


def _open_embeddings(folder: Path) -> Embeddings:
    from linkage.encode.embeddings import Embeddings

    if other := unwanted(folder, EMBEDDINGS):
        raise ArtefactError(other)
    return Embeddings.open(folder)


def _check_embedded(records: Records, embeddings: Embeddings) -> None:
    missing = ~records.frame["record_id"].isin(set(embeddings.record_ids))
    if missing.any():
        raise ArtefactError(
            f"{embeddings.folder}: {int(missing.sum())} records of {records.path} have no embedding; embed again"
        )


def _note_failures(embeddings: Embeddings, path: Path) -> int:
    """Keep the list of pictures that could not be read, if there are any; returns how many."""
    listed = embeddings.folder / "failures.csv"
    failures = read_table(listed) if listed.exists() else pd.DataFrame()
    if len(failures):
        write_table(failures, path)
    return len(failures)
