"""FAISS: exact and approximate search, the neighbour graph, the exemplar index on disk."""
