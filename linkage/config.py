"""One typed configuration, read from YAML and overridden with `--set a.b=c`; every key has a default that works."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ByteSize, Field, PositiveInt, ValidationError, field_validator, model_validator

from linkage.choices import OCR_ALONE, OCR_ENGINES, Constraint, IndexKind, RegionKind, Rotation, either
from linkage.configfile import Settings, problems_of
from linkage.errors import ConfigError
from linkage.places import remote
from linkage.sections import BY_CONTENT, BY_DECISION, BY_LIMIT, BY_THE_WAY, Section
from linkage.text import Folding

Device = Literal["auto", "cpu", "cuda"]
OWN_SCORES = ("text", "image", "cross", "string", "partial", "rarity")
"""What the scorer compares by itself: each has a column `<name>_score` of the links table."""


class IngestConfig(Section):
    """Scans to records."""

    regions: RegionKind = Field("lines", description="what becomes a record")
    header_lines: int = Field(0, ge=0, description="header: the first N lines; 0 = the first text block")
    boxes: Path | None = Field(
        None, description="boxes: CSV of source,page,x0,y0,x1,y1[,unit,text,...]", json_schema_extra=BY_CONTENT
    )
    tag: str = Field("", description="tagged: the blocks and lines that their transcript calls this")
    ocr: str = Field(
        "tesseract",
        description=f"{', '.join(OCR_ENGINES)}, both joined by +, {either(OCR_ALONE)}; "
        "file: ALTO, PAGE or hOCR beside each source",
    )
    languages: tuple[str, ...] = Field(("eng",), min_length=1, description="language codes as Tesseract has them")
    ocr_cache: Path | None = Field(
        None, description="folder that keeps readings from run to run", json_schema_extra=BY_THE_WAY
    )
    psm: int = Field(3, ge=3, le=13, description="Tesseract page segmentation mode for pages")
    dpi: int = Field(300, ge=50, le=1200, description="resolution at which PDF pages are rendered")
    max_megapixels: float = Field(
        200.0, gt=0, description="larger pages are set aside unread", json_schema_extra=BY_LIMIT
    )
    rotate: Rotation = Field(0, description="degrees, clockwise, by which pages are turned")
    deskew: bool = Field(False, description="take off the tilt of a page's lines, up to 15 degrees")
    frame: bool = Field(False, description="crop pages to the sheet and to what is on it")
    contrast: bool = Field(False, description="even out the light of a page and stretch its contrast")
    rescans: bool = Field(False, description="find sheets that were scanned twice, not only equal files and pixels")
    padding: int = Field(4, ge=0, le=200, description="pixels of margin around a region's crop")
    workers: int = Field(
        0, ge=0, description="worker processes, of one thread each; 0 = one per core", json_schema_extra=BY_THE_WAY
    )
    recycle: int = Field(
        200, ge=1, description="pages after which a worker process is replaced", json_schema_extra=BY_THE_WAY
    )
    page_seconds: float = Field(
        120.0, gt=0, description="time limit for one page, decoding and rendering included", json_schema_extra=BY_LIMIT
    )
    page_memory: ByteSize = Field(
        ByteSize(4 * 10**9),
        ge=10**8,
        description="memory that one page may take in its worker process, e.g. 4G",
        json_schema_extra=BY_LIMIT,
    )
    max_failures: float = Field(
        0.1,
        ge=0,
        le=1,
        description="share of pages set aside from which the run fails, e.g. 0.01 or 1%",
        json_schema_extra=BY_THE_WAY,
    )

    @field_validator("boxes", "ocr_cache")
    @classmethod
    def _on_this_machine(cls, path: Path | None) -> Path | None:
        if path and (away := remote(path)):
            raise ValueError(away)
        return path

    @field_validator("max_failures", mode="before")
    @classmethod
    def _percent(cls, value: Any) -> Any:
        """1% is 0.01."""
        if isinstance(value, str) and value.strip().endswith("%"):
            with suppress(ValueError):
                return float(value.strip()[:-1]) / 100
        return value

    @property
    def vertical(self) -> bool:
        """Whether text may run from top to bottom."""
        return self.psm == 5 or any(language.endswith("_vert") for language in self.languages)

    @field_validator("rotate", mode="before")
    @classmethod
    def _degrees(cls, value: Any) -> Any:
        """On the command line, degrees are text."""
        return int(value) if isinstance(value, str) and value.isdecimal() else value

    @field_validator("ocr", mode="before")
    @classmethod
    def _engines(cls, value: Any) -> Any:
        """Take a list as well, and refuse engines that are not there."""
        names = list(map(str, value)) if isinstance(value, (list, tuple)) else str(value).split("+")
        allowed = {*OCR_ENGINES, *OCR_ALONE} if len(names) == 1 else set(OCR_ENGINES)
        if not names or len(set(names)) < len(names) or not set(names) <= allowed:
            raise ValueError(f"must be {', '.join(OCR_ENGINES)}, both joined by +, or {either(OCR_ALONE)}")
        return "+".join(names)

    @model_validator(mode="after")
    def _boxes_need_a_file(self) -> IngestConfig:
        if (self.regions == "boxes") != (self.boxes is not None):
            raise ValueError("`regions: boxes` and `boxes: FILE.csv` go together")
        return self

    @model_validator(mode="after")
    def _tags_are_in_files(self) -> IngestConfig:
        if (self.regions == "tagged") != bool(self.tag) or (self.tag and self.ocr != "file"):
            raise ValueError("`regions: tagged`, `tag: NAME` and `ocr: file` go together")
        return self


class TextConfig(Section):
    """What counts as one text, for our own comparisons and the baselines' alike."""

    width: bool = Field(True, description="full and half width, ligatures and the like are one (NFKC)")
    case: bool = Field(True, description="capital and small letters are one")
    kanji: bool = Field(True, description="old and new forms of Japanese characters are one")


class EncodeConfig(Section):
    """The bi-encoder in use."""

    model: str = Field(
        "linkage-line",
        description="shipped model, folder, or open_clip ARCHITECTURE[:CHECKPOINT]",
        json_schema_extra=BY_CONTENT,
    )
    image_weight: float = Field(0.5, ge=0, le=1, description="w in z = normalise(w image + (1-w) text)")
    reading: bool = Field(True, description="use the model's own reading of a crop beside the given text")
    batch_size: int = Field(
        32, ge=1, description="lines of usual width, or photographs, embedded at a time; on a GPU 16 times as many"
    )
    threads: int = Field(
        0, ge=0, description="threads that embed on a CPU; 0 = one per core", json_schema_extra=BY_THE_WAY
    )
    device: Device = "auto"

    @field_validator("model")
    @classmethod
    def _on_this_machine(cls, name: str) -> str:
        if away := remote(name):
            raise ValueError(away)
        return name


class TrainConfig(Section):
    """Fine-tuning on the records at hand: alignment first, then, with labels, SupCon."""

    enabled: bool = Field(False, description="train on the ingested records before embedding")
    read_epochs: int = Field(6, ge=0, description="epochs in which the recogniser learns from `transcription`")
    read_lr: float = Field(5e-4, gt=0, description="peak learning rate of reading")
    read_batch: int = Field(24, ge=1, description="lines that a step of reading sees")
    align_epochs: int = Field(3, ge=0, description="epochs of alignment, on crop-text pairs")
    supervised_epochs: int = Field(5, ge=0, description="epochs of SupCon, on labelled records")
    batch_size: int = Field(128, ge=4, description="rows that a loss sees; over all processes under torchrun")
    chunk: int = Field(0, ge=0, description="rows in memory at a time (gradient caching); 0 = the whole batch")
    align_loss: Literal["infonce", "siglip"] = Field("infonce", description="loss of alignment")
    per_class: int = Field(2, ge=2, description="m: records drawn per entity in a SupCon batch")
    hard_negatives: int = Field(3, ge=0, description="k: nearest other entities put beside an anchor")
    duplicate_cosine: float = Field(0.98, ge=-1, le=1, description="as near, and a text shared: no hard negatives")
    temperature: float = Field(0.07, gt=0, le=1, description="SupCon temperature")
    margin: float = Field(0.0, ge=0, lt=1, description="SupCon: taken off the cosines of positives")
    nested: tuple[PositiveInt, ...] = Field((), description="leading dimensions that shall work alone, e.g. [32, 64]")
    modality_dropout: float = Field(0.0, ge=0, le=1, description="SupCon: chance that crop or text is hidden")
    align_lr: float = Field(3e-4, gt=0, description="peak learning rate of alignment")
    supervised_lr: float = Field(1e-4, gt=0, description="peak learning rate of SupCon")
    trunk_rate: float | None = Field(
        None, ge=0, description="recogniser or timm trunk: share of the rate, 0 = frozen; default 0 for lines, else 1"
    )
    weight_decay: float = Field(0.05, ge=0)
    warmup: float = Field(0.05, ge=0, lt=1, description="share of steps with rising learning rate")
    patience: int = Field(3, ge=0, description="epochs without a better val hit@1 that end a stage; 0 = never")
    checkpoint_steps: int = Field(100, ge=1, description="steps between checkpoints", json_schema_extra=BY_THE_WAY)
    bf16: Literal["auto", "on", "off"] = Field("auto", description="16-bit arithmetic; auto: where it is fast")
    tensorboard: bool = Field(False, description="log for TensorBoard too", json_schema_extra=BY_THE_WAY)

    @field_validator("bf16", mode="before")
    @classmethod
    def _on_and_off(cls, value: Any) -> Any:
        """YAML reads a bare on or off as true or false."""
        return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


class IndexConfig(Section):
    """How exemplars are searched."""

    kind: IndexKind = Field(
        "auto",
        description="how they are searched; auto: exactly up to 100,000, then the fastest with the recall that fits",
    )
    memory: ByteSize | None = Field(
        None, description="memory that searching it may take, e.g. 8G; default: half of what is free"
    )
    recall: float = Field(
        0.99, gt=0, le=1, description="least share of nearest exemplars that auto must find, on a sample"
    )


class LinkConfig(Section):
    """Queries to exemplars."""

    exemplars: str | None = Field(None, description="glob on `source`: these records form the index")
    k: int = Field(5, ge=1, description="candidates reported per query")
    neighbours: int = Field(50, ge=1, description="nearest exemplars scored per modality and query")
    rescored: int = Field(20, ge=1, description="likeliest of them whose wording is compared with the lattices")
    blocking: tuple[str, ...] = Field((), description="columns in which query and exemplar must agree")
    exclude: Literal["none", "page", "source"] = Field("none", description="never link within one page or source")
    fields: dict[str, Literal["text", "number", "date", "exact"]] = Field(
        {}, description="further columns that the scorer compares, each with its type"
    )
    constraint: Constraint = Field(
        "many-to-one", description="how many queries an entity may take", json_schema_extra=BY_DECISION
    )
    threshold: float | None = Field(
        None, ge=0, le=1, description="match probability at or above: a match", json_schema_extra=BY_DECISION
    )
    review_threshold: float | None = Field(
        None, ge=0, le=1, description="at or above, and no match: review", json_schema_extra=BY_DECISION
    )
    aim: Literal["accuracy", "f1", "false-links"] = Field(
        "accuracy", description="what a fitted threshold is best at", json_schema_extra=BY_DECISION
    )
    max_false_links: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="highest share of links not true; makes the aim false-links, whose default is 0.01",
        json_schema_extra=BY_DECISION,
    )
    risk: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="aim false-links: chance that the share is higher all the same",
        json_schema_extra=BY_DECISION,
    )
    coverage: float | None = Field(
        None, gt=0, lt=1, description="list a set of entities that holds the true one", json_schema_extra=BY_DECISION
    )
    device: Device = "auto"

    @field_validator("fields")
    @classmethod
    def _no_two_scores_of_one_name(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """A field's column of the links table is its name with _score behind it."""
        for name in [name for name in fields if name in OWN_SCORES]:
            remedy = "the scorer compares it anyway: leave it out" if name == "text" else "rename the column"
            raise ValueError(
                f"field {name!r} would be {name}_score in the links table, which has one already; {remedy}"
            )
        return fields

    @model_validator(mode="before")
    @classmethod
    def _bound_and_aim(cls, values: Any) -> Any:
        """Let each of the aim false-links and its bound bring the other."""
        if not isinstance(values, dict):
            return values
        if values.get("aim") == "false-links" and values.get("max_false_links") is None:
            return values | {"max_false_links": 0.01}
        if "aim" not in values and values.get("max_false_links") is not None:
            return values | {"aim": "false-links"}
        return values

    @model_validator(mode="after")
    def _one_way_to_a_threshold(self) -> LinkConfig:
        if self.max_false_links is not None and self.aim != "false-links":
            raise ValueError(f"`max_false_links` is not for `aim: {self.aim}`; leave one of them out")
        if self.max_false_links is not None and self.threshold is not None:
            raise ValueError("`threshold` and a bound on false links exclude each other; give one of them")
        return self


class ClusterConfig(Section):
    """Records without exemplars to entities."""

    method: Literal["hdbscan", "average", "components"] = Field(
        "hdbscan", description="on the kNN graph: HDBSCAN and the cut, average linkage, or connected components"
    )
    distance: Literal["fused", "pooled"] = Field(
        "fused",
        description="what the graph's pairs are weighed by: the scorer, or the pooled cosine alone (much faster)",
    )
    graph: Literal["auto", "exact", "ivf", "hnsw"] = Field(
        "auto", description="how neighbours are searched; auto: exactly up to 50,000 distinct records"
    )
    neighbours: int = Field(32, ge=1, description="k of the kNN graph")
    min_cluster_size: int = Field(2, ge=2)
    min_samples: int = Field(1, ge=1)
    max_distance: float | None = Field(None, ge=0, description="cut; default: fitted on labels, else stated")


class EvaluateConfig(Section):
    """Figures against a truth table."""

    recall_at: tuple[int, ...] = (1, 5, 10)
    bootstrap: int = Field(1000, ge=100, description="resamples for the 95 % intervals of what is no share")
    iou: float = Field(0.5, gt=0, le=1, description="overlap from which a region covers a truth box")


class ReportConfig(Section):
    """What the report shows."""

    entities: int = Field(8, ge=1, le=100, description="entities pictured in each part")
    crops: int = Field(8, ge=1, le=100, description="crops pictured per entity")


class Config(Section):
    """Everything a run depends on. Written back, resolved, as `config.yaml` of the run."""

    seed: int = Field(0, ge=0)
    ingest: IngestConfig = IngestConfig()
    text: TextConfig = TextConfig()
    encode: EncodeConfig = EncodeConfig()
    train: TrainConfig = TrainConfig()
    index: IndexConfig = IndexConfig()
    link: LinkConfig = LinkConfig()
    cluster: ClusterConfig = ClusterConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    report: ReportConfig = ReportConfig()

    @property
    def folding(self) -> Folding:
        """What makes two texts equal: the section `text`."""
        return Folding(**self.text.model_dump())


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """Read `path` (None: all defaults) and apply overrides like `ingest.dpi=200`.

    Relative paths inside the file are taken from the file's own folder.

    Raises:
        ConfigError: unreadable or invalid; every problem is named, with where the value came from.
    """
    settings = Settings.read(path, overrides)
    try:
        config = Config.model_validate(settings.values)
    except ValidationError as error:
        raise ConfigError(problems_of(error, Config, settings.origin)) from None
    if path:
        named = {"boxes": config.ingest.boxes, "ocr_cache": config.ingest.ocr_cache}
        beside = {key: path.parent / name for key, name in named.items() if name and not name.is_absolute()}
        config = config.model_copy(update={"ingest": config.ingest.model_copy(update=beside)})
    return config


def update(section: Section, **changes: Any) -> Any:
    """Return `section` with the changes that are not None, validated again.

    Raises:
        ConfigError: a changed value is invalid.
    """
    values = section.model_dump() | {key: value for key, value in changes.items() if value is not None}
    try:
        return type(section).model_validate(values)
    except ValidationError as error:
        raise ConfigError(problems_of(error, type(section), lambda keys: "options")) from None


def dump_config(config: Config) -> str:
    """The configuration as YAML that `load_config` reads back to an equal one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
