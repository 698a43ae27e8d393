"""Records without exemplars to entities: kNN graph, HDBSCAN on its spanning tree, a distance cut."""

from linkage.cluster.entities import ClusterResult, cluster
from linkage.cluster.members import entities_table, merge_members

__all__ = ["ClusterResult", "cluster", "entities_table", "merge_members"]
