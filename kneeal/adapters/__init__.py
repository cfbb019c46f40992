"""Our strategies in the loops of other active-learning libraries, one file a library; each imports it when called."""
