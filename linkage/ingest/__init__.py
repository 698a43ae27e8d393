"""Scans to records: pages are found and decoded, read by an OCR engine, cut into regions and written as a table."""
