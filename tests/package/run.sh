#!/bin/sh
# What a user of the registry's packages gets: packages every crate, unpacks them in an empty folder, and builds a
# program on them with both platforms, offline, where cargo, rustc and a linker are all there is: no compiler for
# devices, no Python, no pin of CUDA's version. The program runs an operator on simulated devices. Images
# that do not fit the sources must be an error, and documentation must need neither images nor compilers.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tests/package
crates="expertile-reference expertile-kernels-cuda expertile-kernels-hip expertile expertile-simulator"
most_bytes=10000000

fail() {
    echo "error: package-test: $1" >&2
    exit 1
}

# One folder for each checkout, so that builds of several runs do not pile up; outside of the repository, whose
# configuration and toolchain would be found from within.
work=${TMPDIR:-/tmp}/expertile-package-$(id -u)-$(echo "$root" | cksum | cut -d' ' -f1)
trap 'rm -rf "$work"' EXIT
rm -rf "$work"
mkdir -p "$work/path"

# --- The packages.

cd "$root"
cargo fetch --quiet --target "$(rustc -vV | sed -n 's/^host: //p')"
out=$root/target/package-test
rm -rf "$out/package"
packages=$(printf -- '-p %s ' $crates)
# The lock file of a package names the others, which no registry has before they are published.
# shellcheck disable=SC2086
cargo package --quiet --offline --no-verify --allow-dirty --exclude-lockfile --target-dir "$out" $packages \
    2>"$work/log" || { cat "$work/log" >&2; fail "cargo package"; }

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
for crate in $crates; do
    file=$out/package/$crate-$version.crate
    bytes=$(wc -c <"$file")
    [ "$bytes" -le "$most_bytes" ] || fail "$crate has $bytes bytes, a registry takes $most_bytes"
    # With the time of today: cargo would take the packages' old times for unchanged files.
    tar -xzmf "$file" -C "$work"
    folder=$work/$crate-$version
    for name in README.md LICENSE-MIT LICENSE-APACHE; do
        [ -s "$folder/$name" ] || fail "$crate has no $name"
    done
    links=$(find "$work/$crate-$version" -type l)
    [ -z "$links" ] || fail "links in $crate: $links"
    strange=$(cd "$folder" && find . -path './models*' -o -path './.*/*' -o -name golden -o -name '*.safetensors' -o -name '*.patch')
    [ -z "$strange" ] || fail "$crate carries $strange"
    echo "$crate: $bytes bytes"
done

for platform in cuda hip; do
    folder=$work/expertile-kernels-$platform-$version
    for name in kernels.h sincos.h float_bits.h router.h routing.h build/jobs.rs build/manifest.rs; do
        cmp "$root/kernels-$platform/$name" "$folder/$name" || fail "expertile-kernels-$platform: $name"
    done
    cmp "$root/kernels-$platform/prebuilt/manifest" "$folder/prebuilt/manifest" ||
        fail "expertile-kernels-$platform carries other images than make prebuilt made"
done

# --- The program.

mkdir "$work/program"
cp "$here/operator.rs" "$work/program/main.rs"
cp "$root/Cargo.lock" "$work/Cargo.lock"
{
    # Quick to build, and quick enough for one operator.
    echo '[profile.dev]'
    echo 'debug = false'
    echo '[workspace]'
    echo 'resolver = "3"'
    echo 'members = ["program", "expertile*"]'
    # In place of the registry's.
    echo '[patch.crates-io]'
    for crate in $crates; do
        echo "$crate = { path = \"$crate-$version\" }"
    done
} >"$work/Cargo.toml"
cat >"$work/program/Cargo.toml" <<EOF
[package]
name = "program"
version = "0.0.0"
edition = "2024"

[[bin]]
name = "program"
path = "main.rs"

[dependencies]
expertile = { version = "$version", features = ["cuda", "hip"] }
expertile-reference = "$version"
half = "2.7"
EOF

sysroot=$(rustc --print sysroot)
for tool in cargo rustc rustdoc; do
    ln -s "$sysroot/bin/$tool" "$work/path/$tool"
done
for tool in cc ld; do
    ln -s "$(command -v $tool)" "$work/path/$tool"
done

# bare COMMAND...: with nothing of this machine but Rust, its registry's files and a linker.
bare() {
    (cd "$work" && env -i PATH="$work/path" HOME="$work" CARGO_HOME="${CARGO_HOME:-$HOME/.cargo}" \
        CARGO_TARGET_DIR="$out/target" CARGO_NET_OFFLINE=true CARGO_TERM_COLOR=never "$@")
}

# Compilers in the places where builds look without being told cannot be hidden, but refused.
refused=
[ ! -e /usr/local/cuda/bin/nvcc ] || refused="NVCC="
[ ! -e /opt/rocm/llvm/bin/clang++ ] || refused="$refused HIP_CLANG="

# shellcheck disable=SC2086
bare $refused cargo build --quiet -p program -p expertile-simulator 2>"$work/log" ||
    { cat "$work/log" >&2; fail "the packages do not build"; }
bare "$out/target/debug/simulate" sm_90a,gfx942 "$out/target/debug/program" ||
    fail "the program failed"

# --- Images that do not fit.

# must_refuse CRATE MESSAGE: the build's errors are that line, and cargo's own.
must_refuse() {
    # shellcheck disable=SC2086
    if bare $refused cargo check --quiet -p program 2>"$work/log"; then
        fail "built although: $2"
    fi
    errors=$(grep '^error' "$work/log" | grep -v '^error: build script logged errors$') || true
    case $errors in
    "error: $1@$version: $2"*) ;;
    *) cat "$work/log" >&2; fail "expected the one error: $2" ;;
    esac
    [ "$(echo "$errors" | wc -l)" = 1 ] || { cat "$work/log" >&2; fail "more than one error"; }
}

for platform in cuda hip; do
    case $platform in
    cuda) compiler="CUDA compiler" source=rope.cu image=rope.sm_90a.zst ;;
    hip) compiler="HIP compiler" source=rope.hip image=rope.gfx942.zst ;;
    esac
    crate=expertile-kernels-$platform
    folder=$work/$crate-$version

    cp "$folder/$source" "$work/kept"
    echo "// Another kernel." >>"$folder/$source"
    must_refuse $crate "no $compiler, and the prebuilt kernels were made from another $source: "
    cp "$work/kept" "$folder/$source"

    mv "$folder/prebuilt/$image" "$work/kept"
    must_refuse $crate "$folder/prebuilt/$image: "
    mv "$work/kept" "$folder/prebuilt/$image"

    mv "$folder/prebuilt" "$work/kept-images"
    must_refuse $crate "no $compiler and no prebuilt kernels: "
    mv "$work/kept-images" "$folder/prebuilt"
done

# --- Compilers that are there and not wanted: an empty variable takes the package's images. These compile nothing.

mkdir "$work/compilers"
printf '#!/bin/sh\necho "release 13.9,"\n' >"$work/compilers/nvcc"
cat >"$work/compilers/clang" <<'EOF'
#!/bin/sh
case $1 in
--version) echo "clang version 22.9.9" ;;
--target=*) printf 'gfx90a\ngfx942\ngfx950\n' ;;
-print-prog-name=*) echo "$0" ;;
*) exit 1 ;;
esac
EOF
chmod +x "$work/compilers"/*
for variable in NVCC HIP_CLANG; do
    case $variable in
    NVCC) crate=expertile-kernels-cuda ;;
    HIP_CLANG) crate=expertile-kernels-hip ;;
    esac
    # A change of the path alone is no reason for cargo to build again.
    touch "$work/$crate-$version/kernels.h"
    if bare PATH="$work/compilers:$work/path" cargo check --quiet -p $crate 2>"$work/log"; then
        fail "$crate did not ask the compiler on the path"
    fi
    bare PATH="$work/compilers:$work/path" $variable= cargo check --quiet -p $crate 2>"$work/log" ||
        { cat "$work/log" >&2; fail "$variable= did not take the images of $crate"; }
done

# --- Documentation, as the registry's machines make it: with neither.

rm -r "$work"/expertile-kernels-*/prebuilt
bare DOCS_RS=1 RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps --features expertile/cuda,expertile/hip \
    $packages 2>"$work/log" || { cat "$work/log" >&2; fail "the documentation does not build"; }
echo "package-test: passed"
