"""What all tests share: one thread, so that numbers do not depend on the cores; the longest files first."""

import pytest
import torch

# Files of several minutes. Tests run side by side end soonest if none of these begins when the others are done.
LONGEST = (
    "test_smoke_profile.py",
    "test_paper_profile.py",
    "test_article_build.py",
    "test_detection_training.py",
    "test_rcnn_golden.py",
    "test_views.py",
    "test_claims.py",
    "test_slurm.py",
)

torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))
