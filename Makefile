# Every test of the repository: make test. Needs Rust, python3 (for pip, which brings CUDA's compiler), and a
# clang that compiles for AMD's GPUs, which is installed if apt-get may do it.

# Features of the reference, for its own tests and the examples.
FEATURES := expertile-reference/checkpoint,expertile-reference/fast

# What the tests and benches of devices need.
DEVICES := expertile/cuda,expertile/hip,expertile/probes,expertile/capi

# Runs a command on simulated devices.
SIMULATE := cargo run --quiet --release -p expertile-simulator --bin simulate --

# What runs on devices; one that EXPERTILE_REQUIRE names and that is missing is a failure.
ON_DEVICES := cargo test --release --features $(DEVICES)

# The tests that ask devices, and what replays the fuzz corpus on them.
DEVICE_TESTS := -p expertile -p expertile-fuzz --lib --test simulated --test faults --test info --test corpus

# The package that plugs the operators into candle: a workspace, a lock file and builds of its own.
CANDLE := --locked --manifest-path examples/candle/Cargo.toml --target-dir target/candle

# Where `make install` puts the C library, and for which platforms it is built.
PREFIX ?= /usr/local
CAPI_FEATURES ?= capi,cuda,hip
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# Of the C ABI: one that breaks it gets another number.
SONAME := libexpertile.so.0
HOST = $(shell rustc -vV | sed -n 's/^host: //p')

.PHONY: install test test-deep mutants toolchain c-toolchain prebuilt asan lint unpinned package-test release-check bench peers peers-self-test gpu-kit ledger kit-test

# The simulator, then the rest without a driver, then on simulated devices, then the packages, the kit and a
# few of the mutants. The prebuilt images come first: new files in a folder of kernels make cargo build it again.
test: toolchain c-toolchain prebuilt lint
	EXPERTILE_REQUIRE=cuda,hip,llvm cargo test --release -p expertile-simulator
	cargo test --release --workspace --exclude expertile-simulator --features $(FEATURES),$(DEVICES)
	EXPERTILE_REQUIRE=cuda,simulated $(SIMULATE) sm_80,sm_90a $(ON_DEVICES) $(DEVICE_TESTS)
	EXPERTILE_REQUIRE=hip,simulated $(SIMULATE) gfx90a,gfx942 $(ON_DEVICES) $(DEVICE_TESTS)
	EXPERTILE_REQUIRE=cuda,hip,simulated,numpy $(SIMULATE) sm_90a,gfx942 $(ON_DEVICES) -p expertile --test capi
	EXPERTILE_REQUIRE=cuda $(SIMULATE) sm_90a cargo test $(CANDLE)
	examples/candle/cuda.sh test
	PROPTEST_CASES=8 EXPERTILE_REQUIRE=cuda,hip $(SIMULATE) sm_89,gfx950 $(ON_DEVICES) -p expertile --lib
	$(SIMULATE) sm_90a,gfx942 cargo test --release --workspace --exclude expertile-simulator --benches --features $(FEATURES),$(DEVICES)
	EXPERTILE_REQUIRE=hip $(SIMULATE) gfx942 cargo test --release -p expertile --features rocm-rs --lib hip::
	$(MAKE) unpinned package-test kit-test
	src/tests/mutants/run.sh 5

# The same checks on many more samples.
test-deep: toolchain c-toolchain lint
	EXPERTILE_REQUIRE=cuda,hip,llvm EXPERTILE_SIM_SEEDS=1000 cargo test --release -p expertile-simulator
	PROPTEST_CASES=4096 cargo test --release --workspace --exclude expertile-simulator --features $(FEATURES),$(DEVICES)
	PROPTEST_CASES=2048 EXPERTILE_REQUIRE=cuda,hip,simulated $(SIMULATE) sm_80,sm_89,sm_90a,gfx90a,gfx942,gfx950 $(ON_DEVICES) $(DEVICE_TESTS)
	src/tests/mutants/run.sh

# Breaks the code in every way listed in src/tests/mutants and requires that a test notices.
mutants: toolchain
	cargo build --release -p expertile-simulator
	src/tests/mutants/run.sh

# The bad calls from C under AddressSanitizer, which needs a nightly Rust. Arguments lie in exactly as many
# bytes as their struct_size states.
asan: toolchain
	cargo build --release -p expertile-simulator
	EXPERTILE_REQUIRE=cuda,hip,simulated RUSTFLAGS=-Zsanitizer=address ASAN_OPTIONS=detect_leaks=0 \
		target/release/simulate sm_90a,gfx942 cargo +nightly test --release --target $(HOST) \
		--features $(CAPI_FEATURES) -p expertile --test capi -- bad:: calls::

# The reference is linted without its features too: the operators must build alone. So are the features
# of the root that nothing below needs.
lint: toolchain
	cargo fmt --all --check
	cargo clippy --release -p expertile-reference -- -D warnings
	cargo clippy --release -p expertile --all-targets -- -D warnings
	cargo clippy --release -p expertile --all-targets --features hip -- -D warnings
	cargo clippy --release -p expertile --features rocm-rs -- -D warnings
	cargo clippy --release -p expertile --features capi -- -D warnings
	cargo clippy --release --workspace --all-targets --features $(FEATURES),$(DEVICES) -- -D warnings
	cargo fmt --manifest-path examples/candle/Cargo.toml --check
	cargo clippy $(CANDLE) --all-targets -- -D warnings
	examples/candle/cuda.sh lint
	RUSTDOCFLAGS="-D warnings" cargo doc --release --no-deps --workspace --features $(FEATURES),$(DEVICES)

# Installs what a clean machine lacks, and says in one line what it cannot install.
toolchain:
	@command -v cargo >/dev/null || { echo "error: no cargo: install Rust 1.88 or later"; exit 1; }
	@cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
	@cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
	@command -v cc >/dev/null || { echo "error: no cc: Rust needs a linker (Debian: gcc)"; exit 1; }
	@sh kernels-cuda/toolchain.sh
	@sh kernels-hip/toolchain.sh

# What the tests of the C library and its example in Python need beside that.
c-toolchain:
	@{ command -v c++ && command -v pkg-config && command -v readelf; } >/dev/null || \
		{ apt-get update && apt-get install -y --no-install-recommends g++ pkg-config binutils; } >/dev/null 2>&1 || \
		{ echo "error: no c++, pkg-config or readelf (Debian: g++, pkg-config, binutils)"; exit 1; }
	@sh kernels-cuda/toolchain.sh numpy

# The compiled kernels and the hashes of their sources, for a package that needs no compiler.
prebuilt: toolchain
	cargo run --release -p expertile-kernels-cuda --example prebuilt-cuda -- kernels-cuda/prebuilt
	cargo run --release -p expertile-kernels-hip --example prebuilt-hip -- kernels-hip/prebuilt

# Without the pin of .cargo/config.toml, which is not found from the root of the file system: with the
# bindings that cudarc chooses for its users.
unpinned: toolchain
	cd / && env -u CUDARC_CUDA_VERSION cargo check --release --manifest-path $(CURDIR)/Cargo.toml -p expertile --features cuda \
		--target-dir $(CURDIR)/target/unpinned

# The packages of the registry, built and used without compilers for devices, network and Python.
package-test: prebuilt
	tests/package/run.sh

# What is asked before a release: what dependencies may be (deny.toml), every set of features of what is published.
release-check: toolchain package-test
	@cargo deny --version >/dev/null 2>&1 || cargo install --locked cargo-deny || { echo "error: no cargo-deny: cargo install cargo-deny"; exit 1; }
	@cargo hack --version >/dev/null 2>&1 || cargo install --locked cargo-hack || { echo "error: no cargo-hack: cargo install cargo-hack"; exit 1; }
	cargo deny --workspace --all-features check licenses sources bans
	cargo deny --manifest-path examples/candle/Cargo.toml --all-features --config deny.toml check licenses sources bans
	RUSTFLAGS="-D warnings" cargo hack check --release --target-dir target/release-check --workspace --exclude expertile-kit --exclude expertile-fuzz --feature-powerset --skip default

# Header, shared and static library and pkg-config file; DESTDIR goes before PREFIX. The crate types are
# named here and not in Cargo.toml, so that no other build links them. The release profile keeps this
# crate's overflow checks: a failed one is a status.
install: toolchain
	cargo rustc --release -p expertile --lib --features $(CAPI_FEATURES) --crate-type cdylib,staticlib -- \
		-C strip=debuginfo -C link-arg=-Wl,-soname,$(SONAME)
	install -d $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/lib/pkgconfig
	install -m 644 include/expertile.h $(DESTDIR)$(PREFIX)/include/
	install -m 755 target/release/libexpertile.so $(DESTDIR)$(PREFIX)/lib/libexpertile.so.$(VERSION)
	ln -sf libexpertile.so.$(VERSION) $(DESTDIR)$(PREFIX)/lib/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(PREFIX)/lib/libexpertile.so
	install -m 644 target/release/libexpertile.a $(DESTDIR)$(PREFIX)/lib/
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' src/capi/expertile.pc.in \
		> $(DESTDIR)$(PREFIX)/lib/pkgconfig/expertile.pc

bench: toolchain
	cargo bench --bench operators --features $(DEVICES)
	cargo bench --bench dbrx

# The kit for a machine with a GPU: target/gpu-kit, and beside it a .tar.gz (benches/kit/README.md).
gpu-kit: toolchain
	cargo run --quiet --release -p expertile-kit --bin pack

# The kit on simulated devices, unpacked where nothing of Rust is found.
kit-test: gpu-kit
	cargo build --quiet --release -p expertile-simulator
	EXPERTILE_REQUIRE=kit EXPERTILE_KIT=$(CURDIR)/target/gpu-kit.tar.gz EXPERTILE_SIMULATE=$(CURDIR)/target/release/simulate \
		EXPERTILE_CUDA_LIBRARIES=$(CURDIR)/target/candle/stubs/run cargo test --release -p expertile-kit --test kit

# The images that no device has proven; EXPERTILE_BLESS=1 writes the README's support table.
ledger: toolchain
	cargo run --quiet --release -p expertile-kit --bin ledger

# The CPU peer; needs Python with torch, transformers, safetensors, tokenizers.
peers:
	python3 benches/peers/transformers_cpu.py

# The peers on a GPU, checked at tiny extents; needs Python with torch and triton, and no GPU.
peers-self-test:
	python3 benches/peers/gpu.py --self-test
