"""The model of a run as one file, and what it says of new radiographs."""
