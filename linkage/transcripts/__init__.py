"""Transcripts: what others have read (ALTO, PAGE XML, hOCR) becomes words and regions, and records go out as these."""
