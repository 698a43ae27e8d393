"""Training data without labels: names, renders, paper and OCR degradation, drawn trade directories."""
