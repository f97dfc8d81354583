"""What is asked of experiments that have run, beyond their scores; a file an analysis."""
