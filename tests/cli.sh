#!/usr/bin/env bash
# The command as people and scripts meet it: exit codes, one-line refusals, output that nobody reads, and a training on
# a small data set from beginning to end.
#
#     tests/cli.sh [path of plumb]
#
# The last line is "N passed, N failed, N skipped".
set -uo pipefail
plumb=$(realpath "${1:-build/bin/plumb}")
if [ ! -x "$plumb" ]; then
    printf '%s is not there\n0 passed, 1 failed, 0 skipped\n' "${1:-build/bin/plumb}"
    exit 1
fi
work=$(mktemp -d /tmp/plumb-cli-XXXXXX)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
export LC_ALL=C NO_COLOR=1
unset PLUMB_IMPL PLUMB_DATA PLUMB_PLUGINS
passed=0 failed=0

# verdict NAME OK DETAIL
verdict() {
    if [ "$2" = yes ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED %s: %s\n' "$1" "$3"
    fi
}

# refuse CODE PATTERN ARGUMENTS...: the exit code, nothing on standard output, one line on standard error.
refuse() {
    local code=$1 pattern=$2 got ok=yes
    shift 2
    timeout 20 "$plumb" "$@" >stdout 2>stderr
    got=$?
    [ "$got" -eq "$code" ] && [ ! -s stdout ] && [ "$(wc -l <stderr)" -eq 1 ] && grep -q -e "$pattern" stderr || ok=no
    verdict "plumb $(head -c 80 <<<"$*")" $ok "exit $got (expected $code): $(head -c 300 stderr)"
}

# accept PATTERN ARGUMENTS...: exit code 0 and the pattern on standard output.
accept() {
    local pattern=$1 got ok=yes
    shift
    timeout 60 "$plumb" "$@" >stdout 2>stderr
    got=$?
    [ "$got" -eq 0 ] && grep -q -e "$pattern" stdout && ! grep -q warning stderr || ok=no
    verdict "plumb $*" $ok "exit $got: $(head -c 300 stderr) $(head -c 300 stdout)"
}

# holds NAME COMMAND...: the command succeeds.
holds() {
    local name=$1 ok=yes
    shift
    "$@" >/dev/null 2>&1 || ok=no
    verdict "$name" $ok "$*"
}

# code NAME CODE COMMAND...: the exit code of a shell command.
code() {
    local name=$1 expected=$2 got
    shift 2
    timeout 60 bash -c "$*" >stdout 2>stderr
    got=$?
    verdict "$name" "$([ "$got" -eq "$expected" ] && echo yes || echo no)" "exit $got (expected $expected): $(head -c 300 stderr)"
}

# make_set FOLDER COUNT: pictures of 8 x 8 and labels 0 to 7, all from letters and digits that seq writes.
make_set() {
    local part size i
    mkdir -p "$1"
    size=$(printf '\\0%o\\0%o' $(($2 / 256)) $(($2 % 256)))
    for part in train t10k; do
        {
            printf '\0\0\10\3\0\0%b\0\0\0\10\0\0\0\10' "$size"
            seq 1000000 | head -c $((64 * $2))
        } >"$1/$part-images-idx3-ubyte"
        {
            printf '\0\0\10\1\0\0%b' "$size"
            for ((i = 0; i < $2; i++)); do printf %b "\\0$((i % 8))"; done
        } >"$1/$part-labels-idx1-ubyte"
    done
}
make_set data 300
train=(train --data data --model logistic --epochs 2 --batch 50)
mlp=(train --data data --model mlp --epochs 2 --drop 0.2)

# ---- what is refused, and how ----
refuse 2 'a command is missing'
refuse 2 "unknown command 'tarin'; did you mean train?" tarin
refuse 2 "unknown command 'xyzzy' (plumb --help" xyzzy
refuse 2 'unknown option --epohcs (did you mean --epochs?)' train --epohcs 3
refuse 2 'unknown option --qwertyuiop$' train --qwertyuiop 3
refuse 2 'unknown option -e' train -e 3
refuse 2 "unexpected argument 'lenet5'" train lenet5
refuse 2 '--epochs: N is missing' train --epochs
refuse 2 '--epochs: given twice' train --epochs 3 --epochs=4
refuse 2 '--json: takes no value' train --json=yes
for value in 0 -1 1e99 abc 12x '' ' 3' +3 0x10 3.0 99999999999999999999; do
    refuse 2 '--epochs: ' train --epochs "$value"
done
for value in nan inf -1 0 1e400 0x1p-3 1,5 1e -- . '1 2'; do
    refuse 2 '--lr: ' train --lr "$value"
done
for value in 0 2147483648 -64; do
    refuse 2 '--batch: ' train --batch "$value"
done
for value in 0 1000000 -2 two; do
    refuse 2 '--threads: ' train --threads "$value"
done
refuse 2 "--model: 'lenet6' is not known; did you mean lenet5?" train --model lenet6
refuse 2 "--optimizer: 'adamm' is not known; did you mean adam?" train --optimizer adamm
refuse 2 "--precision: 'bf61' is not known; did you mean bf16?" train --precision bf61
refuse 2 "--precision: 'i32' is not known" eval --precision i32
for value in 0 -1 1e10 nan dynamics ''; do
    refuse 2 '--loss-scale' train --loss-scale "$value"
done
refuse 2 "--schedule: 'cosin' is not known; did you mean cosine?" train --schedule cosin
refuse 2 '--epochs and --steps: the length is given twice' train --epochs 3 --steps 30
refuse 2 '--batch auto: give the memory' train --batch auto
refuse 2 '--memory: limits --batch auto only' train --memory 1GiB
for value in 0 1GB -1 GiB 99999999TiB 1.5GiB ''; do
    refuse 2 '--memory: ' train --batch auto --memory "$value"
done
refuse 2 '--schedule manual: give the rate of each epoch' train --schedule manual
refuse 2 '--rates: these are for --schedule manual' train --rates 0.1
for value in 0.1, ,0.1 0.1,x 0.1,,0.2 -1 nan; do
    refuse 2 '--rates: ' train --schedule manual --rates "$value"
done
for value in 0 1 1.5 -0.5 polyac; do
    refuse 2 "--average '$value'" train --average "$value"
done
refuse 2 '--label-smoothing: ' train --label-smoothing 1
refuse 2 '--accumulate: ' train --accumulate 0
refuse 2 '--check-every: is about what --monitor names' train --check-every 3
refuse 2 "--monitor: 'test_loss' is not known" train --monitor test_loss
refuse 2 "--lambda-scale: 'per-example' is not known" train --lambda-scale per-example
refuse 2 "model 'lenet' is not known" summary lenet
refuse 2 "--split '70'" train --split 70
refuse 2 "--split '60/20/20/1'" train --split 60/20/20/1
refuse 2 "--split '1/0'" train --split 1/0
refuse 2 'has a dev set already' train --split 60/20/20 --dev 0.1
refuse 2 '--max-bad: ' train --max-bad 1.5
refuse 2 'one is missing' train --height 28
refuse 2 "augment: 'miror' is unknown; there are mirror" train --data data --model logistic --augment miror
refuse 2 'what? plumb data doctor' data
refuse 2 "data set 'nowhere': neither" train --data nowhere
refuse 2 'data set' train --data $'new\nline'
refuse 2 '--data: needs a value of 1 to 4096' train --data "$(printf 'x%.0s' {1..4097})"
refuse 3 'cuda' train --device cuda:99 --data data
mkdir alone
cp "$plumb" alone/plumb
code "where there is no plugin it is said how it is made" 3 \
    "alone/plumb train --device cuda --data data 2>told; got=\$?; grep -q 'built with -DPLUMB_CUDA=ON' told && exit \$got"
echo nothing >alone/libplumb-cuda.so
code "a plugin that cannot be used is named, and no other is tried" 3 \
    "alone/plumb train --device cuda --data data 2>told; got=\$?; grep -q '/libplumb-cuda.so: ' told && exit \$got"
echo nothing >alone/libplumb-onednn.so
code "a forced implementation says which plugin is missing, and why" 2 \
    "PLUMB_PLUGINS=\$PWD/alone alone/plumb summary lenet5 --impl conv2d=cpu.onednn 2>told; got=\$?
     grep -q 'libplumb-onednn.so cannot be opened: .*/alone/libplumb-onednn.so' told && exit \$got"
code "a plugin that cannot be used is no error where nobody asks for it" 0 \
    "PLUMB_PLUGINS=\$PWD/alone alone/plumb doctor | grep -q '^onednn *off ' && alone/plumb ops | grep -q '^conv2d .*cpu\.native'"
refuse 3 'faulty device: call 100' train --data data --model logistic --device faulty:100 --json
refuse 2 "device 'null' plans but computes nothing" train --data data --device null
refuse 2 'tf32, reduced-sums, nondeterministic, vendor-threads are known, but got tf32,fast' summary lenet5 --allow tf32,fast
refuse 2 'winograd is known, but got winogrd' summary lenet5 --forbid winogrd
refuse 2 'which example' predict
refuse 2 "index '7x'" predict 7x
refuse 5 'no-such.safetensors' eval --weights no-such.safetensors
refuse 2 'what?' bench
refuse 2 "bench train: --model: 'lenet6' is not known; did you mean lenet5?" bench train --model mlp,lenet6
refuse 2 "bench train: --batch: '0' is not a whole number from 1 to 65536" bench train --batch 1,0
refuse 2 "bench train: --threads: '' is not" bench train --threads 1,
refuse 2 "bench train: --precision: 'f64' is not known" bench train --precision f64
refuse 2 "device: 'cudaa' is unknown" bench train --device cpu,cudaa
refuse 3 'faulty device: call 100' bench train --model logistic --device cpu,faulty:100
refuse 2 "no op is called 'conv3d'; did you mean conv2d?" bench op conv3d
refuse 2 '--shapes: of which op?' bench op --shapes 2x2
refuse 2 '--set: needs the --shapes' bench op relu --set a=1
refuse 2 "--set-of: 'lenet6' is not known; did you mean lenet5?" bench op --set-of lenet6
mkdir -p broken && cp data/* broken && printf 'more' >>broken/train-images-idx3-ubyte
refuse 2 'broken/train-images-idx3-ubyte: offset 19216, data' train --data broken
cp data/train-labels-idx1-ubyte broken/train-images-idx3-ubyte
refuse 2 'offset 3, number of dimensions: is 1, expected 3 (a file of labels?)' train --data broken
refuse 2 'label of picture 5: 5 is outside 0 to 4' "${train[@]}" --classes 5
head -c 100 /dev/zero >zero.safetensors
refuse 2 'zero.safetensors' eval --weights zero.safetensors --data data
touch file
refuse 5 'file/lock: cannot open: Not a directory' "${train[@]}" --out file
refuse 5 'file/out: cannot make the folder' "${train[@]}" --out file/out
refuse 2 '--save-every: checkpoints lie in --out DIR' "${train[@]}" --save-every 3
refuse 2 '--resume: checkpoints lie in --out DIR' "${train[@]}" --resume
refuse 2 '--keep: says how many' "${train[@]}" --out kept --keep 3
refuse 2 '--find-lr: trains nothing' "${train[@]}" --out kept --resume --find-lr
refuse 4 'training: step' train --data data --model mlp --optimizer sgd --lr 1000 --l2 1000 --batch 20 --json

# ---- what works ----
accept 'Usage: plumb COMMAND' --help
accept "^plumb [0-9]" --version
for command in train eval compare tune predict summary gradcheck ops doctor bench 'bench train' 'bench op' 'bench data' 'bench start'; do
    # shellcheck disable=SC2086
    accept "Usage: plumb $command" $command --help
done
accept 'Exit codes: 0 ok, 1 failed, 2 bad input, 3 device, 4 numeric, 5 input/output' train --help
# ---- data sets of other kinds, and the doctor ----
{
    echo a,b,label
    for ((i = 0; i < 90; i++)); do echo "$((i % 7)),$((i * i % 11)).5,$((i % 3))"; done
} >table.csv
accept '^train: 90 examples of (2, 1, 1) f32, values 0 to 9.5$' data doctor table.csv
accept '"examples":90,"bad":0' data doctor table.csv --json
code 'the doctor names what train and test share, and ends with 1' 1 \
    "$plumb data doctor data | tee /dev/stderr | grep -q \"^wrong: of test's examples 300 are in train as well: 0 is 0, \"; exit \${PIPESTATUS[0]}"
accept 'test accuracy' train --data table.csv --split 60/20/20 --model logistic --epochs 2
accept '"dev_loss":[0-9]' train --data table.csv --split 70/30 --dev 0.2 --model mlp --epochs 1 --json
refuse 2 'is one table without a part "test"' train --data table.csv
refuse 2 "no column is called 'c'" train --data table.csv --split 70/30 --label c
echo 1,x,0 >>table.csv
refuse 2 "table.csv: offset [0-9]*, line 92, column 1: 'x' is no number" train --data table.csv --split 70/30
accept 'test accuracy' train --data table.csv --split 70/30 --max-bad 0.02 --model logistic --epochs 1
accept 'isa' doctor
accept '"what":"cuda","state":"off"' doctor --json
accept '"what":"winograd","state":"ok"' doctor --json
accept '"what":"winograd","state":"off"' doctor --json --forbid winograd
accept 'conv2d .*cpu.ref' ops
accept '^conv2d  *yes  *f32 f64' ops --matrix
accept '^[0-9]* ops .*gradient rule; 0 without cpu.ref' ops --matrix
accept '"op":"conv2d","device":"cpu","provider":"ref"' ops --json
accept '^conv1 .* 6,272 .* 608 ' summary lenet5-teaching
accept '61,706 parameters' summary --model lenet5
accept '61,706 parameters' summary --model lenet5 --allow tf32,reduced-sums,nondeterministic,vendor-threads
accept '^  total  *[0-9]' summary lenet5-classic --batch 1
accept 'conv2d .* bf16 (64, 6, 28, 28)' summary lenet5 --plan --precision bf16
accept 'logistic: ok' gradcheck logistic
accept '"ok":true' gradcheck --model logistic --json
accept 'test accuracy' "${train[@]}" --out out
for name in final.safetensors history.csv curves.svg confusion.svg mistakes.png report.html history.jsonl settings.json \
    events.out.tfevents.plumb; do
    holds "train wrote $name" test -s "out/$name"
done
holds 'the history has two rows' test "$(wc -l <out/history.csv)" -eq 3
accept 'logistic on data (test): accuracy' eval --weights out/final.safetensors --data data --confusion matrix.svg
holds 'eval wrote the matrix' grep -q '</svg>' matrix.svg
accept '"accuracy":' eval --weights out/final.safetensors --data data --part train --json
accept '"macro":{"precision":[0-9.]*,"recall":[0-9.]*,"specificity":[0-9.]*,"f1":[0-9.]*},"weighted"' eval --weights out/final.safetensors --data data --json
accept '^mean of classes ' eval --weights out/final.safetensors --data data --top 3
accept '^among the first 3: 0\.' eval --weights out/final.safetensors --data data --top 3
accept '^weighted error: 0\.[0-9]* (plain: ' eval --weights out/final.safetensors --data data --costs 3=10,5=0.5
accept 'avoidable bias [0-9.-]* points, variance' eval --weights out/final.safetensors --data data --diagnose --human 0.01
accept '^evaluated: report.html, metrics.json' eval --weights out/final.safetensors --data data --report evaluated --diagnose
for name in report.html metrics.json confusion.svg mistakes.png; do
    holds "eval wrote $name" test -s "evaluated/$name"
done
holds 'the report of an evaluation says what to do next' grep -q 'id="diagnosis"' evaluated/report.html
accept '^logistic and 1 more on data (test): accuracy' eval --weights out/final.safetensors --weights out/final.safetensors --data data
accept 'logistic on data (test): accuracy' eval --weights out/final.safetensors --data data --crops 5 --mirror --padding 1
"$plumb" eval --weights out/final.safetensors --data data --json | sed 's/"images_per_s":[0-9.]*,//' >one.json
"$plumb" eval --weights out/final.safetensors --weights out/final.safetensors --data data --json |
    sed 's/"images_per_s":[0-9.]*,//; s/"models":2/"models":1/' >two.json
holds 'a model twice says what it says once' test "$(grep -o '"accuracy":[0-9.]*' one.json)" = "$(grep -o '"accuracy":[0-9.]*' two.json)"
refuse 2 "crops: '3' is neither 1 nor 5" eval --weights out/final.safetensors --data data --crops 3
refuse 2 "costs: '9=x' is not CLASS=COST" eval --weights out/final.safetensors --data data --costs 9=x
refuse 2 '--human: needs --diagnose' eval --weights out/final.safetensors --data data --human 0.1
"$plumb" "${train[@]}" --lr 0.01 --out other >/dev/null 2>&1
accept '^lr  *- *0.01' compare out other --html compared.html --svg compared.svg
holds 'the page has the curves of both' test "$(grep -c '<path' compared.html)" -eq 8
holds 'and so has the picture' grep -q '</svg>' compared.svg
accept '"differences":{"lr":\["-","0.01"\]}' compare out other --json
accept '^no setting differs' compare out out
refuse 2 'which runs?' compare
refuse 5 'nowhere/history.jsonl' compare out nowhere
mkdir -p spoilt && cp out/settings.json spoilt && printf '{"epoch":1,"steps":2}\n{"epoch":' >spoilt/history.jsonl
refuse 2 'spoilt/history.jsonl: offset 3[0-9]: ' compare spoilt
printf '[1]\n' >spoilt/history.jsonl
refuse 2 'spoilt/history.jsonl: offset 0: is not a JSON object' compare spoilt
printf '{"epoch":"x"}\n' >spoilt/history.jsonl
refuse 2 'epoch or steps: are no numbers' compare spoilt
: >spoilt/history.jsonl
refuse 2 'spoilt/history.jsonl: ' compare spoilt
accept 'logistic says' predict 3 --weights out/final.safetensors --data data
accept '"probabilities":\[' predict --index 3 --weights out/final.safetensors --data data --json
refuse 2 'index 300: data has examples 0 to 299' predict 300 --weights out/final.safetensors --data data
refuse 2 'final.safetensors' eval --weights out/final.safetensors --data data --model mlp
accept 'test accuracy' train --data data --model logistic --epochs 1 --weights out/final.safetensors --batch 100000
accept '"done":true' "${train[@]}" --json
holds 'one JSON object a line' test "$(grep -c '^{.*}$' stdout)" -eq 3 -a "$(wc -l <stdout)" -eq 3
for key in test_accuracy test_loss train_images_per_s peak_memory_bytes; do
    holds "the last line has $key" grep -q "\"done\":true.*\"$key\":[0-9]" stdout
done
accept '"done":true' "${mlp[@]}" --json --accumulate 2 --label-smoothing 0.1 --average 0.9 --clip 1 --l2 0.1 --l1 0.1 \
    --lambda-scale course --schedule manual --rates 0.01,0.001 --freeze 'fc1*,!fc1.bias' --monitor train_loss --patience 1
accept '^    2 .* \*$' "${mlp[@]}" --dev 0.2 --patience 2 --augment crop=1,mixup --workers 2 --out dev
holds 'the history has the dev set' grep -q '^2,4,0.001,[0-9.]*,[0-9.]*,,,.*,[0-9.]*,[0-9.]*$' dev/history.csv
refuse 2 'augment: .foo. is unknown' "${mlp[@]}" --augment mirror,foo
refuse 2 'split: part 2 of 300 examples is empty' "${mlp[@]}" --dev 0.0001
refuse 2 '--patience: dev_loss is of a dev set' "${mlp[@]}" --patience 2
refuse 2 '--monitor: dev_accuracy is of a dev set' "${mlp[@]}" --monitor dev_accuracy
refuse 2 "freeze 'conv\*': no parameter is called so" "${train[@]}" --json --freeze 'conv*'
accept '^    1  .*$' train --data data --model logistic --steps 3 --batch 10
holds 'three steps are a part of an epoch' test "$(grep -c '^    [0-9]' stdout)" -eq 1
accept 'in batches of 128, ' train --data data --model logistic --epochs 1 --batch auto --memory 120KiB
refuse 2 'batch size: one example needs [0-9]* bytes in training, 1024 are allowed' train --data data --model logistic --batch auto \
    --memory 1KiB
accept 'the loss falls fastest at a rate of' train --data data --model mlp --batch 10 --optimizer sgd --find-lr --out rates
holds 'the search wrote its curve' test -s rates/rates.csv -a -s rates/rates.svg -a ! -e rates/final.safetensors
accept '"steepest":[0-9.e-]*,"least":[0-9.e-]*}' train --data data --model mlp --batch 10 --find-lr --json
search=(tune --try lr=1e-4:1:log --try batch=16,32 --trials 4 --out searched)
rest=(-- --data data --model logistic --epochs 2)
accept '^best: trial [0-3], test_accuracy 0.* (default: 0' "${search[@]}" "${rest[@]}"
holds 'the search left a table' test "$(wc -l <searched/trials.csv)" -eq 5
holds 'and a picture' grep -q '</svg>' searched/trials.svg
accept '^4 trials, 4 of them known' "${search[@]}" "${rest[@]}"
refuse 2 'searched/journal.jsonl: is of another search' "${search[@]}" --seed 2 "${rest[@]}" --json
head -c $(($(wc -c <searched/journal.jsonl) - 9)) searched/journal.jsonl >cut && mv cut searched/journal.jsonl
accept '^4 trials, 3 of them known' "${search[@]}" "${rest[@]}"
refuse 2 'what is to be tried?' tune
refuse 2 "try: 'lr=1:0' needs two numbers, the lower first" tune --try lr=1:0
refuse 2 "try: 'lr=0:1:log' needs numbers above 0" tune --try lr=0:1:log
refuse 2 "try: 'out=a,b' is set by the search itself" tune --try out=a,b
refuse 2 "is given twice" tune --try lr=0:1 --try lr=1:2
code 'a setting that train refuses ends the search' 2 "'$plumb' tune --try nothing=1,2 --out refused -- --data data --model logistic --epochs 1 2>told >told.out; got=\$?; grep -q 'unknown option --nothing' told && exit \$got"
killed=("${search[@]/searched/killed}" --stop none "${rest[@]/2/400}")
"$plumb" "${killed[@]}" >/dev/null 2>&1 &
pid=$!
for ((i = 0; i < 200 && $(cat killed/journal.jsonl 2>/dev/null | wc -l) < 2; i++)); do sleep 0.05; done
kill -9 $pid
wait $pid 2>/dev/null
accept '^4 trials, [123] of them known' "${killed[@]}"
holds 'a search that was killed goes on to its end' grep -q '^best: trial' stdout
holds 'and every trial stands in the table once' test "$(cut -d, -f2 killed/trials.csv | sort -u | wc -l)" -eq 5
for precision in bf16 f16; do
    accept 'test accuracy' "${mlp[@]}" --precision $precision --out $precision
    accept 'mlp on data (test): accuracy' eval --weights $precision/final.safetensors --data data --precision $precision
    accept 'mlp says' predict 3 --weights $precision/final.safetensors --data data --precision $precision
done
accept 'logistic, batch 64, adam, bf16, cpu' bench train --model logistic --precision bf16 --samples 3
accept '"checked":{"batch":1,"height":28,"ops":[0-9.e-]*,"loss":[0-9.e-]*,"gradients":[0-9.e-]*},"seconds":' bench train --model mlp --batch 1,2 --threads 1,2 --samples 3 --json
holds 'a row for each combination' test "$(grep -c '^{.*}$' stdout)" -eq 4
accept '"height":14,"threads":[0-9]*,"checked":false' bench train --model lenet5 --picture 14 --batch 2 --check none --samples 3 --json
accept '"bench":"start",.*"until_step":0.*"loaded_bytes":[0-9]' bench start --samples 3 --json
accept '"bench":"data","data":"data","batch":300,' bench data --data data --batch 1,300 --samples 3 --json
spec=(--samples 3 --least 0.001 --json)
accept '"op":"conv2d","name":"forward","shapes":"(2, 3, 9, 8) (4, 3, 3, 3) -> (2, 4, 5, 8) ","attributes":"stride=2x1,padding=1x1x1x1"' bench op conv2d --shapes 2x3x9x8,4x3x3x3 --set padding=1,stride=2x1 "${spec[@]}"
holds 'forward and both gradients' test "$(grep -c '"bench":"op"' stdout)" -eq 3 -a "$(grep -c backward stdout)" -eq 2
accept '"dtype":"bf16".*"difference":[0-9]' bench op max_pool2d --shapes 2x3x8x8 --set window=3x2,stride=1 --dtype bf16 --direction backward "${spec[@]}"
accept '"bench":"ratio","of":"cpu.native","to":"cpu.ref,cpu.none","ops":3,' bench op matmul --shapes 8x9,9x7 --compare cpu.native,cpu.ref,cpu.none "${spec[@]}"
accept '"shapes":"(8, 5) (8) (5) -> (8) (8) "' bench op cross_entropy --shapes 8x5,8:i32,5 --direction forward "${spec[@]}"
accept '"attributes":"axes=0x2",' bench op sum --shapes 3x4x5 --set axes=0x2 --direction forward "${spec[@]}"
accept '"op":"conv2d_backward_filter".*"layout":"last"' bench op conv2d --shapes 2x16x8x8,16x16x3x3 --layout last --direction backward "${spec[@]}"
accept '"implementation":"cpu.ref","layout":"rows"' bench op conv2d --shapes 2x16x8x8,16x16x3x3 --compare cpu.native.last@last,cpu.ref@rows "${spec[@]}"
holds 'each in its layout' test "$(grep -c '"layout":"last"' stdout)" -eq 3
accept '"op":"adam_update".*"count":1,' bench op --set-of mlp --batch 4 "${spec[@]}"
accept '^conv2d_backward_data (4, 16' bench op conv2d --set-of lenet5 --batch 4 --samples 3 --least 0.001
code 'attributes that an op lacks' 2 "'$plumb' bench op relu --shapes 4 --set padding=1 2>told >told.out; got=\$?; grep -q \"'padding' is none of relu's attributes\" told && exit \$got"
accept '^ *2 matmul  *cpu.native .*%' bench train --model logistic --samples 3 --profile
accept 'matmul  *cpu.native .*fc1.* (64, 784) (10, 784)' bench train --model logistic --samples 3 --profile-nodes
accept '"op":"matmul","implementation":"cpu.native","steps":2,"seconds":' bench train --model logistic --samples 3 --profile --json
accept '"skipped_steps":0' "${mlp[@]}" --precision f16 --loss-scale 64 --json
accept 'test accuracy' "${mlp[@]}" --loss-scale dynamic
for threads in 1 2 3; do
    "$plumb" "${mlp[@]}" --threads $threads --out threads$threads >/dev/null 2>&1
    holds "same weights with $threads threads" cmp threads1/final.safetensors threads$threads/final.safetensors
done
"$plumb" "${mlp[@]}" --seed 2 --out seed2 >/dev/null 2>&1
holds 'another seed, other weights' test -s seed2/final.safetensors -a "$(cmp -s seed2/final.safetensors threads1/final.safetensors; echo $?)" -eq 1

# ---- checkpoints ----
kept=(train --data data --model mlp --batch 50 --drop 0.2 --optimizer momentum --seed 3 --save-every 4 --keep 2)
accept 'test accuracy' "${kept[@]}" --epochs 60 --out whole --resume
holds 'nothing to resume is said' grep -q 'whole: nothing to resume, starting afresh' stderr
holds 'the newest checkpoints are there, and no others' test "$(cd whole && echo checkpoint-*)" = \
    'checkpoint-000000000356.safetensors checkpoint-000000000360.safetensors'
holds 'nobody holds the folder' test ! -e whole/lock
refuse 2 'whole: has a checkpoint of 360 batches' "${kept[@]}" --epochs 60 --out whole --json
refuse 2 "000360.safetensors: l2: was '0' and is now '0.5': another training" "${kept[@]}" --epochs 60 --out whole --resume --l2 0.5 --json
refuse 2 'options: batch size, optimizer' train --data data --model mlp --drop 0.2 --optimizer momentum --seed 3 --out whole --resume --json
refuse 2 "computed it, here it would be 'scalar'" "${kept[@]}" --epochs 60 --out whole --resume --isa scalar --json
code 'killed, it goes on where it was' 137 "exec '$plumb' ${kept[*]} --epochs 6000 --out part --threads 1 & pid=\$!; sleep 0.7; kill -KILL \$pid; wait \$pid"
holds 'it had come somewhere' test -n "$(ls part/checkpoint-*)"
rm -f part/lock # as after a reboot; a lock of nobody's does not hinder either
at=$(basename "$(ls part/checkpoint-*.safetensors | tail -n 1)" .safetensors)
epochs=$(((10#${at#checkpoint-} + 5) / 6 + 10))
accept 'test accuracy' "${kept[@]}" --epochs $epochs --out part --threads 2 --resume
holds 'and says where' grep -q 'resuming part after [1-9][0-9]* batches' stderr
accept 'test accuracy' "${kept[@]}" --epochs $epochs --out unbroken --threads 3
holds 'with the weights of the one that was not killed' cmp part/final.safetensors unbroken/final.safetensors
newest=$(ls part/checkpoint-*.safetensors | tail -n 1)
printf x | dd of="$newest" bs=1 seek=$(($(stat -c %s "$newest") - 100)) conv=notrunc 2>/dev/null # behind the header
"$plumb" "${kept[@]}" --epochs $epochs --out part --resume >stdout 2>stderr
holds 'a damaged one is skipped aloud' grep -q 'skipped part/checkpoint-.*: its checksum is wrong' stderr
holds 'and the one before ends alike' cmp part/final.safetensors unbroken/final.safetensors
code 'a second run in a folder is refused' 2 "'$plumb' ${kept[*]} --epochs 100000 --out both >/dev/null & pid=\$!; sleep 0.7
     '$plumb' ${kept[*]} --out both 2>told; got=\$?; kill -INT \$pid; wait \$pid; grep -q 'both: another run is using this folder: process ' told && exit \$got"

# ---- the world outside ----
args="${train[*]}"
code 'standard output is full' 5 "'$plumb' ops >/dev/full"
code 'standard output is closed' 5 "'$plumb' ops >&-"
code 'training with standard output closed keeps its results' 5 "'$plumb' $args --out closed >&-"
holds 'and wrote them' test -s closed/final.safetensors
code 'the reader goes away' 5 "(sleep 0.3; exec '$plumb' ops --json) | true; exit \${PIPESTATUS[0]}"
code 'all standard streams closed' 5 "'$plumb' $args --out streams <&- >&- 2>&-"
holds 'and no message in a file' test "$(head -c 1 streams/history.csv)" = e
code 'a German locale' 0 "LC_ALL=de_DE.UTF-8 '$plumb' $args --lr 0.01 --out german"
holds 'still writes points' grep -q '^1,6,0\.' german/history.csv
code 'no HOME, odd OMP_NUM_THREADS, odd TZ' 0 "env -u HOME OMP_NUM_THREADS=abc TZ=x '$plumb' $args"
code 'eight open files' 0 "ulimit -n 8; '$plumb' $args --out few"
code 'files may not grow' 5 "ulimit -f 1; '$plumb' $args --out limited"
holds 'nothing half written is left' test -z "$(find limited -name '*.tmp*' -o -name 'final.safetensors')"
code 'the working folder is gone' 0 "mkdir gone; cd gone; rmdir ../gone; '$plumb' ops >/dev/null"
code 'Ctrl-C saves and says so' 130 "'$plumb' train --data data --epochs 100000 --model mlp --out interrupted & pid=\$!; sleep 1; kill -INT \$pid; wait \$pid"
holds 'and the weights are there' test -s interrupted/final.safetensors
# Both signals wait while it is stopped, so that no step can end between them.
code 'two signals leave at once' 0 "'$plumb' train --data data --epochs 100000 --model mlp --out twice & pid=\$!; sleep 1; kill -STOP \$pid; kill -INT \$pid; kill -TERM \$pid; kill -CONT \$pid; wait \$pid; got=\$?; [ \$got -eq 130 ] || [ \$got -eq 143 ]"
holds 'and saves nothing' test ! -e twice/final.safetensors
code 'a forced implementation that is not there' 2 "PLUMB_IMPL='relu=cpu.none' '$plumb' ${mlp[*]}"
code 'a dumb terminal gets no bar' 0 "TERM=dumb '$plumb' $args 2>&1 | grep -c ETA | grep -qx 0"

printf '%d passed, %d failed, 0 skipped\n' "$passed" "$failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
