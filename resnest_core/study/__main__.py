"""`python -m resnest_core.study`: ./run_all.sh, once the environment is there."""

import sys

from resnest_core.programs import run_program
from resnest_core.study.arguments import parse
from resnest_core.study.layout import ROOT, Layout


def main() -> int:
    options = parse(sys.argv[1:])
    if options.command == "test":
        from resnest_core.study.checks import run_checks  # only the tests' environment needs what it calls

        return run_checks(ROOT)
    from resnest_core.study.run import run

    return run(Layout(options.profile), options)


if __name__ == "__main__":
    run_program(main)
