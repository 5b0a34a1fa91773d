# Every target sets up what it needs in .venv; PYTHON chooses the interpreter it is made with.
PYTHON ?= python3
BIN := .venv/bin
# Where `make demo` works: local, or spark, which needs Java 17 or newer.
ENGINE ?= local
# A test file stays in one process: what its tests share is made once.
PARALLEL := -n logical --dist loadfile
# The S3 server that the tests use, a proxy before it that fails as it is told (both want Go), and Prometheus.
VERSITYGW := github.com/versity/versitygw/cmd/versitygw@v1.8.0
TOOLS := .tools/versitygw .tools/s3proxy .tools/prometheus .tools/yarn

# Hundreds of processes start: each would compile anew what it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
TARGETS := $(shell grep -oE "^[a-z0-9-]+:" $(firstword $(MAKEFILE_LIST)) | tr -d :)
.PHONY: $(TARGETS)

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/$(if $(filter spark,$(ENGINE)),spark,demo)  ## Draw 300 photographs of fruit, run pomona on them (ENGINE=spark: on Spark)
	@rm -rf demo
	$(BIN)/pomona sample demo/photos
	$(BIN)/pomona run demo/photos demo/out --engine $(ENGINE)
	@echo "Open $(CURDIR)/demo/out/report.html in a browser."

test: .venv/dev $(TOOLS)  ## Run every test
	$(BIN)/python -m pytest $(PARALLEL) --ignore tests/keras_networks --ignore tests/foreign_tools

test-fast: .venv/dev $(TOOLS)  ## Run the tests that need no photographs from elsewhere
	$(BIN)/python -m pytest -m "not real" $(PARALLEL) --ignore tests/keras_networks --ignore tests/foreign_tools

# In one process, which shares a YARN and an environment among them.
test-aws: .venv/dev $(TOOLS)  ## Run the tests of `pomona aws`, a job on a real YARN among them
	$(BIN)/python -m pytest tests/aws

test-spark35: .venv-spark35/spark35 $(TOOLS)  ## Run the tests that use Spark with Spark 3.5, the others have 4.0
	.venv-spark35/bin/python -m pytest $(PARALLEL) -m "spark and not any_spark and not real" \
		tests/engines tests/pipeline/test_engines_agree.py tests/spark tests/store/test_folders_s3.py

# Its two files differ in length, and what its tests share is made in seconds.
test-keras: .venv-keras/keras  ## Run the tests that convert networks of Keras, with TensorFlow
	.venv-keras/bin/python -m pytest -n logical --dist worksteal tests/keras_networks

test-tools: .venv-tools/tools  ## Run the tests on what torch, timm, transformers, datasets and webdataset write
	.venv-tools/bin/python -m pytest $(PARALLEL) tests/foreign_tools

# Daft imports TensorFlow where there is one: what needs Keras is measured in Keras's environment.
bench: .venv-bench/bench .venv-keras/keras  ## Measure pomona beside its limits and others (an hour)
	.venv-keras/bin/python -m benchmarks --only original
	.venv-bench/bin/python -m benchmarks

load: .venv/dev .venv-bench/bench  ## Put a server under the load of wrk, damaged images and schemathesis (an hour)
	POMONA_FAULTS=long $(BIN)/python -m pytest -s tests/serving/test_serve_load.py
	.venv-bench/bin/python -m benchmarks.load
	.venv-bench/bin/python -m benchmarks.load --input-size 64 --flat 60 --explore 0

bench-backbones: .venv-keras/keras  ## Measure networks beside Keras's predict and at other input sizes
	.venv-keras/bin/python -m benchmarks.backbones

bare:  ## Make the demo and run every test in a fresh Debian 12, as root (half an hour)
	.ci/bare all

faults: .venv/dev $(TOOLS)  ## Kill pomona at every operation on a store and at random moments, and load it (hours)
	POMONA_FAULTS=long $(BIN)/python -m pytest -s tests/faults
	$(MAKE) fuzz

day: .venv/dev $(TOOLS)  ## Watch a folder and a bucket through kills, outages and corrupt images, 200 in each (minutes)
	POMONA_FAULTS=long $(BIN)/python -m pytest tests/operations/test_day.py

fuzz: .venv/dev  ## Draw other examples, then decode damaged images for ten minutes (SECONDS=600); what breaks is kept
	$(BIN)/python -m pytest -m "not spark" --hypothesis-profile default $$(grep -rl --include 'test_*.py' @given tests)
	PYTHONPATH=tests $(BIN)/python tests/corpus/fuzz.py --seconds $(or $(SECONDS),600)

silence: .venv/dev  ## Count damaged files of all formats that give other features without a word
	PYTHONPATH=tests $(BIN)/python tests/corpus/silence.py

mutants: .venv/dev .venv/mutation  ## Plant faults into the modules that carry the promises; ONLY=plan: into one (an hour)
	$(BIN)/python tests/mutation/run.py $(ONLY)

test-avx2: .venv/dev  ## Compare the bytes of int8 on a processor without AVX-512, emulated (needs qemu-x86_64)
	POMONA_AVX2=1 $(BIN)/python -m pytest tests/backbones/test_int8.py -k avx2_alone

bench-s3: .venv/dev $(TOOLS)  ## Measure a bucket on loopback, and one 30 ms away, beside the disk
	PYTHONPATH=tests $(BIN)/python benchmarks/s3.py

bench-drift: .venv/dev  ## Measure false alarms and power of the drift test (an hour)
	$(BIN)/python -m benchmarks.drift

bench-aws: .venv/dev $(TOOLS)  ## Hold the estimate of `pomona aws plan` against the bill of a run on a real YARN
	PYTHONPATH=tests:tests/aws $(BIN)/python benchmarks/aws_bill.py

bench-corrections: .venv/dev  ## Measure what users' corrections, honest and malicious, do to a classifier
	$(BIN)/python -m benchmarks.corrections

docs: .venv/docs  ## Build the documentation into site/; broken links and unknown commands fail
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build
	@echo "Open $(CURDIR)/site/index.html in a browser."

check: .venv/dev  ## Lint, types, imports, and that the locks name no host
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo
	@! grep -nE '[a-z]+://' requirements/*.txt

format: .venv/dev  ## Format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes \
	--no-emit-index-url --no-annotate --custom-compile-command "make lock"

lock: .venv/dev  ## Resolve the dependencies anew (make lock UPGRADE=--upgrade: to the newest)
	$(LOCK) $(UPGRADE) --group uv --output-file requirements/uv.txt
	$(LOCK) $(UPGRADE) pyproject.toml --group build --output-file requirements/demo.txt
	$(LOCK) $(UPGRADE) pyproject.toml --group build --group spark --output-file requirements/spark.txt
	$(LOCK) $(UPGRADE) pyproject.toml --group build --group test --group spark --group check --group docs --output-file requirements/dev.txt
	$(LOCK) $(UPGRADE) pyproject.toml --group build --group docs --constraint requirements/dev.txt --output-file requirements/docs.txt
	$(LOCK) $(UPGRADE) pyproject.toml --group build --group mutation --constraint requirements/dev.txt --output-file requirements/mutation.txt
	$(LOCK) $(UPGRADE) pyproject.toml --group build --group test-spark --group spark35 --output-file requirements/spark35.txt
	$(LOCK) $(UPGRADE) pyproject.toml --group build --group test-keras --group spark --extra keras --extra openvino --output-file requirements/keras.txt
	$(LOCK) $(UPGRADE) pyproject.toml --group build --group test-tools --output-file requirements/tools.txt
	$(LOCK) $(UPGRADE) pyproject.toml --group build --group bench --extra openvino --extra serve --output-file requirements/bench.txt

.tools/versitygw:
	@if command -v go >/dev/null; then GOBIN=$(CURDIR)/.tools go install $(VERSITYGW); \
	else echo "There is no Go here: the tests take moto's S3 server"; fi

# Unpacked, not installed: Debian's package would start a server.
.tools/prometheus:
	@mkdir -p .tools/deb && cd .tools/deb && { apt-get download -qq prometheus 2>/dev/null && dpkg -x *.deb ../prometheus \
	|| echo "Prometheus cannot be had here: tests that need it are skipped"; }; rm -rf $(CURDIR)/.tools/deb

.tools/yarn: tests/aws/yarn.xml
	@rm -rf $@ $@.part
	@if command -v mvn >/dev/null && mvn --batch-mode --quiet --file $< \
		-Daether.connector.connectTimeout=10000 -Daether.connector.requestTimeout=60000 dependency:copy-dependencies \
		-DoutputDirectory=$(CURDIR)/$@.part; then mv $@.part $@; \
	else echo "The jars of YARN cannot be had here: the tests leave out the rehearsal, which wants Maven"; fi

.tools/s3proxy: $(wildcard tests/s3/proxy/*)
	@if command -v go >/dev/null; then cd $(<D) && go build -o $(CURDIR)/$@ .; fi

prices: .venv/dev  ## Write the table of AWS's prices again, from AWS's own lists (needs an account)
	$(BIN)/python -c 'from pomona.aws import price_lists; price_lists.write_table("src/pomona/aws/prices.json")'

hooks: .venv/dev  ## Let git run the checks before each commit
	$(BIN)/pre-commit install

clean:  ## Remove what the other targets made
	rm -rf .venv .venv-spark35 .venv-keras .venv-tools .venv-bench .tools demo site build dist .pytest_cache .mypy_cache .ruff_cache

.venv/bin/python .venv-spark35/bin/python .venv-keras/bin/python .venv-tools/bin/python .venv-bench/bin/python:
	$(PYTHON) -m venv $(@D)/..

.venv/%: requirements/%.txt pyproject.toml | .venv/bin/python
	$(call install,.venv)

.venv-spark35/%: requirements/%.txt pyproject.toml | .venv-spark35/bin/python
	$(call install,.venv-spark35)

.venv-keras/%: requirements/%.txt pyproject.toml | .venv-keras/bin/python
	$(call install,.venv-keras)

.venv-tools/%: requirements/%.txt pyproject.toml | .venv-tools/bin/python
	$(call install,.venv-tools)

.venv-bench/%: requirements/%.txt pyproject.toml | .venv-bench/bin/python
	$(call install,.venv-bench)

PIP := -m pip --disable-pip-version-check --quiet install

# uv takes packages that it has unpacked before from its cache; where it cannot, pip installs them.
define install
	$(1)/bin/python $(PIP) --require-hashes -r requirements/uv.txt \
		&& VIRTUAL_ENV=$(1) $(1)/bin/uv pip install --quiet --require-hashes -r $< \
		|| $(1)/bin/python $(PIP) --require-hashes -r $<
	$(1)/bin/python $(PIP) --no-deps --no-build-isolation -e .
	@touch $@
endef
