"""From a prepared data set to splits, random views and batches."""
