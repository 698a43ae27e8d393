"""Queries to exemplars: candidates, match probability, match or no match."""
