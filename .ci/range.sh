#!/usr/bin/env bash
# The range that pyproject.toml claims, on a CPU: each Python found here with the oldest and the newest PyTorch that
# has a wheel for it. For each pair: install into a fresh environment, doctor, a small search, the fast tests.
#   .ci/range.sh [FOLDER]            environments and logs stay there; default: a temporary folder
#   PYTHONS="3.11 3.13" TORCHES="2.1 newest" .ci/range.sh
# Prints a table; exits 1 when something failed. A pair that cannot be installed is said, and is no failure.
set -uo pipefail
cd "$(dirname "$0")/.."
folder=${1:-$(mktemp -d)} failed=0
mkdir -p "$folder"
rows=()

try() { # NAME COMMAND...: "ok", or "failed" and the end of the log
  local log="$folder/$name-$1.log"
  shift
  if timeout "${STEP_S:-1500}" "$@" >"$log" 2>&1; then
    outcome=ok
  else
    outcome=failed failed=1
    echo "--- $log" >&2 && tail -n 15 "$log" >&2
  fi
}

for python in ${PYTHONS:-3.11 3.12 3.13}; do
  command=$(command -v "python$python" || true)
  if [ -z "$command" ] || ! "$command" --version >/dev/null 2>&1; then
    rows+=("| $python | - | no such interpreter here | | | |")
    continue
  fi
  for torch in ${TORCHES:-2.1 newest}; do
    name="$python-$torch"
    case $torch in
    newest) wanted=(torch) ;;
    2.1) wanted=("torch==2.1.*" "numpy<2") ;; # built for NumPy 1
    *) wanted=("torch==$torch.*") ;;
    esac
    venv="$folder/$name" && bin="$venv/bin"
    if ! { "$command" -m venv "$venv" &&
      timeout "${STEP_S:-1500}" "$bin/pip" install -q "${wanted[@]}" -e '.[dev]'; } >"$folder/$name-install.log" 2>&1; then
      reason=$(grep -m1 ERROR "$folder/$name-install.log" | cut -c1-80)
      rows+=("| $python | $torch | not installed: ${reason:-out of time} | | | |")
      continue
    fi
    release=$("$bin/python" -c 'import platform, torch; print(f"{platform.python_version()} | {torch.__version__}")')
    project="$folder/$name-project"
    rm -rf "$project" && mkdir -p "$project" && touch "$project/pyproject.toml"
    printf 'template: gn_mean\ndevice: cpu\ninit: [3, 8, 3, 4]\nshapes: [[4, 3, 8, 10, 12]]\ntrials: 3\nfinal_budget_s: 2\nbaselines: [eager]\n' >"$project/small.yaml"
    try doctor env CUDA_VISIBLE_DEVICES= "$bin/tuner" doctor && doctor=$outcome
    try search "$bin/tuner" search "$project/small.yaml" && search=$outcome
    STEP_S=${TESTS_S:-3600} try tests "$bin/python" -m pytest -m 'not slow and not gpu' -p no:cacheprovider && tests=$outcome
    rows+=("| $release | ok | $doctor | $search | $tests: $(tail -n 1 "$folder/$name-tests.log" | tr -d '=' | xargs) |")
  done
done
echo "| Python | PyTorch | install | doctor | search | fast tests |"
echo "|---|---|---|---|---|---|"
printf '%s\n' "${rows[@]}"
exit $failed
