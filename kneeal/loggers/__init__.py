"""What listens to a run: the console and Weights & Biases."""
