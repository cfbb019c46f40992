"""THE place that turns a configuration into objects; below it, nobody sees a configuration."""
