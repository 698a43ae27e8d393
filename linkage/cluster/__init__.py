"""Records without exemplars to entities: kNN graph, HDBSCAN on its spanning tree, a distance cut."""

from linkage.cluster.entities import ClusterResult, cluster
from linkage.cluster.labels import decide_by_labels
from linkage.cluster.members import entities_table, merge_members
from linkage.cluster.vectors import VectorClusters, cluster_vectors

__all__ = [
    "ClusterResult",
    "VectorClusters",
    "cluster",
    "cluster_vectors",
    "decide_by_labels",
    "entities_table",
    "merge_members",
]
