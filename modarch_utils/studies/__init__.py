"""What one chapter alone does: its settings, one run of it, and the slice that it repeats live."""
