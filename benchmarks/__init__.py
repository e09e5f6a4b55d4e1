"""Measurements of this package, each a module with `rows()`; `make bench` runs all."""
