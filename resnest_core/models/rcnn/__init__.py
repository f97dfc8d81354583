"""Faster, Cascade and Mask R-CNN and panoptic FPN on the one trunk, as detectron2 computes them.

Parameter names below the trunk are detectron2's, so that the authors' files load with few keys renamed.
"""
