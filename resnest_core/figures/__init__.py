"""Figures of one kind of result each, for notebooks and the article; `plots` has their style and those of scores."""
