"""Scans: files are found, their pages counted and decoded, whatever they are made of."""
