"""Statistics of learning curves and of paired comparisons. Needs numpy and nothing else of this package."""
