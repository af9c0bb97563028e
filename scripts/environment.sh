# Sourced by the other scripts: makes .venv with the project in it, and puts it on the PATH.
# Usage: source scripts/environment.sh [EXTRA]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

extra="${1:+[$1]}"
wanted="$(cat setup.cfg pyproject.toml | cksum)$extra"
if [ "$(cat .venv/.installed"${1:-}" 2>/dev/null)" != "$wanted" ]; then
  for python in "${PYTHON:-python3.11}" python3.12 python3.13 python3.10 python3; do
    if "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; then
      break
    fi
    python=""
  done
  if [ -z "$python" ]; then
    echo "No Python 3.10 to 3.13 was found; install one, or name it: PYTHON=/path/to/python $0" >&2
    exit 2
  fi
  [ -x .venv/bin/python ] || "$python" -m venv .venv
  echo "Installing tfopt and what it needs into .venv (about two minutes) ..."
  # The pip that comes with Python 3.10 tries versions for an hour before it finds some that agree.
  .venv/bin/python -m pip install --quiet --upgrade pip
  .venv/bin/python -m pip install --quiet --editable ".$extra"
  echo "$wanted" > ".venv/.installed${1:-}"
fi
PATH="$PWD/.venv/bin:$PATH"
export TF_CPP_MIN_LOG_LEVEL="${TF_CPP_MIN_LOG_LEVEL:-2}"
