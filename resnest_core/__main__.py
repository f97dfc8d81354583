"""`python -m resnest_core` is the `resnest-core` program."""

from resnest_core.cli import main

main()
