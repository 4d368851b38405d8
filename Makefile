PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

LOWEST := build/lowest

.PHONY: run test smoke lint systems package docs pages notebooks results readme leaderboard verify \
  frontier teacher agents statistics train tune reproduction departures charges benchmark traces clean

## run: the main job: the published and the learned schedulers compared, as a table and a picture
run: $(VENV)/run.done
	$(BIN)/dysta-gym compare --seeds 20 --out results

## test: the whole test suite, on all cores
test: $(VENV)/test.done
	$(BIN)/python -m pytest -n auto --dist loadfile

## smoke: a little of everything, with the lowest versions of the dependencies
smoke:
	test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints-lowest.txt .
	$(LOWEST)/bin/python tests/smoke.py

## lint: style and types
lint: $(VENV)/test.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p dysta_gym

## systems: types again, as macOS and Windows have them
systems: $(VENV)/test.done
	$(BIN)/mypy -p dysta_gym --platform darwin
	$(BIN)/mypy -p dysta_gym --platform win32

## package: dist/: the source and the wheel, each installed and tried where the repository is not
package: $(VENV)/test.done
	rm -rf dist
	$(BIN)/python -m build
	set -e; here=$$PWD; elsewhere=$$(mktemp -d); trap 'rm -rf "$$elsewhere"' EXIT; cd "$$elsewhere"; \
	for each in "$$here"/dist/*; do \
	  $(PYTHON) -m venv --clear env; \
	  env/bin/python -m pip install --quiet --disable-pip-version-check "$$each"; \
	  env/bin/python -m pip check; \
	  env/bin/python "$$here/tests/smoke.py"; \
	done

## docs: the pages and the API as a site, build/docs/index.html
docs: $(VENV)/test.done
	$(BIN)/sphinx-build -W --keep-going -n -q -c docs . build/docs

## pages: what docs/environment.md and docs/policies/ take from the code and the leaderboard
pages: $(VENV)/run.done
	$(BIN)/python -m benchmarks.pages

## results: docs/results/, every policy at every level of information on the paper's workloads, and
## docs/deployments/, the other scenarios
results: $(VENV)/run.done
	$(BIN)/dysta-gym compare --load 0.8 --load 0.95 --load 1.05 --seeds 20 --out docs/results \
	  --policy fcfs --policy edf --policy round_robin --policy random --policy planaria \
	  --policy 'llf@*' --policy 'sjf@*' --policy 'sptp@*' --policy 'prema@*' --policy 'sdrm3@*' \
	  --policy 'dysta@*' --policy 'dysta-cycles@*' --policy 'dysta-tuned@*'
	$(BIN)/dysta-gym compare --seeds 20 --out docs/deployments \
	  --scenario datacenter-vision --scenario datacenter-language --scenario language-bursts \
	  --scenario mobile-assistant --scenario arvr-hands \
	  --policy fcfs --policy edf --policy planaria --policy prema --policy sdrm3 \
	  --policy sjf@pattern --policy sjf@monitored --policy sjf@sized \
	  --policy dysta --policy dysta_oracle --policy dysta-cycles --policy dysta-tuned \
	  --policy gittins --policy slack-index --policy moore-hodgson --policy pareto --policy evolved --policy ppo

## readme: the README's table and picture
readme: $(VENV)/run.done
	$(BIN)/dysta-gym compare --seeds 20 --out docs/paper
	$(BIN)/python benchmarks/readme.py README.md docs/paper/results.md

## leaderboard: docs/leaderboard.md, the README's part of it, the entries and the
## rows in the package: everything on every track
leaderboard: $(VENV)/run.done
	$(BIN)/python -m benchmarks.leaderboard --because "$(BECAUSE)"
	$(BIN)/python -m benchmarks.pages

## verify: the entries again, every condition
verify: $(VENV)/run.done
	$(BIN)/dysta-gym verify $(notdir $(basename $(wildcard dysta_gym/data/entries/*.yaml)))

## frontier: docs/frontier.md: families of policies against every rule and bound, on seeds of their
## own; what was measured stays in build/frontier, and only what is new is run
frontier: $(VENV)/test.done
	$(BIN)/python -m benchmarks.frontier

## teacher: what rollouts see that a learned score did not, a section of docs/frontier.md; minutes
teacher: $(VENV)/test.done
	$(BIN)/python -m benchmarks.frontier.teacher

## agents: the measured parts and the pictures of docs/agents.md; trains variants into build/agents
agents: $(VENV)/test.done
	$(BIN)/python -m benchmarks.agents

## statistics: docs/statistics.md: how often intervals over seeds cover the truth; minutes
statistics: $(VENV)/run.done
	mkdir -p build
	$(BIN)/python -m benchmarks.coverage > build/statistics.md
	mv build/statistics.md docs/statistics.md

## train: an agent again, make train AGENT=ppo SEED=1; its folder is runs/AGENT-SEED
AGENT ?= evolved
SEED ?= 0
train: $(VENV)/test.done
	$(BIN)/dysta-gym train $(AGENT) --seed $(SEED)

## tune: docs/tuning.md: the constants of every rule that has some, searched for on training workloads;
## what is found goes into baselines/ by hand
tune: $(VENV)/test.done
	$(BIN)/python -m benchmarks.tune --out docs/tuning.md

## reproduction: docs/reproduction.md: the paper's claims, figures and tables beside ours
reproduction: $(VENV)/run.done
	$(BIN)/dysta-gym reproduce --out docs/reproduction --page docs/reproduction.md

## departures: what the artifact's accelerator models charge, beside ours; needs the networks
departures: $(VENV)/profile.done
	$(BIN)/python benchmarks/departures.py docs/reproduction/hardware-departures.csv

## charges: the tables of docs/charging.md: the ranking under each choice of what a layer is charged
charges: $(VENV)/run.done
	$(BIN)/python -m benchmarks.charges

## benchmark: docs/speed.md: how fast everything is, beside what it should be compared with
benchmark: $(VENV)/test.done
	$(BIN)/python -m benchmarks --out docs/speed.md

## notebooks: docs/notebooks, run again, with what their cells show; two minutes
notebooks: $(VENV)/test.done
	$(BIN)/python -m benchmarks.notebooks

## traces: measure the shipped traces again, from the packages that carry the networks
traces: $(VENV)/profile.done
	$(BIN)/dysta-gym profile --out dysta_gym/data/traces --force

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Each set of packages is installed once, and again when what it is made of changes.
$(VENV)/run.done: $(BIN)/python pyproject.toml setup.py constraints.txt
	$(PIP) --editable .
	touch $@

$(VENV)/test.done: $(BIN)/python pyproject.toml setup.py constraints.txt
	$(PIP) --editable '.[agents,dev,examples]'
	touch $@ $(VENV)/run.done

$(VENV)/profile.done: $(BIN)/python pyproject.toml setup.py constraints.txt
	$(PIP) --editable '.[profile]'
	touch $@ $(VENV)/run.done

clean:
	rm -rf $(VENV) build results
