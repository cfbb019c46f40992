"""The one place that turns a configuration into objects; no configuration travels below it."""
