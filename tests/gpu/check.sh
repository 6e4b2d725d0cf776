#!/usr/bin/env bash
# What only a GPU can show, in one command and under eight minutes; what broke first comes first.
#
#     bash tests/gpu/check.sh [WORD ...]        the data, and steps with one of these words in their names; default: all
#     TINY=1 bash tests/gpu/check.sh            the same steps, small, on the CPU, which tries the check itself
#
# It needs an installed padseg[dev] and makes its own data. With PADSEG_ASSETS (.github/GUIDE.md, "Tests"), it also
# trains on real images. PYTHON names the interpreter, OUT the folder for logs, LIMIT the seconds in all.
#
# What to expect of an H100 with 16 cores, estimated by arithmetic, since nobody has measured it yet:
#     a run 20 s, test_gpu.py 90 s, test_compile.py 60 s, other tests 10 s each, demo 60 s, real images 40 s
#     step times of a batch of 32: stpm 5-8 ms, destseg 10-14 ms and, in phase two, 24-32 ms
#     peaks of memory: stpm below 1 GiB, destseg 3 GiB, pfadseg 5 GiB
set -u
cd "$(dirname "$0")/../.." || exit 1
python=${PYTHON:-python}
if [ -n "${TINY:-}" ]; then
  device=${PADSEG_GPU:-cpu} limit=${LIMIT:-7200} processes=2
  steps=3 batch=4 size=64
  small=(--model.teacher test_resnet)
  narrow=("${small[@]}" --model.width 16)
  two=("${narrow[@]}" --model.teacher2 test_resnet.r160_in1k)
  transformer=(--model.teacher test_vit3 --model.blocks "[[1,2],[4]]")
else
  device=${PADSEG_GPU:-cuda} limit=${LIMIT:-480}
  processes=$("$python" -c 'import torch; print(max(1, min(2, torch.cuda.device_count())))')
  steps=40 batch=32 size=256
  small=() narrow=() two=()
  transformer=(--model.teacher vit_small_patch14_dinov2.lvd142m)
fi
export PADSEG_GPU=$device CUBLAS_WORKSPACE_CONFIG=:4096:8
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
logs=${OUT:-$work/logs}
mkdir -p "$logs"
words=("$@")
summary=()
failed=0

step() { # NAME COMMAND ...
  local name=$1 begun=$SECONDS verdict=PASS word wanted=${#words[@]} log
  shift
  for word in data "${words[@]}"; do [[ $name == *"$word"* ]] && wanted=0; done
  [ "$wanted" = 0 ] || return
  log=$logs/${name//[^a-zA-Z0-9.-]/_}.log
  # At least a second, so that a step is never left out silently.
  timeout -k 5 $((limit > begun ? limit - begun : 1)) "$@" >"$log" 2>&1 || verdict=FAIL
  summary+=("$verdict $(printf '%4d' $((SECONDS - begun))) s  $name")
  echo "${summary[-1]}"
  [ $verdict = PASS ] && return
  failed=$((failed + 1))
  tail -15 "$log" | cut -c1-200 | sed 's/^/    /'
}
padseg() { step "$1" "$python" -m padseg "${@:2}"; }
images=(--root "$work/data" --category cap --textures "$work/data/textures")
run() { # LABEL SYSTEM PRECISION OPTION ...
  padseg "run $1 in $3" run "$2" --label "$1" --precision "$3" "${images[@]}" --out "$work/runs" \
    --weights random --steps $steps $steps --batch-size $batch --model.image_size $size \
    --trainer.accelerator "$device" "${@:4}"
}
tests() { step "tests of $1" "$python" -m pytest -q -p no:cacheprovider -m gpu "$1"; }

"$python" -c 'import torch; print(f"torch {torch.__version__}, {torch.cuda.device_count()} GPUs")'
step "data" "$python" -c "
from pathlib import Path
from padseg.demo import make_demo
make_demo(Path('$work/data'), categories=['cap'])"

# What broke before: a precision named before CUDA is initialised, a program moved to another device.
run destseg destseg bf16-mixed "${narrow[@]}"
tests tests/export/test_torch_export.py
tests tests/devices/test_gpu.py
run stpm stpm 32-true "${narrow[@]}"
run rstpm rstpm bf16-mixed --model.weights2 random "${two[@]}"
run pfadseg pfadseg 16-mixed "${narrow[@]}"
run tedseg tedseg bf16-mixed "${small[@]}"
run tedseg-vit tedseg bf16-mixed "${transformer[@]}"
for file in $(grep -rlE '^@pytest\.mark\.gpu' tests --include='test_*.py' | sort); do
  case $file in tests/export/test_torch_export.py | tests/devices/test_gpu.py) ;; *) tests "$file" ;; esac
done

# With one GPU one process, which still communicates.
ddp=(--trainer.accelerator "$device" --trainer.devices "$processes" --trainer.strategy ddp
  --trainer.logger false --data.root "$work/data" --data.category cap --data.num_workers 0)
padseg "fit on $processes" fit --config configs/destseg/distill.yaml "${ddp[@]}" --model.weights random \
  "${narrow[@]}" --model.image_size $size --data.textures "$work/data/textures" --data.batch_size $batch \
  --trainer.max_steps $steps --trainer.val_check_interval $((steps - 1)) --checkpoint.dirpath "$work/fit"
padseg "test on $processes" test --ckpt_path "$work/fit/last.ckpt" "${ddp[@]}"
padseg "detect" detect "$work/runs/destseg/cap/seed0/segment.ckpt" "$work/data/cap/test" --out "$work/found" \
  --device "$device" --batch-size 5

step "step times" "$python" tests/benchmarks/systems.py --device "$device" --batch $batch --size $size
step "figures of the runs" "$python" -c "
import pandas
table = pandas.read_csv('$work/runs/results.csv').set_index('label')
print(table[['train_minutes', 'peak_memory_mb', 'images_per_second']].to_string())"
if [ -z "${TINY:-}" ]; then
  step "goal of the demo" "$python" -m pytest -q -p no:cacheprovider -m slow tests/demo -k goal
  if [ -d "${PADSEG_ASSETS:-}/mvtec/bottle" ]; then
    padseg "run on real images" run tedseg --out "$work/real" --root "$PADSEG_ASSETS/mvtec" --category bottle \
      --textures "$PADSEG_ASSETS/dtd/images" --weights "$PADSEG_ASSETS/weights/tf_efficientnet_lite0.in1k.safetensors"
    # Two points below the lower of the two seeds in configs/tedseg/README.md, which are from a CPU.
    step "figures of real images" "$python" -c "
import pandas
(row,) = pandas.read_csv('$work/real/results.csv').to_dict('records')
print(row)
assert row['image_auroc'] > 0.99 and row['pixel_ap'] > 0.89 and row['pro'] > 0.97"
  fi
fi

echo
printf '%s\n' "${summary[@]}"
cat "$logs/step_times.log" "$logs/figures_of_the_runs.log" 2>/dev/null
echo "$((${#summary[@]} - failed)) of ${#summary[@]} steps passed in $SECONDS s.${OUT:+ Logs: $logs}"
[ $failed = 0 ] && [ ${#summary[@]} -gt 0 ]
