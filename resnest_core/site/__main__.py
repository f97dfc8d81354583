"""python -m resnest_core.site BUILD_DIR: write its pages."""

from resnest_core.programs import Parser, outcome, run_program


def main(arguments: list[str] | None = None) -> int:
    """Build the site and print where it begins; 2 if it cannot be built."""
    return outcome(lambda: _build(arguments))


def _build(arguments: list[str] | None) -> None:
    parser = Parser(prog="python -m resnest_core.site", description=__doc__)
    parser.add_argument(
        "directory", metavar="BUILD_DIR", help="the build directory of a profile with its article, as build/default"
    )
    directory = parser.parse_args(arguments).directory
    from resnest_core.site.build import build  # which --help need not wait for

    print(build(directory))


if __name__ == "__main__":
    run_program(main)
