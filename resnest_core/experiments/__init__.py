"""Experiments, from settings to records: what the notebooks and the command line call, a file a task."""
