"""What split attention does in a trained classifier: how its weights vary, and what accuracy loses without that."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from resnest_core.analyses import attention_maps, interventions
from resnest_core.analyses.attention_effects import ALL, NONE, QUANTILES, metrics
from resnest_core.analyses.attention_maps import PARTS, Means, Sums
from resnest_core.analyses.interventions import Weights
from resnest_core.data.base import balanced_order
from resnest_core.devices import autocast, choose_device, place
from resnest_core.errors import InputError
from resnest_core.evaluation.results import RECORDS, write_result
from resnest_core.experiments.finished import Finished, described, open_runs, precisions
from resnest_core.files import output_directory, replacing
from resnest_core.models.resnet import ResNet
from resnest_core.models.split_attention import SplitAttentionConv2d
from resnest_core.models.variants import CLASSIFIERS
from resnest_core.outputs import claims
from resnest_core.provenance import Stopwatch
from resnest_core.ranges import check_fields

MAPS, BLOCKS = "attention.parquet", "blocks.parquet"  # a row an image and block; a row a block
ROUNDING = 1e-3  # of the greatest logit: two classes so close may change places on another device or in another batch


@dataclass(frozen=True)
class Found:
    """Predictions (a row an image and change), variation of the weights (an image and block), their spread (a block).

    Columns: run, index, target, predicted, correct, intervention, stage; run, index, target, stage, block, entropy and
    the `PARTS`; run, stage, block and p5 to p95. A stage is "stage1" to "stage4" or "all"; a block is counted from 1
    in its stage, or "all".
    """

    records: pd.DataFrame
    maps: pd.DataFrame
    blocks: pd.DataFrame


@dataclass(frozen=True)
class Examination:
    """One run whose attention is looked at and changed, on its first `limit` test images in turns of classes (0: all).

    Raises InputError for a network without split attention, and for images among which no class is there twice.
    """

    run: Finished
    limit: int
    device: str
    seed: int

    def __post_init__(self) -> None:
        check_fields(self)
        if self.radix < 1:
            raise InputError(
                f"run '{self.run.name}' is of '{self.run.model_name}', which has no split attention (radix 0); give "
                "runs of networks of radix 1 or more"
            )
        if not self.halves.any():
            raise InputError(
                f"limit is {self.limit}: no class has two of the {len(self.halves)} images of run '{self.run.name}'; "
                f"valid: more than its {len(self.run.test_set.classes)} classes, or 0 for all images"
            )

    @property
    def radix(self) -> int:
        return CLASSIFIERS[self.run.model_name].radix

    @cached_property
    def indices(self) -> np.ndarray:
        """The images (N,): so that batches and halves have all classes, these take turns."""
        order = balanced_order(self.run.test_set.targets)
        return order[: self.limit or None]

    @cached_property
    def targets(self) -> np.ndarray:
        return self.run.test_set.targets[self.indices]

    @cached_property
    def halves(self) -> np.ndarray:
        """The half of the images that each (N,) belongs to, 0 or 1."""
        return attention_maps.halves_of(self.targets)

    @cached_property
    def where(self) -> torch.device:
        return choose_device(self.device)

    @cached_property
    def network(self) -> ResNet:
        return place(self.run.network, self.where)

    @cached_property
    def stages(self) -> dict[str, list[SplitAttentionConv2d]]:
        """The blocks of each stage."""
        found = map(interventions.blocks_of, interventions.stages_of(self.network))
        return {f"stage{number}": blocks for number, blocks in enumerate(found, start=1)}

    @property
    def blocks(self) -> list[SplitAttentionConv2d]:
        return [block for blocks in self.stages.values() for block in blocks]

    @cached_property
    def sums(self) -> dict[SplitAttentionConv2d, Sums]:
        """The weights of each block, summed up in a pass of the untouched network over all images."""
        sums = {block: Sums(len(self.run.test_set.classes)) for block in self.blocks}
        for chunk in self._chunks():
            with interventions.recorded(self.blocks) as weights:
                self._entering(chunk)
            for block in self.blocks:
                sums[block].add(weights[block], *self._of(chunk))
        return sums

    @cached_property
    def means(self) -> dict[SplitAttentionConv2d, Means]:
        return {block: sums.means() for block, sums in self.sums.items()}

    @cached_property
    def found(self) -> Found:
        """All tables, by a second pass, in which the weights of each batch are changed before the next is seen."""
        generator = torch.Generator().manual_seed(self.seed)
        # Made at once: what is kept from batch to batch in small pieces keeps the allocator from reusing large ones.
        predicted = {case: np.empty(len(self.indices), np.int64) for case in self._cases()}
        maps = np.empty((len(self.indices), len(self.blocks), 1 + len(PARTS)))
        for chunk in self._chunks():
            with interventions.recorded(self.blocks) as own:
                entering = self._entering(chunk)
            predicted[ALL, NONE][chunk] = self._untouched(chunk, self._logits(entering[-1], len(self.stages)))
            maps[chunk] = self._maps(chunk, own)
            for case, logits in self._changed(chunk, own, entering, interventions.donors(len(chunk), generator)):
                predicted[case][chunk] = _classes(logits)
        tables = (self._records(predicted), self._variation(maps), self._spread())
        return Found(*(table.assign(run=self.run.name) for table in tables))

    def _cases(self) -> list[tuple[str, str]]:
        """Stage and intervention of all predictions."""
        changes = interventions.changes_for(self.radix)
        return [(ALL, NONE), *((stage, change) for change in changes for stage in (ALL, *self.stages))]

    def _chunks(self) -> list[np.ndarray]:
        """Places in `indices`, in batches of the run's size or somewhat more, so that none is of one image."""
        n = len(self.indices)
        return np.array_split(np.arange(n), max(1, n // max(2, self.run.settings.protocol.batch_size)))

    def _of(self, chunk: np.ndarray) -> tuple[Tensor, Tensor]:
        """Targets and halves of some images."""
        return torch.from_numpy(self.targets[chunk]), torch.from_numpy(self.halves[chunk])

    @torch.inference_mode()
    def _entering(self, chunk: np.ndarray) -> list[Tensor]:
        images = torch.stack([self.run.input(self.run.test_set.load(int(i))) for i in self.indices[chunk]])
        with autocast(self.where, self.run.precision):
            return interventions.entering(self.network, images.to(self.where))

    @torch.inference_mode()
    def _logits(self, maps: Tensor, first: int) -> Tensor:
        with autocast(self.where, self.run.precision):
            return interventions.logits_from(self.network, maps, first)

    def _changed(
        self, chunk: np.ndarray, own: Weights, entering: list[Tensor], donors: Tensor
    ) -> Iterator[tuple[tuple[str, str], Tensor]]:
        """The logits after each change of the untouched network's `own` weights: in all blocks, or one stage's.

        What follows a changed stage computes its weights from what it then sees.
        """
        halves = self._of(chunk)[1]
        means = {block: self.means[block].over_others(halves).to(own[block]) for block in self.blocks}
        changes = interventions.changes_for(self.radix)
        first = {ALL: 0} | {stage: number for number, stage in enumerate(self.stages)}
        for stage, change in self._cases()[1:]:
            blocks = self.stages.get(stage, self.blocks)
            with interventions.given({b: changes[change](own[b], means[b], donors) for b in blocks}):
                yield (stage, change), self._logits(entering[first[stage]], first[stage])

    def _untouched(self, chunk: np.ndarray, logits: Tensor) -> np.ndarray:
        """The classes predicted without a change, which must be those of the run's records.

        A class may have changed places with one whose logit is the same but for rounding.
        """
        predicted, recorded = _classes(logits), self.run.records["predicted"].to_numpy()[self.indices[chunk]]
        behind = logits.max(dim=1).values - logits.gather(1, torch.tensor(recorded)[:, None])[:, 0]
        wrong = np.flatnonzero((predicted != recorded) & (behind > ROUNDING * logits.abs().max()).numpy())
        if wrong.size:
            image, now, then = (int(of[wrong[0]]) for of in (self.indices[chunk], predicted, recorded))
            raise InputError(
                f"run '{self.run.name}' predicts class {now} for image {image}, its records say {then}; they are not "
                "of these weights and images, run that experiment again"
            )
        return predicted

    def _maps(self, chunk: np.ndarray, own: Weights) -> np.ndarray:
        """Entropy and variation of the weights of some images (n, blocks, 4)."""
        targets, halves = self._of(chunk)
        columns = []
        for block in self.blocks:
            weights, means = own[block].cpu().double(), self.means[block]
            others, alike = means.over_others(halves), means.over_class(targets, halves)
            parts = attention_maps.variation(weights, others, alike)
            columns.append(torch.cat([attention_maps.entropy(weights)[:, None], parts], dim=1))
        return torch.stack(columns, dim=1).numpy()

    def _records(self, predicted: dict[tuple[str, str], np.ndarray]) -> pd.DataFrame:
        images = pd.DataFrame({"index": self.indices, "target": self.targets})
        tables = [
            images.assign(predicted=classes, correct=classes == self.targets, intervention=intervention, stage=stage)
            for (stage, intervention), classes in predicted.items()
        ]
        return pd.concat(tables).sort_values("index", kind="stable", ignore_index=True)

    def _variation(self, maps: np.ndarray) -> pd.DataFrame:
        images = pd.DataFrame({"index": self.indices, "target": self.targets})
        places = [(stage, number) for stage, blocks in self.stages.items() for number in range(1, len(blocks) + 1)]
        tables = [
            images.assign(stage=stage, block=number).join(pd.DataFrame(maps[:, i], columns=["entropy", *PARTS]))
            for i, (stage, number) in enumerate(places)
        ]
        return pd.concat(tables).sort_values("index", kind="stable", ignore_index=True)

    def _spread(self) -> pd.DataFrame:
        """Quantiles of the weights of each block, and of those of a stage together."""
        rows = []
        for stage, blocks in self.stages.items():
            counts = {str(number): self.sums[block].histogram for number, block in enumerate(blocks, start=1)}
            counts[ALL] = torch.stack(list(counts.values())).sum(dim=0)
            for name, histogram in counts.items():
                quantiles = {f"p{q}": attention_maps.quantile(histogram, q / 100) for q in QUANTILES}
                rows.append({"stage": stage, "block": name, **quantiles})
        return pd.DataFrame(rows)


def _classes(logits: Tensor) -> np.ndarray:
    """The first of the classes with the greatest logit, as in the records."""
    return logits.numpy().argmax(axis=1)


@claims("attention analysis")
def analyse_attention(
    directories: Sequence[str], out: str | Path, *, limit: int = 0, device: str = "auto", seed: int = 0
) -> dict[str, Any]:
    """Examine the attention of the classifiers in these directories; write records, tables and result into `out`.

    `seed` draws the image that each one takes its weights over from. Raises InputError for a network without split
    attention, and for one whose predictions are not those of its records.
    """
    watch, directory = Stopwatch(), output_directory(out)
    runs = open_runs(directories)
    examinations = [Examination(run, limit, device, seed) for run in runs]
    found = [examination.found for examination in examinations]
    tables = {
        RECORDS: pd.concat([part.records for part in found], ignore_index=True),
        MAPS: pd.concat([part.maps for part in found], ignore_index=True),
        BLOCKS: pd.concat([part.blocks for part in found], ignore_index=True),
    }
    scores = metrics(*tables.values())
    for name, table in tables.items():
        with replacing(directory / name) as temporary:
            table.to_parquet(temporary, index=False)
    parameters = described(
        runs,
        limit=limit,
        seed=seed,
        radix={e.run.name: e.radix for e in examinations},
        stages={e.run.name: list(e.stages) for e in examinations},
    )
    where = examinations[0].where
    provenance = watch.provenance(
        device=str(where), precision=precisions(runs, where), data_digest=runs[0].test_set.digest
    )
    return write_result(directory, scores, parameters, provenance)
