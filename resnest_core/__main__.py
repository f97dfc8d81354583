"""`python -m resnest_core` is the `resnest-core` program."""

from resnest_core.huge_pages import restart
from resnest_core.programs import run_program


def program() -> None:
    """The program, in huge pages from its start."""
    restart()
    run_program(_main)


def _main() -> None:
    from resnest_core.cli import main

    main()


if __name__ == "__main__":
    program()
