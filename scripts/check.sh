#!/usr/bin/env bash
# Every check of the project: format, lint, types, dependency rule, tests, doctests, recipes.
source "$(dirname "$0")/environment.sh" dev

step() { printf '\n== %s\n' "$1"; shift; "$@"; }

step "format" ruff format --check .
step "lint" ruff check .
step "types" mypy
step "tests, dependency rule, doctests, documentation, recipes in smoke mode" \
  pytest --numprocesses="${PYTEST_WORKERS:-auto}" --maxprocesses=4 --dist=loadfile --durations=15 tests tfopt "$@"
