"""Looking at finished experiments by hand, in JupyterLab: `explore()` shows panels of widgets, a module a tab."""

from resnest_core.explore.application import explore

__all__ = ["explore"]
