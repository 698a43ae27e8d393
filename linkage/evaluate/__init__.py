"""Figures against a truth table: metrics with intervals, string baselines, quality of regions and readings."""
