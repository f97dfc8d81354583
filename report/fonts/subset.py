"""Make the web fonts of article.html: subsets of two free fonts, under names of their own.

    python subset.py LinLibertine_R.otf LinLibertine_RI.otf LinLibertine_RB.otf latinmodern-math.otf

The sources are those of Debian's packages fonts-linuxlibertine and fonts-lmodern. Needs fonttools and brotli.
Both licences ask that a changed font leaves the original's name, hence the new ones.
"""

import sys
from pathlib import Path

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

TEXT = [*range(0x20, 0x7F), *range(0xA0, 0x180), *range(0x391, 0x3CA), *range(0x2010, 0x2027), *range(0x2030, 0x203B)]
TEXT += [0x2044, 0x2190, 0x2192, 0x2212, 0x221A, 0x2248, 0x2260, 0x2264, 0x2265, 0xFB00, 0xFB01, 0xFB02, 0xFB03, 0xFB04]
MATHS = [
    *range(0x20, 0x7F),
    0xAC,
    0xB1,
    0xB7,
    0xD7,
    *range(0x391, 0x3F6),
    0x2016,
    0x2026,
    0x2032,
    0x2061,
    0x2062,
    0x2063,
]
MATHS += [0x210E, 0x2113, 0x211D, *range(0x2190, 0x2194), *range(0x2200, 0x22F2), 0x2308, 0x2309, 0x230A, 0x230B]
MATHS += [0x27E8, 0x27E9, 0x2A2F, *range(0x1D400, 0x1D504)]


def subset(source: Path, name: str, characters: list[int], target: Path) -> None:
    """Write the glyphs of `characters` and what they need as `target`, a WOFF2 font called `name`."""
    font = TTFont(source, recalcTimestamp=False)
    options = Options()
    options.layout_features = ["kern", "liga", "lnum", "tnum", "pnum", "ssty", "dtls", "flac", "mark", "mkmk", "ccmp"]
    options.drop_tables += ["FFTM", "DSIG"]
    subsetter = Subsetter(options)
    subsetter.populate(unicodes=characters)
    subsetter.subset(font)
    for identifier in (1, 4, 16):
        font["name"].removeNames(nameID=identifier)
        font["name"].setName(name, identifier, 3, 1, 0x409)
    font["name"].removeNames(nameID=6)
    font["name"].setName(name.replace(" ", ""), 6, 3, 1, 0x409)
    if "CFF " in font:
        font["CFF "].cff.fontNames[0] = name.replace(" ", "")
    font.flavor = "woff2"
    font.save(target)


if __name__ == "__main__":
    names = ("Article Serif", "Article Serif Italic", "Article Serif Bold")
    for path, name in zip(sys.argv[1:4], names, strict=True):
        subset(Path(path), name, TEXT, Path(__file__).with_name(name.lower().replace(" ", "-") + ".woff2"))
    subset(Path(sys.argv[4]), "Article Maths", MATHS, Path(__file__).with_name("article-maths.woff2"))
