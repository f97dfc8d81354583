"""The site of a build directory: a page for each experiment and its notebook, and an index of them all."""
