# One line per target; what a target does is in scripts/.
.PHONY: run demo test lint conformance bench torture fuzz pgo

run: ; @scripts/run $(ARGS)
demo: ; @scripts/demo $(ARGS)
test: ; @scripts/test
lint: ; @scripts/lint
conformance: ; @scripts/conformance
bench: ; @scripts/bench $(ARGS)
torture: ; @scripts/torture
fuzz: ; @scripts/fuzz $(ARGS)
pgo: ; @scripts/pgo
