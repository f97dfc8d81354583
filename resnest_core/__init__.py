"""ResNet meets Split-Attention: the tested core of a replication, ablation and analysis of ResNeSt."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resnest_core.models import create_model, list_models, load_weights

__version__ = "0.1.0"
__all__ = ["create_model", "list_models", "load_weights"]


def __getattr__(name: str) -> Any:
    """Import the models on first use: `run_all.sh` and the article do without torch."""
    if name not in __all__:
        raise AttributeError(f"module 'resnest_core' has no attribute '{name}'")
    from resnest_core import models

    return getattr(models, name)
