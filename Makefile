# make demo    see Nile at work on a cluster made on this machine, and gone afterwards
# make check   everything that must pass: format, lint, types, layers, tests
# make bench   Nile beside pdsh, clush, TakTuk and pssh, and by itself; then copies, beside rsync; then swarms,
#              beside aria2; writes docs/benchmarks*.md
# make soak    many runs of simulated clusters with faults, then fuzzing: make soak SEEDS=10000 FUZZ_SECONDS=600;
#              faults in a lab, 100,000 files and 20 GB of holes, and Hypothesis by chance after that; what fails is
#              named, with what replays it
# make clean   remove what these made

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
.PHONY: help demo check bench soak clean needs test-needs bench-needs

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
DEMO_HOSTS ?= 12
BENCH ?= --hosts 100 --repeat 5 --write docs/benchmarks.md
# The same of tests.bench.exec_figures, which puts its section into that page.
FIGURES ?= --write docs/benchmarks.md
# Cases and options of tests.bench.sync_bench; all of them, by default.
COPIES ?= --write docs/benchmarks-copies.md
# The same of tests.bench.swarm_bench.
SWARMS ?= --write docs/benchmarks-swarm.md
JOBS ?= 2
# Of pytest: what failed last.
CACHE ?= .pytest_cache
SEEDS ?= 1000
SOAK ?= --hosts 200 --faults 14
FUZZ_SECONDS ?= 120
# Not written where they are used: a comma there ends an argument.
FUZZ_NEEDS := .[test,fuzz]
BENCH_NEEDS := .[test,bench]

help:
	@sed -n '/^# make/,/^$$/s/^# //p' Makefile

# What the machine itself must have. `$python` becomes the interpreter to build the environment with,
# `$missing` the Debian packages that bring what isn't there.
define find_needs
python= missing=
for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
	if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
		python=$$candidate
		break
	fi
done
if [ -z "$$python" ]; then
	echo "Missing: Python 3.11 or later (here: $$(python3 --version 2>/dev/null || echo none)); Debian has it from 12 on" >&2
	missing+=" python3 python3-venv"
elif ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then
	echo "Missing: the venv module of $$python" >&2
	missing+=" $$python-venv"
fi
if ! command -v ssh >/dev/null; then
	echo "Missing: the ssh client" >&2
	missing+=" openssh-client"
fi
endef

# Install Debian packages, if they aren't there and root asks; $(1): the packages.
define install_debian
absent=
for package in $(1); do
	[[ $$(dpkg-query -W -f '$${db:Status-Status}' "$$package" 2>/dev/null) == installed ]] || absent+=" $$package"
done
if [ -n "$$absent" ]; then
	echo "Installing Debian packages:$$absent"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$absent >/dev/null
fi
endef

needs:
	@$(find_needs)
	if [ -n "$$missing" ]; then
		echo "Install it with:  sudo apt-get install$$missing" >&2
		exit 1
	fi

# Tests want more than the demo; root gets it installed, anyone else is told.
test-needs:
	@$(find_needs)
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		# Only their programs are wanted, and no service that listens.
		if [ -d /run/systemd/system ]; then
			if ! command -v opentracker >/dev/null; then systemctl --quiet mask opentracker; fi
			if ! command -v krb5kdc >/dev/null; then systemctl --quiet mask krb5-kdc krb5-admin-server; fi
		fi
		$(call install_debian,$$missing openssh-client openssh-server iproute2 procps rsync sudo util-linux zsh tcsh fish busybox gcc libc6-dev aria2 opentracker bubblewrap \
			krb5-kdc krb5-admin-server krb5-user)
	elif [ -n "$$missing" ]; then
		echo "Install it with:  sudo apt-get install$$missing" >&2
		exit 1
	fi

bench-needs:
	@if [ "$$(id -u)" != 0 ]; then
		echo "make bench needs root: its hosts are network namespaces with a real sshd" >&2
		exit 1
	fi
	$(call install_debian,openssh-client openssh-server iproute2 procps pdsh clustershell taktuk pssh)

# Fill the environment, if pyproject.toml is newer than its stamp; $(1): the stamp, $(2): what to install.
# One whose interpreter is gone, or that was made for another place, is made anew.
define install
if ! $(BIN)/python -c '' 2>/dev/null || [[ $$(cat $(VENV)/.place 2>/dev/null) != "$(CURDIR)" ]]; then
	"$$python" -m venv --clear $(VENV)
	echo "$(CURDIR)" > $(VENV)/.place
fi
if [ ! $(VENV)/$(1) -nt pyproject.toml ]; then
	echo "Installing $(2) into $(VENV)"
	$(PIP) install --editable '$(2)'
	touch $(VENV)/$(1)
fi
endef

# Its own state directory, so that a lab and runs of the user's own are left alone.
demo: needs
	@$(find_needs)
	$(call install,.installed,.)
	export XDG_STATE_HOME=$$(mktemp -d) PATH="$(CURDIR)/$(BIN):$$PATH"
	finish() {
		code=$$?
		trap - EXIT
		nile lab down || code=1
		rm -rf "$$XDG_STATE_HOME"
		exit $$code
	}
	trap finish EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	bold= plain=
	if [ -t 1 ]; then bold=$$'\033[1m' plain=$$'\033[0m'; fi
	show() {
		printf '\n%s$$' "$$bold"
		for word; do
			if [[ $$word =~ ^[[:alnum:]_./=-]+$$ ]]; then printf ' %s' "$$word"; else printf " '%s'" "$$word"; fi
		done
		printf '%s\n' "$$plain"
		"$$@"
	}
	show nile lab up --hosts $(DEMO_HOSTS)
	show nile plan -r lab -a
	show nile exec -r lab -a -- 'echo "$$NILE_HOST, stage $$NILE_STAGE, below $$NILE_PARENT"'
	show nile exec -r lab -a -b -- uname -sr
	show nile runs

check: test-needs
	@$(find_needs)
	$(call install,.installed-test,.[test])
	set -x
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	{ set +x; } 2>/dev/null
	# Files of tests lie in memory where that has room: where disks are slow to remove files, others wait for that.
	scratch=$$($(BIN)/python -m tests.support.scratch)
	if [ -n "$$scratch" ]; then export TMPDIR=$$scratch; fi
	computing= said=
	finish() {
		code=$$?
		trap - EXIT
		if [ -n "$$computing" ]; then kill -- -$$computing 2>/dev/null && wait $$computing || true; fi
		if [ -n "$$said" ]; then rm -f "$$said"; fi
		# Whoever is just ending may yet make a file; and not only root has directories that it may not write to.
		if [ -n "$$scratch" ]; then
			rm -rf "$$scratch" 2>/dev/null || { sleep 2; chmod -R u+rwX "$$scratch"; rm -rf "$$scratch"; }
		fi
		exit $$code
	}
	trap finish EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	pytest() {
		local lane=$$1
		shift
		if [ -n "$$scratch" ]; then set -- --basetemp "$$scratch/$$lane" -o tmp_path_retention_policy=failed "$$@"; fi
		local words=($(BIN)/python -m pytest "$$@")
		if [ $$lane = others ]; then words=($${apart+"$${apart[@]}"} "$${words[@]}"); fi
		nice -n "$${behind:-0}" "$${words[@]}"
	}
	slowest=(--dist worksteal --durations=30 --durations-min=5)
	if ! unshare --net --mount --pid --uts --ipc --fork true 2>/dev/null; then
		echo "NOTE: only root may make network namespaces: the tests marked 'cluster' are left out."
		echo "      \`sudo make check\` runs them all."
		pytest others -n $(JOBS) "$${slowest[@]}" -m 'not cluster'
		exit
	fi
	# Who looks through all processes doesn't meet those of all hosts. The shell there reaps what has no parent.
	apart=(unshare --pid --mount-proc --fork --kill-child bash -c '"$$@"; exit' bash)
	# Tests on hosts mostly wait, and one more of them goes on at one time. The others compute meanwhile, and
	# what they say comes afterwards.
	# With job control, as without it they would ignore Ctrl-C, and so would all that they start.
	rm -rf $(CACHE)/{hosts,alone,others}
	others=(-n $(JOBS) "$${slowest[@]}" -o cache_dir=$(CACHE)/others --timeout 300 -m 'not cluster')
	# Only files that say so can have tests on hosts: to look through all takes as long as a few of them.
	hosts=($$(grep -rlw cluster tests --include='test_*.py') -n $$(($(JOBS) + 1)) "$${slowest[@]}")
	hosts+=(-o cache_dir=$(CACHE)/hosts -m 'cluster and not alone')
	alone=(tests/cluster -o cache_dir=$(CACHE)/alone -m alone)
	said=$$(mktemp)
	set -m
	behind=10 pytest others "$${others[@]}" >"$$said" 2>&1 </dev/null &
	set +m
	computing=$$! failed= of_hosts=0 of_alone=0 of_others=0
	pytest hosts "$${hosts[@]}" || of_hosts=$$?
	pytest alone "$${alone[@]}" || of_alone=$$?
	wait $$computing || of_others=$$?
	computing=
	cat "$$said"
	# Up to five that failed beside others get one more try, with the machine to themselves, and are named by it.
	once_more() {
		local lane=$$1 code=$$2
		shift 2
		if [ "$$code" = 0 ]; then return; fi
		if [ "$$code" != 1 ] || [ "$$(grep -c ': true' $(CACHE)/$$lane/v/cache/lastfailed)" -gt 5 ]; then
			failed=1
			return
		fi
		echo "Once more, with nothing beside it: what failed of $$lane"
		pytest $$lane "$$@" -n 0 --last-failed --verbose || failed=1
	}
	once_more hosts $$of_hosts "$${hosts[@]}"
	once_more alone $$of_alone "$${alone[@]}"
	once_more others $$of_others "$${others[@]}"
	if [ -n "$$failed" ]; then
		echo "Not all tests passed: see above" >&2
		exit 1
	fi

bench: bench-needs test-needs
	@$(find_needs)
	$(call install,.installed-bench,$(BENCH_NEEDS))
	$(BIN)/python -m compileall -q nile  # as any installed program is
	$(BIN)/python -m tests.bench.exec_bench $(BENCH)
	$(BIN)/python -m tests.bench.exec_figures $(FIGURES)
	$(BIN)/python -m tests.bench.sync_bench $(COPIES)
	$(BIN)/python -m tests.bench.swarm_bench $(SWARMS)

# Each target of the fuzzer gets FUZZ_SECONDS; its corpus stays in the user's cache, and is where the next one begins.
soak: test-needs
	@$(find_needs)
	$(call install,.installed-fuzz,$(FUZZ_NEEDS))
	$(BIN)/python -m tests.simulation.soak --seeds $(SEEDS) --first "$$RANDOM" $(SOAK)
	$(BIN)/python -m tests.simulation.soak --seeds $$((10 * $(SEEDS))) --first "$$RANDOM" --hosts 16 --faults 10
	$(BIN)/python -m tests.simulation.soak --seeds $$((1 + $(SEEDS) / 100)) --first "$$RANDOM" --hosts 5000 --faults 60
	$(BIN)/python -m tests.fuzz.soak --seconds $(FUZZ_SECONDS)
	first=$$RANDOM
	if [ "$$(id -u)" = 0 ]; then
		NILE_FAULT_SEEDS=$$first-$$((first + 39)) $(BIN)/python -m pytest tests/cluster/test_any_faults.py
		NILE_LARGE=1 $(BIN)/python -m pytest --timeout 3600 tests/cluster/test_large.py
	fi
	$(BIN)/python -m pytest -n $(JOBS) --hypothesis-profile=explore -m 'hypothesis and not cluster' --timeout 1200

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info build
	find nile tests -name __pycache__ -type d -prune -exec rm -rf {} +
