"""Weights from knees without grades, by the methods and losses of lightly."""
