"""Training and evaluation of the localizer: development tools, not something that a user runs."""
