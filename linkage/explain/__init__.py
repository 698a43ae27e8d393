"""Why a record was linked, and what holds an entity together."""
