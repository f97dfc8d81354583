"""python -m resnest_core.article BUILD_DIR: write its article."""

import argparse
import sys

from resnest_core.errors import InputError
from resnest_core.texts import never_fail_to_print, printable


def main(arguments: list[str] | None = None) -> int:
    """Build the article and print where it lies; 2 if it cannot be built."""
    never_fail_to_print()
    parser = argparse.ArgumentParser(prog="python -m resnest_core.article", description=__doc__)
    parser.add_argument(
        "directory", metavar="BUILD_DIR", help="the build directory of a profile, such as build/default"
    )
    directory = parser.parse_args(arguments).directory
    from resnest_core.article.build import build  # seconds to import, which --help need not wait for

    try:
        for path in build(directory):
            print(path)
    except (InputError, OSError) as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
