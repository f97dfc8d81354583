"""What report/claims.yaml may hold."""

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from resnest_core.article.published import REPORT, SOURCES
from resnest_core.errors import InputError, unknown

CLAIMS = REPORT / "claims.yaml"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Figure(_Strict):
    """A published figure of one network, as `published.quote` finds it."""

    model: str
    metric: str
    source: str


class Score(_Strict):
    """A score of one network is within `tolerance` of the published `figure`, which is of `images` images."""

    kind: Literal["score"]
    study: str
    run: dict[str, Any]
    figure: Figure
    images: PositiveInt
    tolerance: PositiveFloat
    why: str


class Gain(_Strict):
    """`first` is better than `second` by `tolerance` less than the figures' difference, or by `least` or more.

    The first way is for the networks that the figures are of, the second for others, where the direction counts.
    """

    kind: Literal["gain"]
    study: str
    first: dict[str, Any]
    second: dict[str, Any]
    metric: str
    figures: Annotated[list[Figure], Field(min_length=2, max_length=2)] | None = None
    tolerance: PositiveFloat | None = None
    least: PositiveFloat | None = None
    why: str

    @model_validator(mode="after")
    def _one_way(self) -> "Gain":
        if (self.least is None) == (self.figures is None) or (self.figures is None) != (self.tolerance is None):
            raise ValueError("either least, or figures with tolerance")
        return self


class Same(_Strict):
    """Every other batch size of evaluation leaves top-1 accuracy within `tolerance` of the usual one's."""

    kind: Literal["same"]
    study: Literal["batch_size"]
    tolerance: PositiveFloat
    why: str


class Count(_Strict):
    """Our counts of the full-size networks are within `tolerance` (M or G) of the figures that `source` prints."""

    kind: Literal["count"]
    study: Literal["efficiency"]
    metric: Literal["parameters", "multiply_adds_224"]
    published: Literal["parameters", "flops"]
    tolerance: PositiveFloat
    why: str


class Speed(_Strict):
    """Network `first` runs faster than `second`, in the same rounds of one measurement."""

    kind: Literal["speed"]
    study: Literal["efficiency"]
    first: str
    second: str
    least: PositiveFloat
    why: str


Test = Annotated[Score | Gain | Same | Count | Speed, Field(discriminator="kind")]


class Claim(_Strict):
    """One claim: what is said, by whom, and how it is tested on the networks it is about and on small ones.

    A test that cannot be is left out, with the reason in `without`. Where `full` names no figures, `figures` are those
    whose difference is claimed, or `printed` says in a word what is.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    text: str
    source: str
    data: str
    printed: str = ""
    figures: Annotated[list[Figure], Field(min_length=2, max_length=2)] | None = None
    full: Test | None = None
    small: Test | None = None
    without: str = ""

    @model_validator(mode="after")
    def _reasons(self) -> "Claim":
        if (self.full is None or self.small is None) and not self.without:
            raise ValueError("a claim without one of its tests says why in 'without'")
        if not (self.printed or self.figures or isinstance(self.full, Score | Gain)):
            raise ValueError("a claim whose test names no figure has 'figures' or 'printed'")
        return self


class _File(_Strict):
    claims: Annotated[list[Claim], Field(min_length=1)]


@cache
def read_claims(path: Path = CLAIMS) -> tuple[Claim, ...]:
    """The claims of a file, in its order.

    Raises InputError, naming the claim's place and key, for anything that is not as above or stands twice.
    """
    try:
        claims = _File.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))).claims
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{path.name}: {where}: {first['msg']}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path.name} is not YAML: {' '.join(str(error).split())}") from None
    for claim in claims:
        if claim.source not in SOURCES:
            raise unknown(f"source of claim '{claim.id}' in {path.name}", claim.source, SOURCES)
    if len({claim.id for claim in claims}) < len(claims):
        raise InputError(f"{path.name}: an id stands twice among {', '.join(claim.id for claim in claims)}")
    return tuple(claims)
