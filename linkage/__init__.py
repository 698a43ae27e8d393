"""Link the records that scanned documents hold to the entities they name."""

__version__ = "0.1.0"
