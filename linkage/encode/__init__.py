"""The bi-encoder: one tower for the picture of a record, one for its text, trained to agree."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # open_clip and timm would ask a hub; nothing is ever fetched when a job runs
