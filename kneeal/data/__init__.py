"""From radiographs to batches."""
