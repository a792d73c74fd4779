# rlpipe: everything is built here.
#
#   make            all tools into build/<flags>/bin        make demo    train the embedded example, before and after
#   make test       everything that can fail                make lint    style, layers, options = help = man page
#   make bench      ratios against peers (never in test)    make install PREFIX=... DESTDIR=...
#   make soak       2 GiB and lines of 100 MB through every tool: how much memory each takes; runs killed 1,000 times
#   make BUILD=debug | asan | tsan ...                       make deps    installs what is missing (Debian, Ubuntu)
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -ec
.DELETE_ON_ERROR:
.SECONDARY:

PREFIX  ?= /usr/local
CC      ?= cc
CXX     ?= c++
BUILD   ?= release
CUDA_HOME ?= /usr/local/cuda
NVCC    ?= $(firstword $(wildcard $(CUDA_HOME)/bin/nvcc) $(shell command -v nvcc 2>/dev/null))
NVARCH  ?= -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=sm_90 \
           -gencode arch=compute_100,code=[sm_100,compute_100]

FLAGS_release := -O2 -g
FLAGS_debug   := -O0 -g -DDEBUG
FLAGS_asan    := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
FLAGS_tsan    := -O1 -g -fsanitize=thread
ifeq ($(origin FLAGS_$(BUILD)),undefined)
$(error BUILD is '$(BUILD)', but must be one of release, debug, asan, tsan)
endif
CFLAGS   ?= $(FLAGS_$(BUILD))
CXXFLAGS ?= $(FLAGS_$(BUILD))
# A directory per compiler and set of flags: objects never mix.
B := build/$(BUILD)$(if $(filter-out cc c++ g++ $(FLAGS_$(BUILD)),$(CC) $(CXX) $(CFLAGS) $(CXXFLAGS)),-$(shell \
     echo '$(CC) $(CXX) $(CFLAGS) $(CXXFLAGS)' | cksum | cut -d' ' -f1))

# A table ends in {NULL}, which clang counts as a row with fields left out.
WARN := -Wall -Wextra -Wno-missing-field-initializers -Wshadow -Wpointer-arith -Wvla -Wundef -Werror
override CPPFLAGS += -I. -I$B -D_GNU_SOURCE
override CFLAGS   += -std=gnu11 $(WARN) -Wstrict-prototypes -Wmissing-prototypes -fPIE -ffp-contract=off -fno-math-errno
override CXXFLAGS += -std=c++17 $(WARN) -fPIE -ffp-contract=off
LDLIBS := -ljq -lonig -lsimdjson -lzstd -llmdb -lstemmer -lutf8proc -lstdc++ -lm -ldl -pthread

# ---- what there is ----
TOOLS   := $(sort $(patsubst tools/%.c,%,$(wildcard tools/rl-*.c)))
LIB_SRC := $(filter-out %_test.c %_bench.c,$(sort $(wildcard lib/*.c)))
BENCHES := $(sort $(patsubst lib/%.c,%,$(wildcard lib/*_bench.c)))
LIB_CXX := $(sort $(wildcard lib/*.cc))
TESTS   := $(sort $(patsubst lib/%.c,%,$(wildcard lib/*_test.c)))
REF_SRC := $(sort $(wildcard kernels/ref/*.c))
CPU_SRC := $(filter-out kernels/cpu/dispatch.c,$(sort $(wildcard kernels/cpu/*.c)))
CU_SRC  := $(filter-out %_check.cu,$(sort $(wildcard kernels/cuda/*.cu)))
# compiled for each type of activations: the objects of bf16 are named %.bf16.o
CU_REALS := act attention attention_grad embed fill head norm rope vec

MACHINE := $(shell $(CC) -dumpmachine | cut -d- -f1)
ifeq ($(MACHINE),x86_64)
KN_ISAS := avx512 avx2 plain
else ifeq ($(MACHINE),aarch64)
KN_ISAS := neon plain
else
KN_ISAS := plain
endif
ISA_avx512 := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c -mprefer-vector-width=512
ISA_avx2   := -mavx2 -mfma -mf16c
ISA_neon   :=
ISA_plain  :=
KN_FLAGS   := -O3 -fno-trapping-math

LIB_OBJ := $(LIB_SRC:%.c=$B/%.o) $(LIB_CXX:%.cc=$B/%.o)
KN_OBJ  := $(REF_SRC:%.c=$B/%.o) $(patsubst %.c,$B/%.o,$(wildcard kernels/cpu/dispatch.c kernels/*_load.c)) \
           $(foreach isa,$(KN_ISAS),$(CPU_SRC:%.c=$B/%.$(isa).o))
PROGRAMS := $(TOOLS:%=$B/bin/%)
KN_PROGRAMS := $(patsubst %.c,$B/%,$(wildcard kernels/check.c kernels/bench.c))
CUDA_SO := $(if $(NVCC),$(if $(CU_SRC),$B/lib/rl-kernels-cuda.so))

all: $(PROGRAMS) $(CUDA_SO) $B/share/rlpipe/lib

# ---- generated: every option and tool name, for the warning about unknown RL_ variables ----
GEN := $B/gen/options.h $B/gen/tools.h
$B/gen/options.h: $(wildcard tools/*.c lib/*.c)
	@mkdir -p $(@D)
	@grep -oh '^[[:space:]]*{"[a-z0-9-]*", [^,]*,[[:space:]]*OPT_' $^ | sed 's/[[:space:]]*{\("[^"]*"\).*/\1,/' | sort -u > $@.tmp
	@cmp -s $@.tmp $@ && rm $@.tmp || mv $@.tmp $@
$B/gen/tools.h: Makefile $(wildcard tools/*.c)
	@mkdir -p $(@D)
	@printf '"%s",\n' $(if $(TOOLS),$(TOOLS),rl) > $@
$B/lib/cli.o: $(GEN)

# ---- objects ----
$B/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<
$B/%.o: %.cc
	@mkdir -p $(@D)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) -MMD -MP -c -o $@ $<
define isa_rule
$B/kernels/cpu/%.$(1).o: kernels/cpu/%.c
	@mkdir -p $$(@D)
	$$(CC) $$(CPPFLAGS) $$(CFLAGS) $(KN_FLAGS) $$(ISA_$(1)) -DKN_ISA=$(1) -DKN_ISA_$(1)=1 -MMD -MP -c -o $$@ $$<
endef
$(foreach isa,$(KN_ISAS),$(eval $(call isa_rule,$(isa))))

$B/librl.a: $(LIB_OBJ) $(KN_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

# ---- programs ----
# Where the tools look for jq's modules, as they do when installed.
$B/share/rlpipe/lib:
	@mkdir -p $(@D)
	@ln -sfn ../../../../pipelines/lib $@
$B/bin/%: $B/tools/%.o $B/librl.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -pie $(LDFLAGS) -o $@ $^ $(LDLIBS)
$B/test/%: $B/lib/%.o $B/librl.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -pie $(LDFLAGS) -o $@ $^ $(LDLIBS)
CHECK_OBJ := $(patsubst %.c,$B/%.o,$(wildcard kernels/check.c kernels/checks/*.c))
$B/kernels/check.o $B/kernels/bench.o: override CPPFLAGS += $(if $(wildcard kernels/*_load.c),-DHAVE_KERNELS_CUDA)
$B/kernels/check: $(CHECK_OBJ) $(KN_OBJ)
	$(CC) $(CFLAGS) -pie $(LDFLAGS) -o $@ $^ $(LDLIBS)
DNNL := $(wildcard /usr/include/dnnl.h /usr/include/oneapi/dnnl/dnnl.h)
$B/kernels/bench.o: override CPPFLAGS += $(if $(DNNL),-DHAVE_DNNL)
$B/kernels/bench: $B/kernels/bench.o $(KN_OBJ)
	$(CC) $(CFLAGS) -pie $(LDFLAGS) -o $@ $^ $(if $(DNNL),-ldnnl) $(LDLIBS)

$B/lib/%_bench.o: override CPPFLAGS += $(if $(DNNL),-DHAVE_DNNL)
$B/bench/%: $B/lib/%.o $B/librl.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -pie $(LDFLAGS) -o $@ $^ $(if $(DNNL),-ldnnl) $(LDLIBS)

# ---- CUDA: a shared object, loaded when --device cuda asks for it ----
NVFLAGS = -O3 -fmad=false -lineinfo $(NVARCH) -Xcompiler -fPIC,-Wall -Werror all-warnings
$B/kernels/cuda/%.o: kernels/cuda/%.cu
	@mkdir -p $(@D)
	$(NVCC) -I. $(NVFLAGS) -MMD -MP -c -o $@ $<
$B/kernels/cuda/%.bf16.o: kernels/cuda/%.cu
	@mkdir -p $(@D)
	$(NVCC) -I. -DCU_BF16 $(NVFLAGS) -MMD -MP -c -o $@ $<
CU_OBJ := $(CU_SRC:%.cu=$B/%.o) $(CU_REALS:%=$B/kernels/cuda/%.bf16.o)
# The runtime goes in; cuBLASLt is looked for beside the toolkit too, where ldconfig may not know of it.
NVLINK := -cudart static -Xlinker -rpath=$(CUDA_HOME)/lib64
$B/lib/rl-kernels-cuda.so: $(CU_OBJ)
	@mkdir -p $(@D)
	$(NVCC) $(NVARCH) $(NVLINK) -shared -o $@ $^ -lcublasLt
$B/kernels/cuda/mma_check: $B/kernels/cuda/mma_check.o
	$(NVCC) $(NVARCH) $(NVLINK) -o $@ $^
$B/kernels/cuda/attention_mma_check: $B/kernels/cuda/attention_mma_check.o $(CU_OBJ) $(REF_SRC:%.c=$B/%.o)
	$(NVCC) $(NVARCH) $(NVLINK) -o $@ $^ -lcublasLt

# ---- the same sources for the CPU, with kernels/cuda/emu as CUDA: for tests; never installed ----
# A fused multiply-add is an instruction where there is one, else the exact one of the math library.
EMU_FLAGS := -Ikernels/cuda/emu -fPIC -fvisibility=hidden -fno-ipa-icf -fno-math-errno -Wno-unknown-pragmas \
             $(if $(shell grep -m 1 -ow fma /proc/cpuinfo),-mfma)
EMU_SRC := $(filter-out %_check.cc %/libnccl.cc,$(sort $(wildcard kernels/cuda/emu/*.cc)))
EMU_OBJ := $(CU_SRC:kernels/cuda/%.cu=$B/emu/%.o) $(CU_REALS:%=$B/emu/%.bf16.o) $(EMU_SRC:kernels/cuda/%.cc=$B/emu/%.o)
EMU_CHECKS := $B/emu/mma_check $B/emu/attention_mma_check $(patsubst kernels/cuda/%.cc,$B/emu/%,$(wildcard kernels/cuda/emu/*_check.cc))
$B/emu/%.o: kernels/cuda/%.cu
	@mkdir -p $(@D)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) $(EMU_FLAGS) -MMD -MP -c -o $@ -x c++ $<
$B/emu/%.bf16.o: kernels/cuda/%.cu
	@mkdir -p $(@D)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) $(EMU_FLAGS) -DCU_BF16 -MMD -MP -c -o $@ -x c++ $<
$B/emu/%.o: kernels/cuda/%.cc
	@mkdir -p $(@D)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) $(EMU_FLAGS) -MMD -MP -c -o $@ $<
$B/emu/rl-kernels-cuda.so: $(EMU_OBJ)
	$(CXX) $(CXXFLAGS) -shared $(LDFLAGS) -o $@ $^ -ldl
$B/emu/libnccl.so.2: $B/emu/emu/libnccl.o
	$(CXX) $(CXXFLAGS) -shared $(LDFLAGS) -o $@ $^ -ldl -lrt
$B/emu/attention_mma_check: $(REF_SRC:%.c=$B/%.o)
$(EMU_CHECKS): %: %.o $(EMU_OBJ)
	$(CXX) $(CXXFLAGS) -pie $(LDFLAGS) -o $@ $^ -ldl

include $(wildcard $B/*/*.d $B/*/*/*.d)

# ---- checks ----
test: deps
	@$(MAKE) --no-print-directory -s -j$$(nproc) all unit
	@scripts/run-tests $B
lint:
	@scripts/lint $B
bench: $(PROGRAMS) $(KN_PROGRAMS) $(BENCHES:%=$B/bench/%)
	@$B/kernels/bench
	@for b in $(BENCHES); do $B/bench/$$b; done
CUDA_CHECKS := $(if $(CUDA_SO),$B/kernels/cuda/mma_check $B/kernels/cuda/attention_mma_check)
check-cuda: $(CUDA_SO) $B/kernels/check $(CUDA_CHECKS)
	for check in $(CUDA_CHECKS); do $$check; done
	RL_LIBDIR=$B/lib $B/kernels/check cuda
	RL_CUDA_PRODUCTS=cublas RL_LIBDIR=$B/lib $B/kernels/check cuda
# Two orders of threads, work at once and as late as can be, and the products of cuBLASLt.
check-cuda-emulated: $B/emu/rl-kernels-cuda.so $B/kernels/check $(EMU_CHECKS)
	for check in $(EMU_CHECKS); do $$check; done
	EMU_SEED=1 RL_LIBDIR=$B/emu $B/kernels/check cuda
	EMU_SEED=2 EMU_DEFER=1 RL_LIBDIR=$B/emu $B/kernels/check cuda
	EMU_SEED=3 RL_CUDA_PRODUCTS=cublas RL_LIBDIR=$B/emu $B/kernels/check cuda
bench-cuda: $(CUDA_SO) $B/kernels/bench
	for table in cuda cuda-bf16 cuda-bf16-invariant; do RL_LIBDIR=$B/lib $B/kernels/bench -t $$table; done
soak: $(PROGRAMS)
	PATH="$(CURDIR)/$B/bin:$$PATH" RLPIPE_SOAK=1 bats tools/soak.bats
	PATH="$(CURDIR)/$B/bin:$$PATH" RLPIPE_KILLS=1000 bats tools/kills.bats
unit: $(TESTS:%=$B/test/%) $(filter %/check,$(KN_PROGRAMS)) $B/emu/rl-kernels-cuda.so $B/emu/libnccl.so.2 $(EMU_CHECKS)

deps:
	@scripts/deps
demo: deps
	@$(MAKE) --no-print-directory -s all
	@$(MAKE) --no-print-directory -s -C pipelines/demo BIN=$(CURDIR)/$B/bin

# ---- install ----
bindir := $(DESTDIR)$(PREFIX)/bin
mandir := $(DESTDIR)$(PREFIX)/share/man
libdir := $(DESTDIR)$(PREFIX)/lib/rlpipe
sharedir := $(DESTDIR)$(PREFIX)/share/rlpipe/lib
compdir := $(DESTDIR)$(PREFIX)/share/bash-completion/completions
install: all
	install -d $(bindir) $(mandir)/man1 $(mandir)/man5 $(mandir)/man7 $(compdir) $(sharedir)
	install -m 755 $(PROGRAMS) $(bindir)
	install -m 644 $(wildcard man/*.1) $(mandir)/man1
	$(if $(wildcard man/*.5),install -m 644 $(wildcard man/*.5) $(mandir)/man5)
	$(if $(wildcard man/*.7),install -m 644 $(wildcard man/*.7) $(mandir)/man7)
	$(if $(CUDA_SO),install -d $(libdir) && install -m 755 $(CUDA_SO) $(libdir))
	install -m 644 $(wildcard pipelines/lib/*.jq) pipelines/lib/README.md $(sharedir)
	install -d $(sharedir)/../presets && install -m 644 pipelines/presets/*.preset $(sharedir)/../presets
	@for t in $(TOOLS); do scripts/completion $B/bin/$$t > $(compdir)/$$t; done
clean:
	rm -rf build

.PHONY: all test lint bench soak check-cuda check-cuda-emulated bench-cuda unit deps demo install clean
