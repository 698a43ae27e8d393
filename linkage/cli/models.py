"""Commands of the bi-encoder: train, embed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from linkage.cli.app import (
    AsJson,
    ConfigFile,
    Engine,
    Model,
    Overwrite,
    RecordsFile,
    Settings,
    Shard,
    app,
    load,
)
from linkage.cli.claims import free
from linkage.console import print_shard, print_summary
from linkage.places import EMBEDDINGS, MODEL


@app.command()
def train(
    records: RecordsFile,
    out: Annotated[Path, typer.Option(help="Model folder to write; a cut-off call is continued.")],
    model: Model = None,
    config: ConfigFile = None,
    settings: Settings = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Train the bi-encoder on records: to read, where there is a transcription; crop against text; by entity_id.

    Example: linkage train records.parquet --out model/ --set train.align_epochs=5

    300 transcribed lines (a column `transcription`: what a person read), and no other stage: linkage train lines.csv
    --out model/ --set train.align_epochs=0 --set train.supervised_epochs=0

    On two processors: torchrun --standalone --nproc-per-node=2 -m linkage train records.parquet --out model/
    """
    from linkage.encode.train import train as train_model
    from linkage.records import Records

    loaded = load(config, settings, model)
    free(out, overwrite, MODEL)
    opened, folding = Records.open(records), loaded.folding
    summary = train_model(opened, out, loaded.train, loaded.encode, seed=loaded.seed, folding=folding)
    if summary:  # torchrun: the first process speaks for all
        print_summary(summary | {"out": str(out)}, as_json)


@app.command()
def embed(
    records: RecordsFile,
    out: Annotated[Path, typer.Option(help="Embeddings folder to write.")],
    model: Model = None,
    config: ConfigFile = None,
    settings: Settings = None,
    overwrite: Overwrite = False,
    engine: Engine = "local",
    shard: Shard = None,
    as_json: AsJson = False,
) -> None:
    """Embed the crops and texts of records; a call that was cut off is continued.

    Example: linkage embed records.parquet --model linkage-line --out embeddings/

    On 16 machines of a Slurm cluster, then joined: sbatch --array=1-16 --wrap 'linkage embed records.parquet --out
    embeddings/ --shard $SLURM_ARRAY_TASK_ID/16'; linkage embed records.parquet --out embeddings/
    """
    from linkage.encode.biencoder import BiEncoder
    from linkage.encode.embed import embed_records, embed_share
    from linkage.records import Records
    from linkage.workers.share import Share

    loaded = load(config, settings, model)
    section = loaded.encode
    share = Share.read(shard) if shard else None
    if share is None:
        free(out, overwrite, EMBEDDINGS)
    opened = Records.open(records)
    encoder = BiEncoder.load(section.model, section.device, loaded.folding)
    if share:
        done = embed_share(opened, encoder, out, section, share, engine=engine)
        print_shard(share, done, len(opened), "records embedded", as_json)
        return
    embeddings = embed_records(opened, encoder, out, section, engine=engine)
    print_summary(embeddings.manifest | {"out": str(out)}, as_json)
