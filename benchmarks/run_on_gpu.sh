#!/usr/bin/env bash
# All that wants a GPU, in ten minutes: the tests, LeNet on MNIST, the benchmark. Writes to FOLDER.
#
#   benchmarks/run_on_gpu.sh FOLDER
#
# The status is 0 if all three passed. Whoever runs out of time is interrupted, and says how far it came.
set -uo pipefail
cd "$(dirname "$0")/.."
folder=${1:?usage: benchmarks/run_on_gpu.sh FOLDER}
mkdir -p "$folder"
for digits in shared/data/mnist ../shared/data/mnist; do
    if [ -z "${FASTCONV_DATA:-}" ] && [ -d "$digits" ]; then
        FASTCONV_DATA=$(cd "$digits" && pwd)
        export FASTCONV_DATA
    fi
done
timeout 60 python -m pip install --quiet -e ".[test,cuda]" || echo "not installed anew"
python -c "import fastconv; print(fastconv.show_config())" | tee "$folder/config.txt"

failed=0
# step SECONDS FILE LINES COMMAND...: its output to a file, the last lines shown
step() {
    local seconds=$1 file=$folder/$2 lines=$3
    shift 3
    timeout --signal=INT --kill-after=10 "$seconds" "$@" > "$file" 2>&1
    local status=$?
    tail -n "$lines" "$file"
    if [ "$status" -ne 0 ]; then
        echo "status $status: $*, see $file"
        failed=1
    fi
}
step 80 lenet.txt 3 python examples/lenet_mnist.py --device cuda
step 210 benchmark.txt 60 python -m benchmarks.compare --device cuda --stop-after 150 --output "$folder/cuda.md"
step 230 tests.txt 5 python -m pytest tests/cuda -m gpu --maxfail=20 --durations=10
exit "$failed"
