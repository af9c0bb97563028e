#!/usr/bin/env bash
# The tests that take minutes each: large networks and machine-dependent aims.
source "$(dirname "$0")/environment.sh" dev

pytest --numprocesses="${PYTEST_WORKERS:-auto}" --maxprocesses=4 --dist=loadfile -m slow tests "$@"
