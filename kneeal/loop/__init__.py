"""The active-learning loop, its oracle and its run folder. Knows no Lightning."""
