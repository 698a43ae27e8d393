"""Entities that keep their ids from run to run, in one SQLite file."""
