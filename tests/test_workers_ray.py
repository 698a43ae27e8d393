"""Two Ray nodes on this machine, of which one is killed at work: the table is that of a local run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crashing import go_wrong, refuse
from drawn import speckled
from pydantic import ByteSize

from linkage.config import load_config
from linkage.errors import DependencyError
from linkage.link import slices
from linkage.run import run
from linkage.workers.pool import LostItem, WorkLimits

pytest.importorskip("ray", reason="Ray is not installed")

from linkage.workers.ray import RayWorkers

pytestmark = pytest.mark.slow
LIMITS = WorkLimits(seconds=8, memory=ByteSize(200_000_000), recycle=1000)
SETTINGS = ("ingest.regions=page", "ingest.ocr=none", "link.exemplars='old/*'", "encode.device=cpu", "link.device=cpu")
RESULTS = [f"export/{name}.csv" for name in ("links", "members", "entities")]
RESULTS += ["failures.csv", "ingest/records.parquet", "embed/image.npy", "embed/text.npy", "embed/records.parquet"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        here = Path(__file__).parent
        patch.setenv("PYTHONPATH", os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")]))
        import ray
        from ray.cluster_utils import Cluster

        node = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
        cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
        cluster.add_node(**node)
        patch.setenv("RAY_ADDRESS", cluster.address)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
        yield cluster
        ray.shutdown()
        cluster.shutdown()


def test_what_goes_wrong_is_told_as_by_a_local_worker(cluster: Any, tmp_path: Path) -> None:
    with RayWorkers(tmp_path, LIMITS, ["crashing"]) as workers:
        assert dict(workers.run(go_wrong, [2, 3])) == {
            2: 4,
            3: LostItem("its reader crashed on it (SIGSEGV)", died=True),
        }
        with pytest.raises(ValueError, match="no 1"):
            list(workers.run(refuse, [1]))
        (tmp_path / "seen-by-all").unlink()
        with pytest.raises(DependencyError, match="does not see"):
            list(workers.run(go_wrong, [1]))


def test_the_tables_are_those_of_a_local_run_though_a_node_is_killed(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(24):
        folder = tmp_path / "scans" / ("old" if number < 8 else "new")
        folder.mkdir(parents=True, exist_ok=True)
        speckled(number % 8).save(folder / f"p{number:02}.png")
    (tmp_path / "scans" / "cut.png").write_bytes((tmp_path / "scans" / "old" / "p00.png").read_bytes()[:300])
    monkeypatch.setattr(slices, "SLICE", 4)
    config = load_config(None, SETTINGS)
    run(config, [tmp_path / "scans"], tmp_path / "local")

    passes: list[str] = []
    do = RayWorkers.run

    def watched(self: RayWorkers, work: Any, items: Any, *more: Any) -> Iterator[Any]:
        """Kill a node while pages are read."""
        passes.append(getattr(work, "func", work).__name__)
        for done, answer in enumerate(do(self, work, items, *more)):
            if passes[-1] == "make_part" and done == 4:
                cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
            yield answer

    monkeypatch.setattr(RayWorkers, "run", watched)
    run(config, [tmp_path / "scans"], tmp_path / "ray", engine="ray")
    assert not cluster.worker_nodes, "it is gone"
    assert passes == ["_survey", "make_part", "embed_shard", "find"]
    for name in RESULTS:
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "local" / name).read_bytes(), name
