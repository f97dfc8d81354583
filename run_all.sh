#!/usr/bin/env bash
# The one door of the study: ./run_all.sh, ./run_all.sh test, ./run_all.sh --help.
# It only finds a Python; resnest_core/study/environment.py sets up what is needed and goes on from there.
set -u
# Through links, from any directory, by any shell; `cd` would print where CDPATH is set.
script=$0
[ -e "$script" ] || script=$(command -v -- "$script")
root=$(dirname -- "$(readlink -f -- "$script")") || exit 2
case $root in
    *:*) echo "error: no path of Python's can hold '$root', for its colon; move the project" >&2; exit 2 ;;
esac
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
for python in python3 python python3.14 python3.13 python3.12 python3.11; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        exec "$python" -P -m resnest_core.study.environment "$@"
    fi
done
echo "error: no Python 3.11 or newer among python3, python, python3.11 to python3.14; install one (apt install python3)" >&2
exit 2
