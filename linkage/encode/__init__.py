"""The bi-encoder: one tower for the picture of a record, one for its text, trained to agree."""
