"""python -m resnest_core.article BUILD_DIR: write its article."""

from resnest_core.programs import Parser, outcome, run_program


def main(arguments: list[str] | None = None) -> int:
    """Build the article and print where it lies; 2 if it cannot be built."""
    return outcome(lambda: _build(arguments))


def _build(arguments: list[str] | None) -> None:
    parser = Parser(prog="python -m resnest_core.article", description=__doc__)
    parser.add_argument(
        "directory", metavar="BUILD_DIR", help="the build directory of a profile, such as build/default"
    )
    directory = parser.parse_args(arguments).directory
    from resnest_core.article.build import build  # seconds to import, which --help need not wait for

    for path in build(directory):
        print(path)


if __name__ == "__main__":
    run_program(main)
