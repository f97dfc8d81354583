"""Evaluators, one a task, and the records and results that they write."""
