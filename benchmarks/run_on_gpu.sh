#!/usr/bin/env bash
# All that wants a GPU, in ten minutes: the tests, LeNet on MNIST, the benchmark. Writes to FOLDER.
#
#   benchmarks/run_on_gpu.sh FOLDER
set -uo pipefail
cd "$(dirname "$0")/.."
folder=${1:?usage: benchmarks/run_on_gpu.sh FOLDER}
mkdir -p "$folder"
python -m pip install --quiet -e ".[test,cuda]" || true
python -c "import fastconv; print(fastconv.show_config())" | tee "$folder/config.txt"
timeout 200 python -m pytest tests/cuda -m gpu -q --durations=10 > "$folder/tests.txt" 2>&1
tail -3 "$folder/tests.txt"
timeout 120 python examples/lenet_mnist.py --device cuda > "$folder/lenet.txt" 2>&1
tail -3 "$folder/lenet.txt"
timeout 270 python -m benchmarks.compare --device cuda --output "$folder/cuda.md" > "$folder/benchmark.txt" 2>&1
tail -40 "$folder/benchmark.txt"
