"""The model of a run as one file, and its predictions for new knees."""
