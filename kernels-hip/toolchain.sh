#!/bin/sh
# Installs what the HIP build and its tests need, where apt-get can: a clang that compiles for AMD's
# GPUs, its linker, the disassembler of the gates, and the llvm-mc that the simulator's decoder is
# compared with.
set -eu

fail() {
    echo "error: $1" >&2
    exit 1
}

# The same questions as in build/toolchain.rs.
is_suitable() {
    release=$("$1" --version 2>/dev/null | sed -n '1s/.*clang version \([0-9]*\)\..*/\1/p')
    [ "${release:-0}" -ge 19 ] || return 1
    processors=$("$1" --target=amdgcn-amd-amdhsa --print-supported-cpus 2>&1) || return 1
    for architecture in gfx90a gfx942 gfx950; do
        echo "$processors" | grep -Eq "^[[:space:]]*$architecture\$" || return 1
    done
    [ -f "$("$1" -print-prog-name=ld.lld)" ]
}

has_compiler() {
    if [ -n "${HIP_CLANG:-}" ]; then
        is_suitable "$HIP_CLANG" ||
            fail "HIP_CLANG=$HIP_CLANG is no clang of release 19 or later, with lld, for gfx950"
        return 0
    fi
    for clang in ${ROCM_PATH:+"$ROCM_PATH/llvm/bin/clang++"} /opt/rocm/llvm/bin/clang++ \
        clang-22 clang-21 clang-20 clang-19 clang; do
        if is_suitable "$clang"; then
            return 0
        fi
    done
    return 1
}

# The releases whose text the simulator's tests know.
has_disassembler() {
    for mc in llvm-mc-22 llvm-mc-23 llvm-mc-24 llvm-mc; do
        case $("$mc" --version 2>/dev/null) in
        *"LLVM version 2"[2-4].*) return 0 ;;
        esac
    done
    return 1
}

has_compiler && has_disassembler && exit 0
packages="clang-22 lld-22 llvm-22"
remedy="install clang 22, lld 22 and llvm 22 (Debian: $packages), or set HIP_CLANG to ROCm's clang"
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    fail "no clang that compiles for gfx950, or no llvm-mc of release 22 to 24: $remedy"
fi
echo "installing $packages"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
{ apt-get update && apt-get install -y --no-install-recommends $packages; } >/dev/null 2>&1 ||
    fail "apt-get could not install $packages: $remedy"
has_compiler || fail "what apt-get installed does not compile for gfx950: $remedy"
