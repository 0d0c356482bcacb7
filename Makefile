.PHONY: test lint race golden bench build
build:
	go build -o ingot ./cmd/ingot
test:
	go test ./...
race:
	go test -race ./internal/plan ./internal/sim/... ./internal/communicator ./internal/progress
lint:
	gofmt -l . | (! grep .)
	go vet ./...
golden:
	go test ./internal/template -update
bench:
	go test -run '^$$' -bench . ./bench/... ./internal/communicator ./internal/plan ./internal/sim
