#!/usr/bin/env bash
# The main job on real handwritten digits, in about a minute: see recipes/08_whole_chain.py.
source "$(dirname "$0")/environment.sh"

exec python recipes/08_whole_chain.py --dataset=digits --overwrite --output="${1:-out/quickstart}"
