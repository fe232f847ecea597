"""Training: the loop, its schedules, batches, checkpoints and history."""
