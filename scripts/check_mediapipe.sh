#!/usr/bin/env bash
# Ships the digits model and classifies with it in MediaPipe, a client that was not written here.
# MediaPipe wants absl-py 2 and TF-MOT absl-py 1: it gets an environment of its own, .venv-mediapipe.
source "$(dirname "$0")/environment.sh" dev

client=.venv-mediapipe
if [ ! -e "$client/.installed" ]; then
  "$(python -c 'import sys; print(sys.executable)')" -m venv "$client"
  "$client/bin/python" -m pip install --quiet mediapipe
  touch "$client/.installed"
fi
TFOPT_MEDIAPIPE_PYTHON="$PWD/$client/bin/python" pytest -m slow tests/shipping/test_mediapipe.py "$@"
