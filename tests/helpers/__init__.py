"""What several test modules need: cohorts, fake runs, commands, files."""
