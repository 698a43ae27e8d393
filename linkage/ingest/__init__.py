"""Scans to records: pages are read in worker processes, cut into regions and written as one table."""
