"""Configuration: defaults that work, typos refused, every problem reported at once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage.config import Config, LinkConfig, dump_config, load_config, update
from linkage.errors import ConfigError

SHIPPED = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_configuration_is_valid(path: Path) -> None:
    load_config(path)


def test_a_resolved_configuration_reads_back_equal(tmp_path: Path) -> None:
    config = load_config(None, ["link.exemplars='1898/*'", "train.align_lr=1e-5", "ingest.languages=[jpn, eng]"])
    assert config.train.align_lr == 1e-5
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config))
    assert load_config(path) == config


def test_on_and_off_need_no_quotes() -> None:
    assert load_config(None, ["train.bf16=off"]).train.bf16 == "off"
    assert load_config(None, ["train.bf16=on"]).train.bf16 == "on"


def test_all_problems_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("ingest: {dpii: 300, psm: 99}\nlinks: {}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    for part in (str(path), "ingest.dpii", "ingest.psm", "links"):
        assert part in str(caught.value)
    assert caught.value.exit_code == 3


def test_boxes_are_taken_from_the_folder_of_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("ingest: {regions: boxes, boxes: mine.csv}")
    assert load_config(path).ingest.boxes == tmp_path / "mine.csv"
    with pytest.raises(ConfigError, match="go together"):
        load_config(None, ["ingest.regions=boxes"])


def test_a_bound_on_false_links_and_its_aim_bring_each_other(tmp_path: Path) -> None:
    bounded = load_config(None, ["link.max_false_links=0.02"]).link
    assert (bounded.aim, bounded.max_false_links) == ("false-links", 0.02)
    aimed = load_config(None, ["link.aim=false-links"]).link
    assert (aimed.aim, aimed.max_false_links) == ("false-links", 0.01)
    by_option = update(LinkConfig(aim="f1"), aim="false-links", max_false_links=0.05, k=3)
    assert (by_option.aim, by_option.max_false_links, by_option.k) == ("false-links", 0.05, 3)
    assert update(by_option, k=5).max_false_links == 0.05
    assert update(LinkConfig(), k=5).aim == "accuracy"
    path = tmp_path / "c.yaml"
    for link in (LinkConfig(), aimed, bounded):
        path.write_text(dump_config(Config(link=link)))
        assert load_config(path).link == link


@pytest.mark.parametrize(
    "overrides",
    [
        ["link.aim=accuracy", "link.max_false_links=0.1"],
        ["link.aim=f1", "link.max_false_links=0.1"],
        ["link.threshold=0.5", "link.aim=false-links"],
        ["link.threshold=0.5", "link.max_false_links=0.1"],
    ],
)
def test_two_ways_to_a_threshold_are_refused(overrides: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"link: .*(give one of them|leave one of them out)"):
        load_config(None, overrides)
    with pytest.raises(ConfigError, match="give one of them"):
        update(LinkConfig(threshold=0.5), aim="false-links", max_false_links=0.1)


@pytest.mark.parametrize("override", ["", "seed", "=1", "seed.deeper=1", "ingest=[", "seed=-1"])
def test_a_bad_override_is_refused(override: str) -> None:
    with pytest.raises(ConfigError):
        load_config(None, ["seed=0", override])


@given(st.text(max_size=40))
def test_no_yaml_text_gets_past_as_anything_but_a_config_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("yaml") / "c.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        assert isinstance(load_config(path), Config)
    except ConfigError as error:
        assert "\n" not in str(error)


NEAREST = [
    ("ingest.region=lines", "ingest.region", "ingest.regions"),
    ("ingest.dpii=300", "ingest.dpii", "ingest.dpi"),
    ("links.k=3", "links", "link"),
    ("dpi=300", "dpi", "ingest.dpi"),
    ("ingest.blocking=[county]", "ingest.blocking", "link.blocking"),
    ("sed=1", "sed", "seed"),
]


@pytest.mark.parametrize(("override", "unknown", "near"), NEAREST)
def test_an_unknown_key_brings_the_nearest_one_and_where_it_came_from(
    tmp_path: Path, override: str, unknown: str, near: str
) -> None:
    key, _, value = override.partition("=")
    *parents, last = key.split(".")
    path = tmp_path / "given.yaml"
    path.write_text(f"{parents[0]}: {{{last}: {value}}}\n" if parents else f"{last}: {value}\n")
    with pytest.raises(ConfigError) as in_file:
        load_config(path)
    assert str(in_file.value) == f"{path}: {unknown}: there is no such key; did you mean {near}?"
    path.write_text("seed: 1\n")
    with pytest.raises(ConfigError) as on_line:
        load_config(path, [override])
    assert str(on_line.value) == f"--set {override}: {unknown}: there is no such key; did you mean {near}?"


def test_problems_of_a_file_and_of_options_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "given.yaml"
    path.write_text("ingest: {dpii: 300, psm: 99}\nzzz: 1\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, ["ingest.regions=line", "link.k=0"])
    in_file, _, of_regions = str(caught.value).partition("; --set ingest.regions=line: ")
    of_regions, _, of_k = of_regions.partition("; --set link.k=0: ")
    assert in_file.startswith(f"{path}: ") and in_file.count(str(path)) == 1
    for part in ("ingest.dpii: there is no such key; did you mean ingest.dpi?", "ingest.psm: ", "not '99'", "zzz: "):
        assert part in in_file
    assert "not 'line'; did you mean lines?" in of_regions
    assert "link.k: " in of_k and "not '0'" in of_k


def test_options_of_a_command_are_named_as_such() -> None:
    with pytest.raises(ConfigError, match=r"^options: constraint: .*, not 'one-per-pag'; did you mean one-per-page\?$"):
        update(LinkConfig(), constraint="one-per-pag")


def test_a_number_beyond_all_printing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "given.yaml"
    path.write_text(f"link: {{k: 0x{'f' * 9000}, constraint: 0x{'f' * 9000}}}\n")
    with pytest.raises(ConfigError, match=r"link\.constraint: "):
        load_config(path)


def test_a_damaged_file_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "given.yaml"
    path.write_text("".join(f"{'ab' * 400}{number}: 1\n" for number in range(2000)))
    started = time.monotonic()
    with pytest.raises(ConfigError, match=r"and 1980 more$"):
        load_config(path)
    assert time.monotonic() - started < 10
