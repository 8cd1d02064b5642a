#!/usr/bin/env bash
# Breaks the code on purpose and wants to see red: for each patch, applies it to a copy of the tree,
# builds, runs the one test it names on a simulated device, and requires that test's message. A patch
# that does not apply or build is a failure, not a kill. A patch without a line `device:` is for sm_90a.
# With `package: expertile-simulator` it breaks the simulator itself, whose tests need no device.
#
#   run.sh            every mutant
#   run.sh COUNT      as many, another choice each day, spread over the sorted names: of both vendors
#                     and of the simulator from 5 on
#   run.sh NAME...    these
set -euo pipefail

root=$(cd "$(dirname "$0")/../../.." && pwd)
here=src/tests/mutants
copy=$root/target/mutants
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
# A broken simulator must not be where others look for a whole one.
simulator_target=$root/target/mutants-simulator

cd "$root"
mapfile -t names < <(cd "$here" && ls ./*.patch | sed 's,^\./,,; s,\.patch$,,' | sort)
if [[ $# -gt 0 && $1 =~ ^[0-9]+$ ]]; then
    all=("${names[@]}") names=()
    count=$(($1 < ${#all[@]} ? $1 : ${#all[@]}))
    for ((i = 0; i < count; ++i)); do
        names+=("${all[(10#$(date +%j) + i * ${#all[@]} / count) % ${#all[@]}]}")
    done
elif [[ $# -gt 0 ]]; then
    names=("$@")
fi

field() { sed -n "s/^$2: //p" "$here/$1.patch" | head -1; }

# The copy holds what is tracked and what is new, so that uncommitted work is tested too.
refresh() {
    mkdir -p "$copy"
    git ls-files -z --cached --others --exclude-standard |
        while IFS= read -r -d '' file; do [[ -e $file || -L $file ]] && printf '%s\0' "$file"; done |
        tar --null -T - -cf - | tar -xf - -C "$copy"
    [[ -e .toolchain ]] && ln -sfn "$root/.toolchain" "$copy/.toolchain"
    return 0
}

# One set of features for both vendors, so that nothing is built twice. The simulator is built anew for
# each mutant, hence quickly.
build_product=(cargo test --release -p expertile --features "cuda,hip")
build_simulator=(env CARGO_TARGET_DIR="$simulator_target" CARGO_PROFILE_RELEASE_OPT_LEVEL=1
    CARGO_PROFILE_RELEASE_DEBUG=false cargo test --release -p expertile-simulator)
failures=0
printf '%-20s %-12s %s\n' mutant kind result
refresh
for name in "${names[@]}"; do
    patch=$root/$here/$name.patch
    [[ -f $patch ]] || { echo "no mutant $name"; exit 1; }
    target=(--lib)
    [[ $(field "$name" target) == lib ]] || target=(--test "$(field "$name" target)")
    test=$(field "$name" test)
    message=$(field "$name" message)
    device=$(field "$name" device)
    device=${device:-sm_90a}
    require=simulated
    [[ $device != *sm_* ]] || require+=,cuda
    [[ $device != *gfx* ]] || require+=,hip
    build=("${build_product[@]}") run=("$CARGO_TARGET_DIR/release/simulate" "$device")
    if [[ $(field "$name" package) == expertile-simulator ]]; then
        build=("${build_simulator[@]}") run=() require=cuda,hip
    fi
    log=$copy/$name.log
    files=$(sed -n 's,^+++ b/,,p' "$patch")
    result=
    if ! (cd "$copy" && patch -p1 --silent --no-backup-if-mismatch <"$patch") >"$log" 2>&1; then
        result="does not apply"
    elif ! (cd "$copy" && "${build[@]}" "${target[@]}" --no-run) >"$log" 2>&1; then
        result="does not build"
    elif (cd "$copy" && EXPERTILE_REQUIRE=$require timeout 300 "${run[@]}" \
        "${build[@]}" "${target[@]}" -- --exact "$test") >"$log" 2>&1; then
        result="SURVIVED"
    elif ! grep -qE "$message" "$log"; then
        result="killed without \"$message\""
    fi
    for file in $files; do cp -P "$root/$file" "$copy/$file"; touch "$copy/$file"; done
    printf '%-20s %-12s %s\n' "$name" "$(field "$name" kind)" "${result:-killed by $test: $message}"
    [[ -z $result ]] || { failures=$((failures + 1)); tail -5 "$log"; }
done
[[ $failures == 0 ]] || { echo "$failures of ${#names[@]} mutants were not killed as they should be"; exit 1; }
