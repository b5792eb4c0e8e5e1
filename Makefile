# make demo | test | test-all | gpu-test | gpu-train | lint | types | release-check | soak: everything runs in .venv; nothing is installed outside this folder.
TORCH ?= torch==2.13.0
BAG ?=
PYTEST_ARGS ?=
MINUTES ?= 10
WEIGHTS ?= eventspd_lite
OUT ?= card
STEPS ?=

# The ROS 2 wheels exist for CPython 3.11 and 3.12.
PYTHON ?= $(shell for p in python3 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null && echo $$p && break; done)

RUN := test/interfaces/with_ros
# The virtual environment is the ament prefix too: the wheels make it one, and colcon installs into it.
PACKAGE_FILES := $(sort $(shell find eventspd_ros config launch resource -type f ! -path '*/__pycache__/*'))
# --symlink-install keeps edits live; only a file that comes or goes, or a changed message, needs a new build.
FILES_STAMP := .venv/.built-$(shell echo $(PACKAGE_FILES) | cksum | cut -d' ' -f1)
# A system that has one of these message packages keeps its own.
INTERFACES := $(foreach package,event_camera_msgs dvs_msgs prophesee_event_msgs,$(if \
  $(wildcard $(addsuffix /share/$(package),$(subst :, ,$(AMENT_PREFIX_PATH)))),,test/interfaces/$(package)))

# Tests by marks, a process a core but for ROS's, which time what they see. 5: PYTEST_ARGS leaves none of a kind.
define pytests
	OMP_NUM_THREADS=1 $(RUN) pytest -n auto --maxprocesses 8 --dist loadfile -m "not ros and $(1)" $(PYTEST_ARGS) || [ $$? = 5 ]
	$(RUN) pytest -m "ros and $(1)" $(PYTEST_ARGS) || [ $$? = 5 ]
endef

.PHONY: all demo test test-all gpu-test gpu-train release-check lint types soak clean
all: $(FILES_STAMP)

.venv/.ready: requirements.txt requirements-dev.txt test/interfaces/repair_wheels.py
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or 3.12 found; name one with make PYTHON=/path/to/python3.11"; exit 1; }
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --upgrade pip "setuptools<80"
	.venv/bin/python -m pip install --quiet "$(TORCH)"
	.venv/bin/python -m pip install --quiet -r requirements.txt -r requirements-dev.txt
	.venv/bin/python test/interfaces/repair_wheels.py
	printf '#!/bin/sh\nexec "%s/$(RUN)" python -m eventspd_ros.cli "$$@"\n' "$(CURDIR)" > .venv/bin/eventspd
	chmod +x .venv/bin/eventspd
	touch $@

$(FILES_STAMP): .venv/.ready CMakeLists.txt package.xml $(wildcard msg/*.msg) $(wildcard test/interfaces/*/msg/*.msg)
	$(RUN) colcon build --symlink-install --merge-install --install-base .venv --base-paths . $(INTERFACES) \
	  --event-handlers console_direct- --cmake-args -DPython3_EXECUTABLE=$(CURDIR)/.venv/bin/python -DBUILD_TESTING=OFF
	find .venv/lib -path '*/eventspd_ros/*' -xtype l -delete  # colcon leaves the links of files that went
	rm -f .venv/.built-*
	touch $@

demo: all
	.venv/bin/eventspd demo $(if $(BAG),--bag "$(BAG)") --out demo

test: all
	$(call pytests,not slow and not gpu)

test-all: all  # the slow ones too
	$(call pytests,not gpu)

gpu-test: all  # what needs a CUDA device, under three minutes on an H200; make TORCH=torch takes a torch that has CUDA
	$(RUN) pytest -m gpu $(PYTEST_ARGS)

gpu-train: all  # eventspd from nothing on one GPU, config/train/card.yaml; goes on where it was stopped
	.venv/bin/eventspd recipe --out "$(OUT)" $(if $(STEPS),--steps $(STEPS))

release-check: all  # whether weights that are to ship show what they must; hours
	.venv/bin/eventspd judge --weights "$(WEIGHTS)" --out judged $(if $(EVENTSPD_TEST_DATA),--recordings "$(EVENTSPD_TEST_DATA)")

soak: all
	$(RUN) python -m eventspd_ros.ros.outside.soak --minutes $(MINUTES) --out soak

lint: .venv/.ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: .venv/.ready
	.venv/bin/mypy

clean:
	rm -rf .venv build log card demo soak
