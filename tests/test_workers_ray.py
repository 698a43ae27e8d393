"""Two Ray nodes on this machine, of which one is killed at work: the table is that of a local run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crashing import go_wrong, raylet, refuse
from drawn import speckled
from pydantic import ByteSize

from linkage.config import IngestConfig
from linkage.errors import DependencyError
from linkage.ingest.ingest import ingest
from linkage.workers.pool import Limits, Lost

pytest.importorskip("ray", reason="Ray is not installed: pip install 'linkage[ray]'")

from linkage.workers.ray import RayWorkers

pytestmark = pytest.mark.slow
LIMITS = Limits(seconds=8, memory=ByteSize(200_000_000), recycle=1000)
WHOLE_PAGES = IngestConfig(regions="page", ocr="none", workers=1, padding=0, max_failures=1)


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
        assert dict(workers.run(go_wrong, [2, 3])) == {2: 4, 3: Lost("its reader crashed on it (SIGSEGV)", died=True)}
        with pytest.raises(ValueError, match="no 1"):
            list(workers.run(refuse, [1]))
        (tmp_path / "seen-by-all").unlink()
        with pytest.raises(DependencyError, match="does not see"):
            list(workers.run(go_wrong, [1]))


def test_the_table_is_that_of_a_local_run_though_a_node_is_killed(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scans").mkdir()
    for number in range(40):
        speckled(number).save(tmp_path / "scans" / f"p{number:02}.png")
    (tmp_path / "scans" / "cut.png").write_bytes((tmp_path / "scans" / "p00.png").read_bytes()[:300])
    ingest([tmp_path / "scans"], tmp_path / "local" / "records.parquet", WHOLE_PAGES)

    nodes: set[str] = set()
    run = RayWorkers.run

    def watched(self: RayWorkers, work: Any, items: Any, *more: Any) -> Iterator[Any]:
        """Kill a node as soon as both have given results, with items still at work."""
        if not nodes:
            for _, node in run(self, raylet, range(40)):
                nodes.add(node)
                if len(nodes) == 2 and len(cluster.worker_nodes):
                    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        yield from run(self, work, items, *more)

    monkeypatch.setattr(RayWorkers, "run", watched)
    ingest([tmp_path / "scans"], tmp_path / "ray" / "records.parquet", WHOLE_PAGES, engine="ray")
    assert len(nodes) == 2 and not cluster.worker_nodes
    names = sorted(path.name for path in (tmp_path / "local").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "ray").iterdir())
    for name in names:
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()
