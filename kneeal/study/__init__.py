"""Studies: many runs that differ in a few settings, on this machine or on a cluster."""
