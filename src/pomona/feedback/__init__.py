"""What users say of predictions, and what can be learned from it."""
