#!/usr/bin/env bash
# Everything that is measured on the GPU, in parts that each end within ten minutes:
#   benchmarks/h200.sh tests | search | winners | figures | suites   [output folder [configs, default all]]
# Leaves logs and, for `search`, the winners with their ledgers in the output folder. `suites` takes all GPUs there are,
# and goes on from the rows in the output folder: again until both levels are done, SUITES_S (560) seconds each time.
set -uo pipefail
cd "$(dirname "$0")/.."
part=${1:-} out=${2:-/tmp/h200}
shift $(($# < 2 ? $# : 2))
configs=("$@")
[ ${#configs[@]} -gt 0 ] || configs=(configs/*.yaml)
mkdir -p "$out"
# Some images have no byte code of PyTorch and write none: each process would compile its sources for 6 to 9 s.
export PYTHONPYCACHEPREFIX="$out/byte-code" PYTHONDONTWRITEBYTECODE=
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
suites)
  gpus=$(seq -s, -f 'cuda:%g' 0 $(($(nvidia-smi -L | wc -l) - 1)))
  until=$((SECONDS + ${SUITES_S:-560}))
  for level in level2 level1; do
    timeout -s TERM $((until - SECONDS)) python3 benchmarks/suite.py "benchmarks/problems/$level" --seconds-each 15 \
      --final-budget-s 3 --search-only --device "$gpus" --jobs 2 --warm 20 --again failed,timeout \
      --output "$out/suite-$level" --work "$out/work-$level" > "$out/suite-$level.log" 2>&1
    tail -12 "$out/suite-$level.md"
    [ $SECONDS -lt $((until - 60)) ] || break
  done
  tar czf "$out/logs.tgz" "$out"/*.log $(find "$out"/work-* -name '*.log')
  ;;
*)
  echo "usage: benchmarks/h200.sh tests|search|winners|figures|suites [folder]" >&2
  exit 2
  ;;
esac
