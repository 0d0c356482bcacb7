.PHONY: bench-many soak test lint race golden docs bench fuzz build
build:
	go build -o ingot ./cmd/ingot
test:
	go test -timeout 45m ./...
race:
	go test -race -skip TestRealMachine ./internal/plan ./internal/sim ./internal/sim/guest ./internal/sim/blob ./internal/communicator ./internal/progress
lint:
	gofmt -l . | (! grep .)
	go vet ./...
golden:
	go test ./internal/template ./internal/engine/vm -update
	go test ./internal/sim -run TestScenarioReference -update
	go test ./test -run TestAzReference -update
soak:
	INGOT_SOAK=200 go test ./test -run Soak -v -timeout 40m
bench:
	go test -run '^$$' -bench . ./bench/... ./internal/communicator ./internal/plan ./internal/sim
# 500 builds at once in one process, under Azure's own limits of calls: all succeed, in less than 1 GiB.
bench-many:
	INGOT_BENCH_BUILDS=500 go test -run '^$$' -bench ManyBuilds -benchtime 1x -timeout 2h ./bench
docs: golden
# Counted, not timed: Go before 1.27 reports the end of a timed run as a failure now and then (go.dev/issue/75804).
# FUZZTIME=1000000x before a release; minimising is bounded, since a single input can take milliseconds.
FUZZTIME ?= 15000x
fuzz:
	for t in FuzzLoad FuzzLoadJSONForm FuzzPackerJSON FuzzImageBuilder FuzzIngotFile; do \
	  go test ./internal/template -run '^$$' -fuzz "^$$t$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x || exit 1; done
	go test ./internal/template/armexpr -run '^$$' -fuzz FuzzEvaluate -fuzztime $(FUZZTIME) -fuzzminimizetime 20x
	go test ./internal/template/braces -run '^$$' -fuzz FuzzExpand -fuzztime $(FUZZTIME) -fuzzminimizetime 20x
