"""Deep active learning for grading knee osteoarthritis with few labels."""

__version__ = "0.1.0"
