PYTHON ?= python3
PY = .venv/bin/python
# What a user gives goes to the commands through the environment, letter by letter: were
# it written into a recipe, make and the shell would read its $, quotes and backticks.
GIVEN = FACE TARGET MINUTES PRESET OUT SWAP TRUTH IN SIZE FIT FILE OTHERS PHOTOS PEOPLE ONLY KEEP
$(foreach name,$(GIVEN),$(if $(filter undefined,$(origin $(name))),,$(eval override $(name) := $$(value $(name)))))
export $(GIVEN)
# With KEEP=1 the project keeps what a command found, in data/results.
RUN = $(PY) -m $(if $(KEEP),tools.keep,deepfakery)
READY = $(if $(filter 1,$(GPU)),.venv/cuda,.venv/installed)
CHECKED = $(patsubst %,tests/%.py,test_networks test_losses test_adversarial test_optimizers test_swapper test_batches convert/test_masks convert/test_merge)
CORE = $(patsubst %,tests/%.py,test_networks test_losses test_adversarial test_optimizers test_swapper test_training test_distribution studies/test_dcgan studies/test_upscaler)

.PHONY: demo swap evaluate imagine enlarge upscale inspect detect bench compare check test test-long test-backends notebooks help

help:
	@echo "make demo                      the whole way on the built-in people, about 10 minutes [GPU=1]"
	@echo "make swap FACE=… TARGET=…      your own footage [MINUTES=5] [PRESET=light] [OUT=data/output/swap]"
	@echo "make evaluate SWAP=… TARGET=… FACE=…  score any tool's swap [TRUTH=…] [OUT=data/output/swap]"
	@echo "make imagine                   faces from noise, step by step [PHOTOS=…] [OUT=data/output/imagine]"
	@echo "make enlarge                   learn to enlarge, step by step [PHOTOS=…] [OUT=data/output/enlarge]"
	@echo "make upscale IN=… OUT=… SIZE=1920x1080  any photo or clip, at exactly that size [FIT=pad|crop|stretch]"
	@echo "make inspect FILE=…            what made a file, and is it as it was signed"
	@echo "make detect                    which faces were generated? the detector's notebook, on the demo's workspace [OTHERS=\"clips and photo folders\"]"
	@echo "make compare                   presets and minutes, plain and adversarial [FACE=…] [TARGET=…] [MINUTES=\"2 5\"]"
	@echo "make bench                     how fast this machine does it all [ONLY=train|extract|convert|evaluate|dcgan|upscale|provenance]"
	@echo "make check                     lint and the tests of the core, before every commit: about two minutes"
	@echo "make test                      everything that is checked"
	@echo "make test-long                 slow searches: hundreds of damaged inputs"
	@echo "make test-backends             networks and training once more, on JAX and PyTorch"
	@echo "make notebooks                 run the notebooks in full and keep their outputs; goes on where it was stopped [PHOTOS=<CelebA>] [PEOPLE=<LFW>]"

.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	@echo "Installing into .venv …"
	@$(PY) -m pip install --quiet --no-compile -r requirements.txt
	@$(PY) -m pip install --quiet --no-deps -e .
	@touch $@

.venv/tested: .venv/installed
	@$(PY) -m pip install --quiet --no-compile -e ".[test]"
	@touch $@

# With GPU=1, and from then on: TensorFlow with its CUDA wheels.
.venv/cuda: .venv/installed
	@echo "Installing TensorFlow's CUDA wheels …"
	@$(PY) -m pip install --quiet --no-compile -e ".[gpu]"
	@touch $@

# An environment without TensorFlow, so that nothing of it is used by mistake.
.venv-backends/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv-backends
	@echo "Installing into .venv-backends …"
	@grep -v "^tensorflow" requirements.txt > .venv-backends/requirements.txt
	@for backend in jax torch==2.13.0; do \
		.venv-backends/bin/python -m pip install --quiet --no-compile $$backend || { echo "$$backend could not be installed; its tests are left out."; touch .venv-backends/missing; }; \
	done
	@.venv-backends/bin/python -m pip install --quiet --no-compile -r .venv-backends/requirements.txt "pytest>=8.0"
	@.venv-backends/bin/python -m pip install --quiet --no-deps -e .
	@rm .venv-backends/missing 2>/dev/null || touch $@  # tried again where one is missing

demo: $(READY)
	@$(PY) -m deepfakery demo

swap: $(READY)
	@test -n "$$FACE" && test -n "$$TARGET" || { echo "Usage: make swap FACE=<footage of the person whose face is generated> TARGET=<footage that it goes into>" >&2; exit 2; }
	@$(PY) -m deepfakery swap --face="$$FACE" --target="$$TARGET" --minutes="$${MINUTES:-5}" --preset="$${PRESET:-light}" --out="$${OUT:-data/output/swap}"

evaluate: $(READY)
	@test -n "$$SWAP" && test -n "$$TARGET" && test -n "$$FACE" || { echo "Usage: make evaluate SWAP=<clip or folder of frames> TARGET=<what it was made from> FACE=<face folder or footage of the generated person>" >&2; exit 2; }
	@$(PY) -m deepfakery evaluate --swap="$$SWAP" --target="$$TARGET" --face="$$FACE" $${TRUTH:+--truth="$$TRUTH"} --out="$${OUT:-data/output/swap}"

bench: $(READY)
	@$(PY) -m tools.bench $${ONLY:+--only="$$ONLY"} $${KEEP:+--keep}

imagine: $(READY)
	@$(RUN) run 05_dcgan $${PHOTOS:+-p folder="$$PHOTOS"} -p workspace="$${OUT:-data/output/imagine}"

enlarge: $(READY)
	@$(RUN) run 06_upscaling $${PHOTOS:+-p folder="$$PHOTOS"} -p workspace="$${OUT:-data/output/enlarge}"

upscale: $(READY)
	@test -n "$$IN" && test -n "$$SIZE" && test -n "$$OUT" || { echo "Usage: make upscale IN=<photo, folder of photos or clip> OUT=<what to write> SIZE=<width>x<height>" >&2; exit 2; }
	@$(PY) -m deepfakery upscale --in="$$IN" --out="$$OUT" --size="$$SIZE" $${FIT:+--fit="$$FIT"}

inspect: $(READY)
	@test -n "$$FILE" || { echo "Usage: make inspect FILE=<any picture or clip, or a folder of them>" >&2; exit 2; }
	@$(PY) -m deepfakery inspect -- "$$FILE"

detect: $(READY)
	@$(RUN) run 07_detection $${OTHERS:+-p others="$$OTHERS"}

compare: $(READY)
	@$(RUN) compare $${FACE:+--face="$$FACE"} $${TARGET:+--target="$$TARGET"} $${MINUTES:+--minutes $$MINUTES} --out="$${OUT:-data/output/compare}"

check: .venv/tested
	@.venv/bin/ruff check . && .venv/bin/ruff format --check .
	@$(PY) -m pytest -q -n 2 --dist worksteal -m "not long" $(CHECKED)

test: .venv/tested
	@.venv/bin/ruff check . && .venv/bin/ruff format --check .
	@$(PY) -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "not long"

test-long: .venv/tested
	@$(PY) -m pytest -q -n 2 -m long

test-backends: .venv-backends/installed
	@for backend in jax torch; do \
		.venv-backends/bin/python -c "import $$backend" 2>/dev/null || { echo "$$backend is not installed; left out."; continue; }; \
		echo "── $$backend"; \
		KERAS_BACKEND=$$backend .venv-backends/bin/python -m pytest -q -W default $(CORE) || exit 1; \
	done

notebooks: $(READY)
	@$(PY) -m tools.keep notebooks "$${PHOTOS:-}" "$${PEOPLE:-}"
