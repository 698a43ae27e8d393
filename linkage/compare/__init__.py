"""Two records side by side: readings, likelihoods, fields; the scorer and its fit."""
