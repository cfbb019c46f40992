"""Our strategies in the loops of other active-learning libraries, one file per library, imported when called."""
