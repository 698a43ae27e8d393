"""Queries to exemplars: exact index, candidates, match probability, no-match."""
