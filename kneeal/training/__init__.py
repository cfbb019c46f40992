"""Training and prediction on PyTorch Lightning: everything that knows Lightning, and the posteriors around it."""
