"""Queries, answers and models as files, and the picture of a knee."""
