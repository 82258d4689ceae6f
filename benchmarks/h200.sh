#!/usr/bin/env bash
# Everything that is measured on the GPU, in parts that each end within ten minutes:
#   benchmarks/h200.sh tests | search | winners | figures   [output folder [configs, default all]]
# Leaves logs and, for `search`, the winners with their ledgers in the output folder.
set -uo pipefail
cd "$(dirname "$0")/.."
part=${1:-} out=${2:-/tmp/h200}
shift $(($# < 2 ? $# : 2))
configs=("$@")
[ ${#configs[@]} -gt 0 ] || configs=(configs/*.yaml)
mkdir -p "$out"
export PYTHONUNBUFFERED=1 PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"  # works from the tree, installed or not
case $part in
tests)
  timeout 560 python3 -m pytest -m gpu -p no:cacheprovider 2>&1 | tee "$out/tests.log" | tail -40
  ;;
search)
  timeout 580 python3 -m tuner search "${configs[@]}" --baselines eager,compile 2>&1 | tee "$out/search.log"
  tar czf "$out/cache.tgz" -C "${TUNER_CACHE_DIR:-cache}" .
  ;;
winners)
  timeout 580 python3 benchmarks/winners.py "${configs[@]}" -o "$out/winners.json" 2> >(tee "$out/winners.err" >&2)
  ;;
figures)
  timeout 120 python3 benchmarks/fused_part.py
  timeout 300 python3 benchmarks/throughput.py
  ;;
*)
  echo "usage: benchmarks/h200.sh tests|search|winners|figures [folder]" >&2
  exit 2
  ;;
esac
