# `make demo` and `make test` do all of it on a fresh Debian 12: packages, configure,
# build, run. The steps are in tools/; CMakePresets.json has the builds.
.PHONY: help demo demo-farm test faults build install-deps asan tsan clang tidy fuzz slurm systemd format package clean

help:
	@echo "make demo      score a small film with the built-in model, and make a page of it: out/"
	@echo "make demo-farm a coordinator, three workers and four films on this machine, with a page to watch: out/farm/"
	@echo "make test      all of the proof: gcc and clang, sanitizers, validation, lint, fuzzing"
	@echo "make build     build/release/underscore"
	@echo "make package   build/release/underscore*.deb and a tarball"
	@echo "make tidy      clang-tidy and the form, as in make test"
	@echo "make asan | tsan | clang    every test under AddressSanitizer or ThreadSanitizer, or as clang builds them; make test runs fewer"
	@echo "make faults    kill, cut and fill up a farm of real processes, in full, and print a table; then fuzz"
	@echo "               wire, settings and ledger, and play a million farms on a simulated clock. Takes hours"
	@echo "make fuzz      fuzz every reader of foreign bytes; FUZZ_SECONDS=600 for each"
	@echo "make slurm     try the scripts of conf/slurm/ on a Slurm of their own, on this machine; as root"
	@echo "make systemd   try the packages and the units on a systemd of their own, in a container; as root"
	@echo "make format    clang-format over our C"
	@echo "make clean     remove build/ and out/"
	@echo "SKIP_DEPS=1 leaves the system's packages alone"

demo:
	@tools/install-deps.sh demo
	@echo "Building build/release"
	@tools/build.sh release -DUNDERSCORE_TESTS=OFF
	@tools/demo.sh

demo-farm:
	@tools/install-deps.sh demo
	@echo "Building build/release"
	@tools/build.sh release -DUNDERSCORE_TESTS=OFF
	@tools/demo-farm.sh

test:
	@tools/install-deps.sh test
	@tools/test.sh

faults:
	@tools/install-deps.sh test
	@status=0; tools/faults.sh || status=1; tools/fuzz.sh 600 wire config ledger || status=1; \
	tools/simulation.sh || status=1; exit $$status

build:
	@tools/install-deps.sh build
	@echo "Building build/release"
	@tools/build.sh release -DUNDERSCORE_TESTS=OFF

package: build
	@cd build/release && cpack

asan tsan clang tidy:
	@tools/install-deps.sh test
	@tools/test.sh $@


fuzz:
	@tools/install-deps.sh test
	@tools/fuzz.sh $(or $(FUZZ_SECONDS),600)

slurm:
	@tools/install-deps.sh slurm
	@tools/build.sh release -DUNDERSCORE_TESTS=ON
	@ctest --test-dir build/release -C slurm -R '^slurm_e2e$$' --no-tests=error --output-on-failure

systemd:
	@tools/install-deps.sh systemd
	@tools/build.sh release -DUNDERSCORE_TESTS=ON
	@rm -f build/release/underscore*.deb
	@cd build/release && cpack -G DEB > /dev/null
	@ctest --test-dir build/release -C systemd -R '^systemd_e2e$$' --no-tests=error --output-on-failure

format:
	@tools/sources.sh | xargs clang-format -i

clean:
	rm -rf build out
