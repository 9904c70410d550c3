"""Benchmarks: named cases, rivals and the report; see `python -m benchmarks.compare --help`."""
