"""Engines that read text from pictures, behind one protocol."""
