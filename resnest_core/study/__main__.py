"""`python -m resnest_core.study`: ./run_all.sh, once the environment is there."""

import sys

from resnest_core.errors import InputError
from resnest_core.study.arguments import parse
from resnest_core.study.layout import ROOT, Layout
from resnest_core.texts import never_fail_to_print, printable


def main() -> int:
    never_fail_to_print()
    try:
        options = parse(sys.argv[1:])
        if options.command == "test":
            from resnest_core.study.checks import run_checks  # only the tests' environment needs what it calls

            return run_checks(ROOT)
        from resnest_core.study.run import run

        return run(Layout(options.profile), options)
    except (InputError, OSError) as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
