"""From an archive of radiographs and its tables to a prepared data set."""
