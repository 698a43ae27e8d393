"""What `scripts/fuzz.py` is made of: valid files, ways to damage them, the readers, and the watch over them."""
