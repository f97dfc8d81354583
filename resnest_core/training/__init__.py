"""Training: a loop that can be interrupted (`loop`), and what each task does in it."""
