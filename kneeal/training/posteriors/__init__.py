"""Approximate posteriors other than Monte-Carlo dropout: runners around a runner, all giving [N, K, C]."""
